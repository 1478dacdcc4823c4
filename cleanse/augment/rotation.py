"""Turn images, by a random or by a fixed angle."""

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch, like


def rotate(image: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each of the images (B, C, H, W) counter-clockwise by its ``degrees`` (B,); bilinear, zeros come in.

    >>> rotate(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([90.0])).round().tolist()
    [[[[2.0, 4.0], [1.0, 3.0]]]]
    """
    from kornia.geometry.transform import rotate as kornia_rotate  # slow to import, so only when it is used

    rotated: Tensor = kornia_rotate(image.float(), degrees.float())
    return rotated.to(image.dtype)


class Rotation(nn.Module):
    """Rotate by a uniformly random angle, bilinear and with zeros coming in, as Kornia's ``RandomRotation(p=1)``.

    Shapes: (B, C, H, W) float -> the same.

    Args:
        degrees: largest angle, in either direction.

    Raises:
        ValueError: if ``degrees`` is negative, or the images are not a float batch.

    >>> Rotation(degrees=0)(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])).tolist()
    [[[[0.0, 1.0], [1.0, 0.0]]]]
    """

    def __init__(self, degrees: float = 2) -> None:
        super().__init__()
        if degrees < 0:
            raise ValueError(f"degrees is the largest angle, 0 or more, not {degrees}")
        self.degrees = degrees

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        degrees = torch.rand(len(image), device=image.device) * (2 * self.degrees) - self.degrees
        return like(rotate(image, degrees), image)

    def extra_repr(self) -> str:
        return f"degrees={self.degrees}"


class Rotate(nn.Module):
    """Rotate every image counter-clockwise by the same angle; bilinear, zeros come in.

    Rot of Pal et al. 2023, Figure 1 (D165).

    Shapes: (B, C, H, W) float -> the same.

    Args:
        angle: in degrees.

    Raises:
        ValueError: the images are not a float batch.

    >>> Rotate(angle=90)(torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]]])).mul(10).round().tolist()
    [[[[2.0, 4.0], [1.0, 3.0]]]]
    """

    def __init__(self, angle: float) -> None:
        super().__init__()
        self.angle = angle

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        return like(rotate(image, torch.full((len(image),), float(self.angle), device=image.device)), image)

    def extra_repr(self) -> str:
        return f"angle={self.angle}"
