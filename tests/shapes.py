"""Small color pictures of eight drawn shapes on gradients: embedded images that an ImageNet encoder tells apart."""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cleanse.data.base import ImageDataModule, Images

KINDS = ("circle", "square", "triangle", "ring", "cross", "bars", "dots", "star")


def draw(kind: str, random_: random.Random, size: int = 32, scale: int = 4) -> Tensor:
    """(3, size, size) uint8: one shape of random place, size and color on a random gradient, with a little noise."""
    side = size * scale
    noise = np.random.default_rng(random_.randrange(2**31))
    coarse = noise.integers(0, 256, (random_.randrange(2, 6), random_.randrange(2, 6), 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    w = random_.uniform(0.45, 0.8) * side
    x, y = random_.uniform(0, side - w), random_.uniform(0, side - w)
    color = (random_.randrange(256), random_.randrange(256), random_.randrange(256))
    box, thick = (x, y, x + w, y + w), int(w / 6)
    if kind == "circle":
        pen.ellipse(box, fill=color)
    elif kind == "square":
        pen.rectangle(box, fill=color)
    elif kind == "triangle":
        pen.polygon([(x, y + w), (x + w, y + w), (x + w / 2, y)], fill=color)
    elif kind == "ring":
        pen.ellipse(box, outline=color, width=thick)
    elif kind == "cross":
        pen.line(box, fill=color, width=thick)
        pen.line((x, y + w, x + w, y), fill=color, width=thick)
    elif kind == "bars":
        for i in range(4):
            pen.rectangle((x, y + i * w / 4, x + w, y + i * w / 4 + w / 8), fill=color)
    elif kind == "dots":
        for i in range(9):
            left, top = x + i // 3 * w / 3, y + i % 3 * w / 3
            pen.ellipse((left, top, left + w / 5, top + w / 5), fill=color)
    else:
        for i in range(5):
            angle = 2 * math.pi * i / 5
            end = (x + w / 2 * (1 + math.cos(angle)), y + w / 2 * (1 + math.sin(angle)))
            pen.line((x + w / 2, y + w / 2, *end), fill=color, width=thick)
    pixels = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS)).astype(np.int16)
    pixels = pixels + noise.integers(-8, 9, pixels.shape)
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


class Shapes(ImageDataModule):
    """1,200 training and 400 test pictures of 32x32 pixels."""

    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def load(self, train: bool) -> Images:
        random_ = random.Random(0 if train else 1)
        label = torch.arange(1200 if train else 400) % len(KINDS)
        image = torch.stack([draw(KINDS[c], random_) for c in label.tolist()])
        return Images(image, label, tuple(str(i) for i in range(len(label))))

    def class_names(self) -> tuple[str, ...]:
        return KINDS

    def default_augment(self) -> list[torch.nn.Module]:
        return []
