"""The flip against Kornia and torchvision."""

import pytest
import torch
from kornia.augmentation import RandomHorizontalFlip
from torchvision.transforms.functional import hflip

from cleanse.augment import Flip, flip


def test_flip_is_kornias_image_by_image() -> None:
    image, kornia = torch.rand(64, 3, 6, 5), RandomHorizontalFlip(p=0.5)
    expected = kornia(image)
    chosen = kornia._params["batch_prob"].bool()
    assert 0 < chosen.sum() < 64
    assert flip(image, chosen).equal(expected)
    assert flip(image, torch.ones(64, dtype=torch.bool)).equal(hflip(image))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flip_chooses_each_image_with_probability_p(p: float) -> None:
    image = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).repeat(20_000, 1, 1, 1)
    flipped = Flip(p)(image)[:, 0, 0, 0]
    assert flipped.mean() == pytest.approx(p, abs=4 * (p * (1 - p) / 20_000) ** 0.5)
    if p == 0.3:  # independent of its neighbor
        assert (flipped[1:] * flipped[:-1]).mean() == pytest.approx(0.09, abs=0.01)
