"""The most suspicious images of a verdict, where many of them may have the same score."""

from collections.abc import Sequence

import torch

from cleanse.verdict import DROP, KEEP, RELABEL, Verdict


def judged_rows(verdict: Verdict) -> list[int]:
    """Rows of a verdict whose files could be read."""
    return [i for i, why in enumerate(verdict.reason) if not why.startswith("unreadable: ")]


def judged_counts(verdict: Verdict) -> dict[str, int]:
    """Number of images kept, relabeled and dropped, without files that could not be read."""
    action = verdict.action[judged_rows(verdict)]
    return {
        name: int((action == code).sum()) for name, code in (("kept", KEEP), ("relabeled", RELABEL), ("dropped", DROP))
    }


def most_suspicious(verdict: Verdict, rows: Sequence[int], most: int) -> list[int]:
    """Some rows of a verdict, the highest score first.

    Where images share a score and not all of them fit, those that are taken lie evenly over them in the order of the
    data: the first ones would often be of one class, or of one folder, and the score says nothing for them.

    Args:
        verdict: of n images.
        rows: of it, to choose from.
        most: at most so many.

    >>> score = torch.tensor([1.0, 1, 2, 1, 1, 1])
    >>> verdict = Verdict.keep_mask("abcdef", torch.zeros(6).long(), torch.zeros(6) > 0, score)
    >>> most_suspicious(verdict, range(6), 3)
    [2, 0, 5]
    """
    place = torch.tensor(list(rows), dtype=torch.int64)
    most = min(most, len(place))
    if most < 1:
        return []
    score, order = torch.sort(verdict.score[place], descending=True, stable=True)
    last = score[most - 1]
    above, tied = order[score > last], order[score == last]
    drawn = torch.linspace(0, len(tied) - 1, most - len(above)).round().long()
    return place[torch.cat([above, tied[drawn]])].tolist()


def how_chosen(verdict: Verdict, rows: Sequence[int], shown: Sequence[int]) -> str:
    """The beginning of a sentence that says which rows were taken: by their score, or evenly from those that share it.

    Args:
        verdict: of n images.
        rows: those that were to choose from.
        shown: what `most_suspicious` made of them, at least one.

    >>> score = torch.tensor([1.0, 1, 2, 1, 1, 1])
    >>> verdict = Verdict.keep_mask("abcdef", torch.zeros(6).long(), torch.zeros(6) > 0, score)
    >>> how_chosen(verdict, range(6), [2]), how_chosen(verdict, range(6), [2, 0, 5]).partition(",")[0]
    ('The 1 with the highest score', 'The 1 with the highest score')
    """
    last = float(verdict.score[list(shown)].min())
    above = int((verdict.score[list(shown)] > last).sum())
    tied = int((verdict.score[list(rows)] == last).sum())
    taken = len(shown) - above
    if taken == tied:
        return _highest(len(shown))
    evenly = ", evenly spaced in the order of the data, as the score does not tell these apart"
    if not above:
        return f"{taken} of the {tied:,} images that share the highest score{evenly}"
    return f"{_highest(above)}, and {taken} of the {tied:,} that share the next score ({last:.3g}){evenly}"


def _highest(count: int) -> str:
    return f"The {count} with the highest score{'' if count == 1 else 's'}"
