"""Attention maps and their distance."""

import pytest
import torch

from cleanse.functional import attention_distance, attention_map


def features(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(seed))


def test_a_map_is_the_energy_of_each_place_with_length_one() -> None:
    found = attention_map(features())
    energy = features().square().sum(1).flatten(1)
    assert found.shape == (2, 12)
    assert torch.allclose(found.norm(dim=1), torch.ones(2))
    assert torch.allclose(found / found[:, :1], energy / energy[:, :1])


def test_the_scale_of_the_features_does_not_matter() -> None:
    assert torch.allclose(attention_map(features()), attention_map(7 * features()))


def test_equal_maps_have_no_distance_and_disjoint_ones_two() -> None:
    left, right = torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)
    left[0, :, 0, 0] = 1
    right[0, :, 1, 1] = 5
    assert attention_distance(features(), features()).item() == 0
    assert attention_distance(left, right).item() == 2


def test_the_distance_is_a_mean_over_the_batch() -> None:
    one, other = features(), features(1)
    each = [attention_distance(one[i : i + 1], other[i : i + 1]).item() for i in range(2)]
    assert attention_distance(one, other).item() == pytest.approx(sum(each) / 2)


def test_features_that_are_zero_have_a_finite_gradient() -> None:
    dead = torch.zeros(1, 3, 2, 2, requires_grad=True)
    attention_distance(dead, torch.ones(1, 3, 2, 2)).backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="maps to compare have one size"):
        attention_distance(features(), features()[:, :, :2])
