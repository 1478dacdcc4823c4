"""A smooth pattern over the whole image, without the fast waves that other triggers have."""

from typing import Any

import torch
from torch import Tensor

from cleanse.attacks.base import Attack
from cleanse.functional import cosine_basis


class LowFrequency(Attack):
    """Brighten images by a smooth random pattern and give them the target's label.

    After Zeng, Park, Mao, Jia, "Rethinking the Backdoor Attacks' Triggers: A Frequency Perspective", ICCV 2021,
    https://arxiv.org/abs/2104.03413: most triggers show in the high frequencies of an image; theirs has none. It is
    drawn once per attack: normal noise of which only the slowest waves of the discrete cosine transform are kept, in
    each channel, stretched to 0 to ``amplitude`` and added.

    Departures from the paper:

    * The pattern is random. The paper searches one that a trained model classifies as the target, and smooths it; the
      authors' code also ends with a pattern from 0 to 0.2 (D59).

    Args:
        amplitude: what the pattern adds at most, in (0, 1], 1 being white; the authors' code: 0.2.
        kept: waves a side that are kept; None for an eighth of the image's side, at least 2: 4 of 32.

    Raises:
        ValueError: an argument out of range; while poisoning, images with fewer pixels a side than waves.

    >>> attack = LowFrequency(class_rate=0.1)
    >>> attack.draw((1, 32, 32), torch.Generator().manual_seed(0))
    >>> attack.added.min().item(), attack.added.max().item()
    (0, 51)
    """

    added: Tensor  # (C, H, W) uint8

    def __init__(self, amplitude: float = 0.2, kept: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < amplitude <= 1:
            raise ValueError(f"amplitude is a fraction of white, above 0 and at most 1, not {amplitude}")
        if kept is not None and kept < 2:
            raise ValueError(
                f"kept is a number of waves a side, at least 2, not {kept}: one wave is the same everywhere"
            )
        self.amplitude = amplitude
        self.kept = kept

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        channels, height, width = shape
        kept = max(2, min(height, width) // 8) if self.kept is None else self.kept
        if kept > min(height, width):
            raise ValueError(f"kept={kept} waves are more than images of {height}x{width} pixels have: lower it")
        waves = torch.randn(channels, kept, kept, generator=generator, dtype=torch.float64)
        pattern = cosine_basis(height)[:kept].T @ waves @ cosine_basis(width)[:kept]
        low, high = (end(pattern.flatten(1), 1)[:, None, None] for end in (torch.amin, torch.amax))
        share = (pattern - low) / (high - low)  # exactly 1 where it is highest, on every machine
        self.register_buffer("added", (255 * self.amplitude * share).round().to(torch.uint8))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        if image.shape[1:] != self.added.shape:
            drawn, given = tuple(self.added.shape), tuple(image.shape[1:])
            raise ValueError(f"the trigger was drawn for images of {drawn} (channels, height, width), not of {given}")
        return image + torch.minimum(self.added.to(image.device), 255 - image)  # stops at 255 instead of wrapping
