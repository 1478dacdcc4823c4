"""The rotation against Kornia and torchvision."""

import pytest
import torch
from kornia.augmentation import RandomRotation
from torch import Tensor, nn
from torchvision.transforms.functional import InterpolationMode
from torchvision.transforms.functional import rotate as torchvision_rotate

from cleanse.augment import Rotation, rotate


@pytest.mark.parametrize("shape", [(32, 3, 8, 8), (32, 1, 9, 6)])
def test_rotation_is_torchvisions_and_kornias_image_by_image(shape: tuple[int, ...]) -> None:
    image, kornia = torch.rand(shape), RandomRotation(40.0, p=1.0)
    expected = kornia(image)
    degrees = kornia._params["degrees"]
    torch.testing.assert_close(rotate(image, degrees), expected, rtol=0, atol=1e-5)
    for one, angle, ours in zip(image, degrees.tolist(), rotate(image, degrees), strict=True):
        torchvision = torchvision_rotate(one, angle, InterpolationMode.BILINEAR)
        torch.testing.assert_close(ours, torchvision, rtol=0, atol=1e-4)


def test_rotation_by_a_quarter_turn_is_rot90() -> None:
    image = torch.rand(2, 3, 7, 7)
    torch.testing.assert_close(rotate(image, torch.tensor([90.0, -90.0]))[0], image[0].rot90(1, (1, 2)))
    torch.testing.assert_close(rotate(image, torch.tensor([90.0, -90.0]))[1], image[1].rot90(-1, (1, 2)))
    torch.testing.assert_close(rotate(image, torch.zeros(2)), image)


def _angles(augment: nn.Module) -> Tensor:
    """The angles drawn, sorted: a ramp that rises to the right shows each one at the middle of the second row."""
    ramp = torch.linspace(-1, 1, 5).expand(4000, 1, 5, 5)
    angles: Tensor = (augment(ramp)[:, 0, 1, 2] * 2).asin().rad2deg().sort().values
    return angles


def test_rotation_draws_angles_uniformly_as_kornia_does() -> None:
    uniform = torch.linspace(-20, 20, 4000)
    for augment in (Rotation(degrees=20), RandomRotation(20.0, p=1.0)):
        gap = (_angles(augment) - uniform).abs().max() / 40  # Kolmogorov-Smirnov distance, up to 1 / 4000
        assert gap < 1.95 / 4000**0.5  # p = 0.001
