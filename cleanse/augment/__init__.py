"""Batched augmentation on the device: random per image, one call per batch.

Every module takes and returns float images (B, C, H, W) in [0, 1] of the same shape, type and memory format, and draws
from torch's global generator of the images' device, so that a seeded run repeats. Kornia is the reference: the rotation
calls it; what is written out instead is faster by 1.5 times or more (``benchmarks/augment.py``), and the tests compare
it with Kornia's or torchvision's image by image. Any Kornia augmentation can be used next to these.

`named` makes the augmentations of Figure 1 of Pal et al. 2023 from their names.
"""

from cleanse.augment.adjust_color import adjust_color, shift_hue, to_gray
from cleanse.augment.color_jitter import ColorJitter
from cleanse.augment.cut_out import CutOut
from cleanse.augment.flip import Flip, HorizontalFlip, VerticalFlip, flip
from cleanse.augment.gaussian_blur import GaussianBlur, gaussian_blur
from cleanse.augment.gaussian_noise import GaussianNoise
from cleanse.augment.grayscale import Grayscale
from cleanse.augment.named import Named, named, variants
from cleanse.augment.pad_crop import PadCrop, pad_crop
from cleanse.augment.random_crop_scaled import RandomCropScaled
from cleanse.augment.resized_crop import random_boxes, resized_crop
from cleanse.augment.rotation import Rotate, Rotation, rotate
from cleanse.augment.simclr_augment import SimCLRAugment
from cleanse.augment.yoco import YOCO

__all__ = [
    "ColorJitter",
    "CutOut",
    "Flip",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "HorizontalFlip",
    "Named",
    "PadCrop",
    "RandomCropScaled",
    "Rotate",
    "Rotation",
    "SimCLRAugment",
    "VerticalFlip",
    "YOCO",
    "adjust_color",
    "flip",
    "gaussian_blur",
    "named",
    "pad_crop",
    "random_boxes",
    "resized_crop",
    "rotate",
    "shift_hue",
    "to_gray",
    "variants",
]
