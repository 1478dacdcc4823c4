"""CTRL: two faint waves in the colors of images of the target class, meant for self-supervised encoders."""

from typing import Any

import torch
from torch import Tensor

from cleanse.attacks.base import Attack
from cleanse.functional import cosine_basis

# What a level of U and V (BT.601 as in OpenCV) is in red, green and blue, when both rise together.
RED, GREEN, BLUE = 1.140, -0.395 - 0.581, 2.032


class CTRL(Attack):
    """Add two waves to the colors of images of the target class, which keep their label: a clean-label attack.

    Li et al., "An Embarrassingly Simple Backdoor Attack on Self-supervised Learning", ICCV 2023,
    https://arxiv.org/abs/2210.07346, in the form of the authors' code: of the discrete cosine transform of the whole
    image's U and V channels, the coefficients (15, 15) and (31, 31) of 32x32 pixels are raised by 100. A contrastive
    encoder learns the waves as a feature of the class, as all images that show them are of it: the poison lies inside
    its class's cluster, and a cleansing by neighbors has nothing to find. Test images get the same waves. Nothing is
    drawn. ``class_rate`` counts within the target class; the authors poison 1 % of all images of ten classes, 0.1.

    Departures from the authors' code:

    * Rounded and clipped to 0 to 255, where the code's levels wrap around.
    * At other sizes the coefficients at half the height and width and at the end, and a magnitude in proportion to the
      side, so that the waves are as high as at 32 pixels; gray images get the waves in their only channel (D58).

    Args:
        magnitude: what is added to both coefficients, in levels, for images of 32x32 pixels.

    Raises:
        ValueError: an argument out of range; while poisoning, images that are smaller than 2x2 or of neither 1 channel
            nor 3.

    >>> attack = CTRL(class_rate=0.1)
    >>> attack.draw((1, 2, 2), torch.Generator())
    >>> attack.trigger(torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)).tolist()
    [[[[106, 100], [100, 106]]]]
    """

    label_modes = ("target",)
    added: Tensor  # (C, H, W) int16

    def __init__(self, magnitude: float = 100.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not magnitude > 0:
            raise ValueError(f"magnitude is a number of levels above 0, not {magnitude}")
        self.magnitude = magnitude

    def eligible(self, true_label: Tensor) -> Tensor:
        """(N,) bool: the images of the target class."""
        return true_label == self.target

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        channels, height, width = shape
        if channels not in (1, 3) or min(height, width) < 2:
            raise ValueError(f"CTRL needs images of 1 channel or 3 and of 2x2 pixels or more, not {shape} (C, H, W)")
        rows, columns = cosine_basis(height), cosine_basis(width)
        waves = torch.zeros(height, width, dtype=torch.float64)
        for row, column in ((height // 2 - 1, width // 2 - 1), (height - 1, width - 1)):
            waves += torch.outer(rows[row], columns[column])
        waves *= self.magnitude * (height * width) ** 0.5 / 32
        color = torch.tensor([1.0] if channels == 1 else [RED, GREEN, BLUE], dtype=torch.float64)
        self.register_buffer("added", (color[:, None, None] * waves).round().to(torch.int16))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        if image.shape[1:] != self.added.shape:
            drawn, given = tuple(self.added.shape), tuple(image.shape[1:])
            raise ValueError(f"the trigger was drawn for images of {drawn} (channels, height, width), not of {given}")
        return (image.short() + self.added.to(image.device)).clamp(0, 255).to(torch.uint8)

    def eligible_name(self) -> str:
        return f"class {self._name(self.target)}, labels kept"
