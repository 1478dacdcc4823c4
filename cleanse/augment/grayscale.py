"""Take the colors out of images."""

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch, like
from cleanse.augment.adjust_color import to_gray


class Grayscale(nn.Module):
    """Give every image the same gray in all channels (GrSc of Pal et al. 2023, Figure 1); gray images stay as they are.

    Shapes: (B, C, H, W) float -> the same.

    Raises:
        ValueError: the images are not a float batch of 1 channel or 3.

    >>> Grayscale()(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).flatten()
    tensor([0.2989, 0.2989, 0.2989])
    """

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        return like(to_gray(image, torch.ones(len(image), dtype=torch.bool, device=image.device)), image)
