"""Images that share a score: none is preferred for its place, and the words say how they were taken."""

import pytest
import torch

from cleanse.report.most_suspicious import how_chosen, judged_rows, most_suspicious
from cleanse.verdict import Verdict


def of(*score: float) -> Verdict:
    return Verdict.keep_mask(
        [str(i) for i in range(len(score))],
        torch.zeros(len(score)).long(),
        torch.zeros(len(score)) > 0,
        torch.tensor(score),
    )


@pytest.mark.parametrize(
    ("scores", "most", "rows", "words"),
    [
        ((0.1, 0.3, 0.2), 2, [1, 2], "The 2 with the highest scores"),
        ((0.1, 2.0, 2.0, 0.2), 2, [1, 2], "The 2 with the highest scores"),
        ((0.1, 0.3, 0.2), 9, [1, 2, 0], "The 3 with the highest scores"),
        ((2.0,) * 9, 3, [0, 4, 8], "3 of the 9 images that share the highest score, evenly spaced"),
        ((1.0, 1.0, 2.0, 1.0), 2, [2, 0], "The 1 with the highest score, and 1 of the 3 that share the next score (1)"),
        ((1.0, 1.0, 1.5, 1.0, 1.6), 4, [4, 2, 0, 3],
         "The 2 with the highest scores, and 2 of the 3 that share the next score (1), evenly spaced"),
    ],
    ids=["no tie", "a tie that fits", "all", "all tied", "one above", "two above"],
)  # fmt: skip
def test_which_are_taken_and_how_that_is_said(
    scores: tuple[float, ...], most: int, rows: list[int], words: str
) -> None:
    verdict = of(*scores)
    found = most_suspicious(verdict, range(len(scores)), most)
    assert found == rows
    assert how_chosen(verdict, range(len(scores)), found).startswith(words)


def test_rows_to_choose_from_are_the_only_ones() -> None:
    verdict = of(9.0, 1.0, 1.0, 1.0)
    found = most_suspicious(verdict, [1, 2, 3], 2)
    assert found == [1, 3]
    assert how_chosen(verdict, [1, 2, 3], found).startswith("2 of the 3 images")
    assert most_suspicious(verdict, [], 2) == []


def test_what_could_not_be_read_was_not_judged() -> None:
    verdict = of(1.0, 2.0)
    with_reason = Verdict(
        verdict.id, verdict.label, verdict.action, verdict.new_label, verdict.score, ("unreadable: cut off", "")
    )
    assert judged_rows(with_reason) == [1]
