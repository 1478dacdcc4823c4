"""Whether a recipe takes a class away from the classifier without anybody having asked for it."""

import logging
from collections.abc import Sequence

from cleanse.verdict import Verdict

log = logging.getLogger("cleanse")


def warn_of_lost_classes(verdict: Verdict, classes: Sequence[str]) -> list[str]:
    """Say which classes a verdict takes away, or leaves next to no images of (`Verdict.lost_classes`).

    Args:
        verdict: of a recipe.
        classes: class names.

    Returns:
        the names of these classes.

    >>> import torch
    >>> label = torch.tensor([0, 0, 1, 1])
    >>> verdict = Verdict.keep_mask("abcd", label, torch.tensor([True, True, False, True]))
    >>> warn_of_lost_classes(verdict, ["cat", "dog"])
    ['dog']
    """
    those, given, left = verdict.lost_classes(len(classes))
    lost = those.nonzero().flatten().tolist()
    if lost:
        shown = ", ".join(f"{classes[c]!r} ({int(left[c])} of {int(given[c])} images)" for c in lost[:10])
        more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
        log.warning("next to nothing is left of %s%s: a classifier trained on the rest cannot know them", shown, more)
    return [classes[c] for c in lost]
