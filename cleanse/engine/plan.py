"""What a run is going to do: its stages with epochs and images, declared before the first one begins."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import LightningModule

FORWARD = 1 / 3
"""Of the time of a training step, for one that only predicts: no gradient is made, which takes twice as long."""


@dataclass(eq=False)
class Planned:
    """A fit or a table that a recipe is going to ask its runner for.

    Attributes:
        name: of the stage, as the recipe gives it to the runner.
        build: of a fit, what the runner will build; of a table, the module's (a stand-in with the same network).
        data: of a fit, the view; of a table, the one that it is made of. A stand-in where there is none yet.
        epochs: of a fit; 0 for a table.
        images: rows of the view; None for those of ``data``.
        most: ``images`` is an upper bound, as an earlier stage decides how many are left.
        passes: images that go through the training in all epochs together; None for ``epochs`` times ``images``. Of a
            table, images that go through the network.
        seconds: that it takes from its beginning; None while nobody knows.
        done: epochs that a resume point on disk has already.
    """

    name: str
    build: Callable[[], LightningModule]
    data: Any
    epochs: int = 0
    images: int | None = None
    most: bool = False
    passes: float | None = None
    seconds: float | None = None
    done: int = 0

    @property
    def left(self) -> float | None:
        """Seconds that it will still take; None while nobody knows."""
        if self.seconds is None or not self.epochs:
            return self.seconds
        return self.seconds * (1 - self.done / self.epochs)

    @property
    def rows(self) -> int:
        """Images in the view."""
        return len(self.data) if self.images is None else self.images

    @property
    def work(self) -> float:
        """Image passes, counted as a training's: a table's take a third."""
        if self.epochs:
            return float(self.epochs * self.rows) if self.passes is None else self.passes
        return FORWARD * (self.rows if self.passes is None else self.passes)


@dataclass
class Plan:
    """The stages of a run in their order, and how far it has come.

    A recipe may leave stages out (ISPL stops a pass early where nothing is left), but it keeps their order: with each
    stage that it asks for, those before it are over.

    Args:
        stages: in the order of the run.

    >>> plan = Plan([Planned(name, LightningModule, [0] * 10, epochs=2) for name in ("a", "b", "c")])
    >>> found = plan.meet("b")
    >>> [stage.name for stage in plan.coming]
    ['c']
    """

    stages: Sequence[Planned]
    coming: list[Planned] = field(init=False)

    def __post_init__(self) -> None:
        self.coming = list(self.stages)

    def meet(self, name: str) -> Planned | None:
        """The next stage of this name, which the run has come to; None for one that was not planned."""
        for i, stage in enumerate(self.coming):
            if stage.name == name:
                del self.coming[: i + 1]
                return stage
        return None


def in_words(stages: Iterable[Planned], duration: Callable[[float], str]) -> list[str]:
    """A line for each kind of stage: how many, epochs, images, and the time where it is known.

    Stages that differ in a number at the end of their name are one kind.

    >>> stages = [Planned(f"round-1.{i}", LightningModule, [0] * 1200, epochs=i) for i in (2, 3)]
    >>> in_words([*stages, Planned("votes", LightningModule, [0], most=True, seconds=4.0)], lambda s: f"{s} s")
    ['2 x round: 2 to 3 epochs of 1,200 images', 'votes: a table of at most 1 images, 4.0 s']
    >>> in_words([Planned("probe", LightningModule, [0] * 9, epochs=8, seconds=4.0, done=6)], lambda s: f"{s} s")
    ['probe: the last 2 of 8 epochs of 9 images, 1.0 s']
    """
    kinds: dict[tuple[str, bool], list[Planned]] = {}
    for stage in stages:
        kinds.setdefault((re.sub(r"-?[\d.]+$", "", stage.name), stage.epochs > 0), []).append(stage)
    return [
        f"{f'{len(those)} x ' if len(those) > 1 else ''}{name}: {_what(those)} of "
        f"{'at most ' if any(s.most for s in those) else ''}{_range([s.rows for s in those])} images"
        f"{_time(those, duration)}"
        for (name, _), those in kinds.items()
    ]


def _what(those: Sequence[Planned]) -> str:
    if not those[0].epochs:
        return "a table"
    epochs = _range([stage.epochs for stage in those])
    words = "1 epoch" if epochs == "1" else f"{epochs} epochs"
    done = sum(stage.done for stage in those)
    if not done:
        return words
    of = words if len(those) == 1 else f"{sum(stage.epochs for stage in those)} epochs"
    return f"the last {sum(stage.epochs for stage in those) - done} of {of}"


def _time(those: Sequence[Planned], duration: Callable[[float], str]) -> str:
    known = [stage.left for stage in those if stage.left is not None]
    return f", {duration(sum(known))}" if len(known) == len(those) else ""


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
