"""Batched augmentation on the device: random per image, one call per batch.

Single augmentations are Kornia's: every class of `kornia.augmentation` that maps images to images is an entry of
``--data.augment``, in yaml as ``class_path: kornia.augmentation.RandomRotation`` with its ``init_args``. Kornia draws
from torch's global generator of the CPU, so that a seeded run repeats.

What stands here is what Kornia does not have, or has several times slower: `PadCrop` and `SimCLRAugment`, each fused
into one sampling (``benchmarks/augment.py`` compares them with Kornia, the tests their distribution); `YOCO`,
`ColorJitter` and `RandomCropScaled` of Pal et al. 2023. `named` makes the augmentations of that paper's Figure 1 from
their names. Each takes and returns float images (B, C, H, W) in [0, 1] of the same shape.
"""

from cleanse.augment.adjust_color import adjust_color, shift_hue, to_gray
from cleanse.augment.color_jitter import ColorJitter
from cleanse.augment.gaussian_blur import gaussian_blur
from cleanse.augment.named import Named, named, variants
from cleanse.augment.pad_crop import PadCrop, pad_crop
from cleanse.augment.random_crop_scaled import RandomCropScaled
from cleanse.augment.resized_crop import random_boxes, resized_crop
from cleanse.augment.simclr_augment import SimCLRAugment
from cleanse.augment.yoco import YOCO

__all__ = [
    "ColorJitter",
    "Named",
    "PadCrop",
    "RandomCropScaled",
    "SimCLRAugment",
    "YOCO",
    "adjust_color",
    "gaussian_blur",
    "named",
    "pad_crop",
    "random_boxes",
    "resized_crop",
    "shift_hue",
    "to_gray",
    "variants",
]
