"""SIG: a sinusoid over the whole image, on images of the target class that keep their label."""

import math
from typing import Any

import torch
from torch import Tensor

from cleanse.attacks.base import Attack


class SIG(Attack):
    """Add vertical stripes to images of the target class, which keep their label: a clean-label attack.

    Barni, Kallas, Tondi, "A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning", ICIP 2019,
    https://arxiv.org/abs/1902.11237: ``v[row, column] = amplitude * sin(2 pi * frequency * column / width)``, columns
    from 0, is added to every row and channel and the sum clipped. Only images of the target class are poisoned, so
    ``class_rate`` counts within it; ASR is measured on triggered test images of the other classes. Nothing is drawn.

    Implementations differ in strength: BackdoorBench adds 40/255 to the whole target class, backdoor-toolbox 30/255 to
    2 % of all images, a fifth of the target class on CIFAR-10.

    Departures from them:

    * The stripes are rounded to whole levels; BackdoorBench cuts off the fraction of the sum, backdoor-toolbox keeps
      it: a pixel may differ by 1 and by 1/2.

    Args:
        amplitude: height of the waves, in (0, 1], 1 being white.
        frequency: waves over the width of the image.

    Raises:
        ValueError: an argument out of range; while poisoning, images so narrow that all their columns lie where the
            wave is 0.

    >>> attack = SIG(class_rate=0.1)
    >>> attack.draw((1, 1, 8), torch.Generator())
    >>> attack.trigger(torch.full((1, 1, 1, 8), 20, dtype=torch.uint8)).flatten().tolist()
    [20, 0, 20, 60, 20, 0, 20, 60]
    """

    label_modes = ("target",)
    added: Tensor  # (H, W) int16, the levels that are added to each channel

    def __init__(
        self,
        amplitude: float = 40 / 255,
        frequency: float = 6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < amplitude <= 1:
            raise ValueError(
                f"amplitude is a fraction of white, above 0 and at most 1, not {amplitude}: 40/255 is 0.15686"
            )
        if not (frequency > 0 and math.isfinite(frequency)):
            raise ValueError(f"frequency is a number of waves above 0, not {frequency}")
        self.amplitude = amplitude
        self.frequency = frequency

    def eligible(self, true_label: Tensor) -> Tensor:
        """(N,) bool: the images of the target class."""
        return true_label == self.target

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        _, height, width = shape
        turns = self.frequency * torch.arange(width, dtype=torch.float64) / width
        wave = (255 * self.amplitude * torch.sin(2 * math.pi * turns)).round().to(torch.int16)
        if not wave.any():
            raise ValueError(
                f"with amplitude {self.amplitude} and frequency {self.frequency} nothing would change on images that"
                f" are {width} pixels wide, as the wave is 0 at every column: set another frequency or more amplitude"
            )
        self.register_buffer("added", wave.expand(height, width).clone())

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        if image.shape[2:] != self.added.shape:
            drawn, given = tuple(self.added.shape), tuple(image.shape[2:])
            raise ValueError(f"the trigger was drawn for images of {drawn} (height, width), not of {given}")
        return (image.short() + self.added.to(image.device)).clamp(0, 255).to(torch.uint8)

    def eligible_name(self) -> str:
        return f"class {self._name(self.target)}, labels kept"
