"""Blend: a faint picture over the whole image, or over one small patch of it."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from cleanse.attacks.badnets import read_trigger, resize
from cleanse.attacks.base import Attack, match_channels, stamp

# The pattern, and its share in the mixture, when nothing is said: Sabolic et al.'s and Wang et al.'s.
OWN: dict[str, tuple[Literal["drawn", "noise"], float]] = {"whole": ("drawn", 0.1), "patch": ("noise", 0.4)}


def figure(height: int, width: int) -> Tensor:
    """The drawn pattern: red rings around the center, crossed by green and by blue stripes.

    Every channel is ``127.5 * (1 + cos(2 pi p))``, with p the number of turns at the pixel's center (x, y), both from
    -1/2 to 1/2 over the image: ``3 sqrt(x^2 + y^2)`` for red, ``2x + y`` for green, ``x - 2y`` for blue. So it is
    smooth, has full contrast and is the same figure in every size.

    Returns:
        (3, height, width) float64 in 0..255.

    >>> figure(1, 1).flatten().tolist()
    [255.0, 255.0, 255.0]
    """
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) / height - 0.5)[:, None].expand(height, width)
    x = ((torch.arange(width, dtype=torch.float64) + 0.5) / width - 0.5).expand(height, width)
    turns = torch.stack((3 * torch.hypot(x, y), 2 * x + y, x - 2 * y))
    return 127.5 * (1 + torch.cos(2 * math.pi * turns))


class Blend(Attack):
    """Mix a pattern into images, ``(1 - alpha) * image + alpha * pattern``, and give them the target's label.

    Chen, Liu, Li, Lu, Song, "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning", 2017,
    https://arxiv.org/abs/1712.05526, in the variants of the papers that we reproduce:

    * ``whole`` (Sabolic et al. 2024, arXiv 2409.01185): a picture in the image's size, alpha 0.1; ``drawn`` (`figure`)
      stands for the cartoon that the paper uses on CIFAR-10, ``noise`` is the noise that it uses on the other data
      sets. They poison 10 %.
    * ``patch`` (Wang et al. 2022, arXiv 2210.10272): a 3x3 patch of noise at a random place, alpha 0.4. They poison
      1,000 images.

    Noise and place are drawn once per attack. The mixture is computed in levels of 0 to 255 and rounded to the nearest
    (ties to even, as ``torch.round``). On images of one channel colors become their luminance, and noise is drawn in
    one channel.

    Departures from the papers:

    * ``drawn``: the original is a cartoon that is not ours to copy; give your own with ``image``.
    * The authors' code cuts off the fraction of a level, ours rounds it: a pixel may differ by 1.

    Args:
        scope: one of the above.
        pattern: ``drawn`` or ``noise``; None for the scope's own, drawn for whole and noise for patch.
        alpha: the pattern's share, in (0, 1]; None for the scope's own, 0.1 for whole and 0.4 for patch.
        image: the file of a picture of your own instead of a pattern, resized to the image or the patch whatever its
            proportions; pixels less than half opaque are left out.
        size: side of the patch in pixels, 3 when None; nothing for whole.

    Raises:
        ValueError: an argument out of range; while poisoning, an image file that cannot be read or a patch that is
            larger than the images.

    >>> attack = Blend("patch", size=1, class_rate=0.1)
    >>> attack.draw((1, 1, 1), torch.Generator().manual_seed(0))
    >>> attack.trigger_image.item(), attack.trigger(torch.full((1, 1, 1, 1), 100, dtype=torch.uint8)).item()
    (172, 129)
    """

    trigger_image: Tensor  # (C, H, W) uint8, the pattern in its place
    trigger_mask: Tensor  # (H, W) bool, True where it is mixed in

    def __init__(
        self,
        scope: Literal["whole", "patch"] = "whole",
        pattern: Literal["drawn", "noise"] | None = None,
        alpha: float | None = None,
        image: str | None = None,
        size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if alpha is not None and not 0 < alpha <= 1:
            raise ValueError(f"alpha is the pattern's share, above 0 and at most 1, not {alpha}")
        if size is not None and scope == "whole":
            raise ValueError(f"size {size} means nothing for the whole image: set scope to patch, or leave it null")
        if size is not None and size < 1:
            raise ValueError(f"size is the patch's side in pixels, at least 1, not {size}")
        own_pattern, own_alpha = OWN[scope]
        self.scope = scope
        self.image = image
        self.size = size
        self.pattern = pattern or own_pattern
        self.alpha = own_alpha if alpha is None else alpha

    def spec(self) -> dict[str, Any]:
        """For cache keys: the arguments, with the content of an image file instead of its path."""
        content = None if self.image is None else read_trigger(self.image)
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class": name, "with": {**self.arguments, "image": content}}

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        channels, height, width = shape
        side = self.size or 3
        h, w = (height, width) if self.scope == "whole" else (side, side)
        if h > height or w > width:
            raise ValueError(f"the patch is {h}x{w}, but the images are only {height}x{width}: set a smaller size")
        color, opaque = self._picture(channels, h, w, generator)
        row, column = (int(torch.randint(free + 1, (1,), generator=generator)) for free in (height - h, width - w))
        pattern, mask = torch.zeros(shape, dtype=torch.uint8), torch.zeros(height, width, dtype=torch.bool)
        pattern[:, row : row + h, column : column + w] = color
        mask[row : row + h, column : column + w] = opaque
        self.register_buffer("trigger_image", pattern)
        self.register_buffer("trigger_mask", mask)

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        return torch.cat([self._mix(part) for part in torch.split(image, 512)])  # floats take four times the room

    def _mix(self, image: Tensor) -> Tensor:
        shown = stamp(image, self.trigger_image, self.trigger_mask)
        return torch.lerp(image.float(), shown.float(), self.alpha).round().to(torch.uint8)

    def _picture(self, channels: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The pattern, (C, height, width) uint8, and which of its pixels count, (height, width) bool."""
        everywhere = torch.ones(height, width, dtype=torch.bool)
        if self.image is not None:
            color, alpha = read_trigger(self.image)
            opacity = resize(alpha, height, width)
            # Weighted by opacity, so that what an invisible pixel hides does not leak into its neighbors.
            color = resize(color.float() * alpha, height, width) / opacity.clamp_min(1e-3)
            return match_channels(color, channels), opacity[0] >= 127.5
        if self.pattern == "noise":
            return torch.randint(256, (channels, height, width), generator=generator, dtype=torch.uint8), everywhere
        return match_channels(figure(height, width), channels), everywhere
