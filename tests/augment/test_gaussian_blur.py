"""The blur against torchvision's."""

import pytest
import torch
from torchvision.transforms.functional import gaussian_blur as torchvision_blur

from cleanse.augment import gaussian_blur


@pytest.mark.parametrize(("size", "shape"), [(3, (3, 8, 8)), (3, (1, 7, 9)), (9, (3, 12, 10))])
def test_blur_is_torchvisions(size: int, shape: tuple[int, int, int]) -> None:
    image, sigma = torch.rand(4, *shape), torch.tensor([0.1, 0.5, 1.0, 2.0])
    for one, s, ours in zip(image, sigma.tolist(), gaussian_blur(image, sigma, size), strict=True):
        torch.testing.assert_close(ours, torchvision_blur(one, [size, size], [s, s]), rtol=0, atol=1e-5)


def test_sigma_zero_leaves_an_image_as_it_is() -> None:
    image = torch.rand(2, 3, 8, 8)
    blurred = gaussian_blur(image, torch.tensor([0.0, 1.0]), 3)
    assert blurred[0].equal(image[0])
    assert not blurred[1].equal(image[1])
