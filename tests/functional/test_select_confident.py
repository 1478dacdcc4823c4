"""Which pseudo-labels are believed."""

import time
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from cleanse.functional import class_quota, select_confident


def reference(label: Tensor, confidence: Tensor, quota: int) -> Tensor:
    """Every class sorted by (-confidence, row), its first ``quota`` taken."""
    chosen = torch.zeros(len(label), dtype=torch.bool)
    for c in set(label.tolist()):
        rows = [i for i in range(len(label)) if label[i] == c]
        for i in sorted(rows, key=lambda i: (-float(confidence[i]), i))[:quota]:
            chosen[i] = True
    return chosen


@pytest.mark.parametrize("quota", [1, 7, 30, 1000])
def test_it_is_the_first_of_every_class_with_many_ties(quota: int) -> None:
    generator = torch.Generator().manual_seed(quota)
    label = torch.randint(6, (300,), generator=generator) * 2 % 7  # classes 1, 3 and 5 only sometimes
    confidence = torch.randint(5, (300,), generator=generator) / 4
    chosen = select_confident(label, confidence, quota)
    assert chosen.dtype == torch.bool
    assert torch.equal(chosen, reference(label, confidence, quota))


@pytest.mark.parametrize(
    ("images", "quotas"), [(50_000, [1500, 3000, 4500, 5000]), (550_000, [16_500, 33_000, 49_500, 55_000])]
)
def test_the_paper_s_counts(images: int, quotas: list[int]) -> None:
    assert [class_quota(images, 10, n) for n in (1, 2, 3, 4)] == quotas


def test_over_predicted_classes_are_cut_and_others_not_filled_up() -> None:
    """Predicted shares .05, .28, the rest equal; a frozen model chooses ever larger sets."""
    shares = torch.tensor([0.05, 0.28] + [0.67 / 8] * 8)
    label = torch.arange(10).repeat_interleave((shares * 50_000).round().long())
    confidence = torch.rand(len(label), generator=torch.Generator().manual_seed(0))
    sets = [select_confident(label, confidence, class_quota(len(label), 10, n)) for n in (1, 2, 3, 4)]
    assert [round(int(s.sum()), -2) for s in sets] == [15_000, 29_500, 40_500, 41_000]
    assert all((small & large).sum() == small.sum() for small, large in pairwise(sets))


def test_a_class_that_nobody_predicts_is_skipped_and_one_with_few_candidates_gives_all() -> None:
    label = torch.tensor([0, 0, 0, 2])
    assert select_confident(label, torch.tensor([0.3, 0.1, 0.2, 0.1]), 2).tolist() == [True, False, True, True]


def test_k_times_n_below_one_takes_that_share_in_the_last_iteration() -> None:
    assert class_quota(1000, 10, 4, fraction=0.1) == 40


def test_one_class_and_all_images_at_once_are_a_quota() -> None:
    assert class_quota(7, 1, 1, fraction=1.0) == 7


def test_a_quota_of_one_image_is_one() -> None:
    assert class_quota(10, 10, 1, fraction=1.0) == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((100, 10, 0), "iteration and num_classes are at least 1, not 0 and 10"),
        ((100, 0, 1), "iteration and num_classes are at least 1, not 1 and 0"),
        ((100, 10, 1, 0.0), "fraction is a share of the images"),
        ((100, 10, 1, 1.5), "fraction is a share of the images"),
        ((10, 10, 1, 0.3), "less than one for each of 10 classes: raise fraction"),
    ],
)
def test_a_quota_out_of_range_is_refused(arguments: tuple[int, int, int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        class_quota(*arguments)


def test_bad_input_is_refused() -> None:
    label = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"both \(n,\), not \(2,\) and \(3,\)"):
        select_confident(label, torch.zeros(3), 1)
    with pytest.raises(ValueError, match="1 of 2 confidences are not finite"):
        select_confident(label, torch.tensor([0.5, torch.nan]), 1)
    with pytest.raises(ValueError, match="quota"):
        select_confident(label, torch.zeros(2), 0)
    assert not len(select_confident(label[:0], torch.zeros(0), 1))


def test_half_a_million_images_take_less_than_two_seconds() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(10, (550_000,), generator=generator)
    confidence = torch.rand(550_000, generator=generator)
    begun = time.process_time()  # of the processor: machines are shared
    assert select_confident(label, confidence, 33_000).sum() == 330_000
    assert time.process_time() - begun < 2
