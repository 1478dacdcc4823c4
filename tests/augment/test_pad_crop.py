"""The shift against Kornia and torchvision."""

import torch
from kornia.augmentation import RandomCrop
from torch import Tensor, nn
from torchvision.transforms.functional import crop, pad

from cleanse.augment import PadCrop, pad_crop


def test_crop_is_torchvisions_at_every_place() -> None:
    image = torch.rand(1, 3, 6, 5)
    padded = pad(image, [2])
    for top in range(5):
        for left in range(5):
            ours = pad_crop(image, torch.tensor([top]), torch.tensor([left]), padding=2)
            assert ours.equal(crop(padded, top, left, 6, 5))
    assert pad_crop(image, torch.tensor([2]), torch.tensor([2]), padding=2).equal(image)


def test_crop_is_kornias_image_by_image() -> None:
    image, kornia = torch.rand(64, 3, 6, 5), RandomCrop((6, 5), padding=2)
    expected = kornia(image)
    left, top = kornia._params["src"][:, 0].long().T
    assert pad_crop(image, top, left, padding=2).equal(expected)


def _crop_counts(augment: nn.Module) -> Tensor:
    """How often each of the 5 x 5 places comes in 25,000 images whose middle pixel alone is one."""
    image = torch.zeros(25_000, 1, 5, 5)
    image[:, :, 2, 2] = 1
    counts: Tensor = augment(image).sum((0, 1))
    return counts


def test_crop_draws_every_place_equally_often_as_kornia_does() -> None:
    for augment in (PadCrop(padding=2), RandomCrop((5, 5), padding=2)):
        counts = _crop_counts(augment)
        assert counts.sum() == 25_000  # with 2 pixels of padding the middle pixel never leaves
        chi_square = ((counts - 1000) ** 2 / 1000).sum()
        assert chi_square < 51.2  # 24 degrees of freedom, p = 0.001
