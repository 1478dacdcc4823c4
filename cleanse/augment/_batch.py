"""What all augmentations do with a batch: look at it first, and give its memory format back."""

import torch
from torch import Tensor


def check_batch(image: Tensor) -> None:
    """
    Raises:
        ValueError: the images are not (B, C, H, W) float.
    """
    if image.ndim != 4 or not image.is_floating_point():
        raise ValueError(
            f"augmentation needs a batch (B, C, H, W) of float images in [0, 1], not {image.dtype} of shape "
            f"{tuple(image.shape)}: divide uint8 images by 255, and index one image with [None]"
        )


def like(image: Tensor, original: Tensor) -> Tensor:
    """``image`` in the memory format of ``original``."""
    if original.is_contiguous() or not original.is_contiguous(memory_format=torch.channels_last):
        return image.contiguous()
    return image.contiguous(memory_format=torch.channels_last)
