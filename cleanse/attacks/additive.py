"""Additive: a faint chessboard, added to the whole image."""

from typing import Any

import torch
from torch import Tensor

from cleanse.attacks.base import Attack


class Additive(Attack):
    """Brighten every second pixel by a few levels and give the image the target's label.

    The additive trigger of Wang et al. 2022 (arXiv 2210.10272, appendix C): ``v[row, column] = amplitude`` where
    ``row + column`` is even and 0 elsewhere, the same in all channels, and clipped at 1. Nothing is drawn. The paper
    poisons 1,000 images.

    Departures from the paper:

    * Images are stored in 256 levels, so ``amplitude`` is rounded to whole levels: 3/255 is 3 of them.
    * Which half of the chessboard is changed, and that it only gets brighter, is our choice: the half with the upper
      left pixel (D48).

    Args:
        amplitude: what is added, in (0, 1], 1 being white; paper: 3/255.

    Raises:
        ValueError: an argument out of range.

    >>> attack = Additive(class_rate=0.1)
    >>> attack.draw((1, 2, 3), torch.Generator())
    >>> attack.trigger(torch.full((1, 1, 2, 3), 254, dtype=torch.uint8)).tolist()
    [[[[255, 254, 255], [254, 255, 254]]]]
    """

    added: Tensor  # (H, W) uint8, what is added to each channel

    def __init__(
        self,
        amplitude: float = 3 / 255,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < amplitude <= 1:
            raise ValueError(
                f"amplitude is a fraction of white, above 0 and at most 1, not {amplitude}: 3/255 is 0.01176"
            )
        self.amplitude = amplitude
        self.levels = round(255 * amplitude)
        if not self.levels:
            raise ValueError(f"amplitude {amplitude} is less than half of one level of 255: nothing would change")

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        _, height, width = shape
        even = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
        self.register_buffer("added", even.to(torch.uint8) * self.levels)

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        if image.shape[2:] != self.added.shape:
            drawn, given = tuple(self.added.shape), tuple(image.shape[2:])
            raise ValueError(f"the trigger was drawn for images of {drawn} (height, width), not of {given}")
        return image + torch.minimum(self.added.to(image.device), 255 - image)  # stops at 255 instead of wrapping
