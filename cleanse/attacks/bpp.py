"""Bpp: fewer levels of color, which nobody sees."""

from typing import Any

import torch
from torch import Tensor

from cleanse.attacks.base import COVER, Attack, draw_covers


def squeeze(image: Tensor, levels: int) -> Tensor:
    """Images with so many levels a channel, evenly from 0 to 255; each pixel gets the nearest.

    Args:
        image: (B, C, H, W) uint8.
        levels: at least 2.

    Returns:
        (B, C, H, W) uint8.

    >>> squeeze(torch.tensor([0, 18, 19, 200, 255], dtype=torch.uint8), 8).tolist()
    [0, 0, 36, 182, 255]
    """
    steps = levels - 1
    return ((image.double() / 255 * steps).round() / steps * 255).round().to(torch.uint8)


class Bpp(Attack):
    """Take levels of color out of images and give them the target's label.

    Wang, Zhai, Ma, "BppAttack: Stealthy and Efficient Trojan Attacks against Deep Neural Networks via Image
    Quantization and Contrastive Adversarial Learning", CVPR 2022, https://arxiv.org/abs/2205.13383, as a poisoned data
    set. The original attacks while it trains; what remains of its negative images is a cover: an image with the
    change that `squeeze` makes to another one, and its own label, so that a network cannot take just any small change
    for the trigger. Covers are drawn among all images that are not poisoned, the target's own included.

    Departures from the paper:

    * Poison and cover images are chosen once, not anew in every batch, and the network is trained without adversarial
      images: a weaker attack than the original (D60).
    * No dithering.

    Args:
        levels: of each channel; the authors' code: 8.
        cover_rate: cover images / all images, in the labeled and in the unlabeled part each.

    Raises:
        ValueError: an argument out of range; while poisoning, more cover images than are left.

    >>> attack = Bpp(levels=2, class_rate=0.1)
    >>> attack.draw((1, 1, 2), torch.Generator())
    >>> attack.trigger(torch.tensor([[[[127, 128]]]], dtype=torch.uint8)).tolist()
    [[[[0, 255]]]]
    """

    depth: Tensor  # () int64, the levels: the state that triggers the same way later

    def __init__(self, levels: int = 8, cover_rate: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 2 <= levels <= 255:
            raise ValueError(f"levels is a number of levels of a channel, 2 to 255, not {levels}")
        if not 0 <= cover_rate <= 1:
            raise ValueError(f"cover_rate is a fraction between 0 and 1, not {cover_rate}")
        self.levels = levels
        self.cover_rate = cover_rate

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        self.register_buffer("depth", torch.tensor(self.levels))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        return torch.cat([squeeze(part, int(self.depth)) for part in torch.split(image, 512)])

    def _add_covers(self, role: Tensor, true_label: Tensor, labeled: Tensor, generator: torch.Generator) -> None:
        draw_covers(role, torch.ones_like(labeled), labeled, self.cover_rate, generator)

    def _change(self, image: Tensor, rows: Tensor, kind: int, generator: torch.Generator) -> Tensor:
        if kind != COVER:
            return super()._change(image, rows, kind, generator)
        order = torch.randperm(len(image), generator=generator)
        donor = torch.empty_like(order)
        donor[order] = order.roll(1)  # each image gets the change of another one
        other = image[donor]
        change = self.trigger(other).short() - other.short()
        return (image.short() + change).clamp(0, 255).to(torch.uint8)
