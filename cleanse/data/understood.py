"""What a data module made of what it was given, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Understood:
    """What a data module made of what it was given; a run says it first.

    Attributes:
        data: name of the data module's class.
        classes: names, in label order.
        train: training images with each label, in the same order.
        withheld: training images without a label.
        test: the same of the test part; empty without one.
        test_part: what the test part is, in words; empty without one.
        left_out: files and folders that were not read, each with the reason.
        warnings: what is odd about the images, a sentence each.
    """

    data: str
    classes: tuple[str, ...]
    train: tuple[int, ...]
    withheld: int
    test: tuple[int, ...]
    test_part: str
    left_out: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    def lines(self, most: int = 10) -> list[str]:
        """The same in words: a line for the classes, one for the test part, one for all that was left out.

        The warnings are not among them.

        Args:
            most: classes and files that are named in a line.
        """
        total = sum(self.train) + self.withheld
        some = f", {sum(self.train)} of them with a label" if self.withheld else ""
        counts = _counts(self.classes, self.train, most)
        found = [f"{self.data}: {total} training images of {len(self.classes)} classes{some} ({counts})"]
        if self.test:
            found.append(f"test part: {self.test_part or 'its own'}, {sum(self.test)} images")
        else:
            found.append("no test part: every image is judged, and no accuracy is measured")
        if self.left_out:
            named = "; ".join(f"{repr(what)[1:-1]} ({why})" for what, why in self.left_out[:most])
            more = f"; and {len(self.left_out) - most} more" if len(self.left_out) > most else ""
            found.append(f"left out: {named}{more}")
        return found


def _counts(names: Sequence[str], counts: Sequence[int], most: int) -> str:
    """All classes with their counts, or the largest and the smallest of many."""
    if len(names) <= most:
        return ", ".join(f"{name!r} {count}" for name, count in zip(names, counts, strict=True))
    order = sorted(range(len(names)), key=lambda c: counts[c])
    low, high = order[0], order[-1]
    return f"from {counts[low]} of {names[low]!r} to {counts[high]} of {names[high]!r}"
