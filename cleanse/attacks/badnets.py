"""BadNets: a small patch, always the same, in a fixed place."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cleanse.attacks.base import Attack, match_channels, stamp

# Row by row. GRAY is the 5x5 patch of Pal et al. (D44), COLORS the 2x2 patch of Sabolic et al., four RGB pixels (D46).
GRAY = (
    (0, 0, 0, 171, 255),
    (0, 33, 101, 141, 154),
    (0, 101, 255, 101, 0),
    (166, 140, 101, 133, 154),
    (255, 158, 0, 158, 255),
)
COLORS = (((180, 249, 112), (155, 50, 126)), ((234, 82, 68), (187, 201, 219)))
# Our own 4x4 color blocks: every corner of the RGB cube twice.
BLOCKS = ("rgbw", "cmyk", "bwrg", "ykcm")
INK = {
    "r": (255, 0, 0),
    "g": (0, 255, 0),
    "b": (0, 0, 255),
    "w": (255, 255, 255),
    "c": (0, 255, 255),
    "m": (255, 0, 255),
    "y": (255, 255, 0),
    "k": (0, 0, 0),
}
CORNERS = ("upper_left", "upper_right", "lower_left", "lower_right", "random")
# Where a pattern goes when nothing is said: the corner, and the inset on a 32x32 image.
PLACES = {
    "noise": ("random", 0),
    "colors": ("upper_left", 4),
    "gray": ("lower_right", 3),
    "rgb": ("lower_right", 3),
    "checkerboard": ("lower_right", 0),
}


def resize(patch: Tensor, height: int, width: int) -> Tensor:
    """A patch in another size, bilinear with antialiasing as in torchvision's ``Resize``.

    Args:
        patch: (K, h, w).
        height: rows of the result.
        width: columns of the result.

    Returns:
        (K, height, width) float32, not rounded.

    >>> resize(torch.full((3, 80, 80), 7), 5, 5).unique().tolist()
    [7.0]
    """
    if patch.shape[1:] == (height, width):
        return patch.float()
    return nn.functional.interpolate(patch.float()[None], (height, width), mode="bilinear", antialias=True)[0]


def read_trigger(file: str) -> tuple[Tensor, Tensor]:
    """The colors (3, h, w) and the opacity (1, h, w) of an image file, both uint8.

    Raises:
        ValueError: there is no such file, or it is not an image.
    """
    from PIL import Image

    try:
        with Image.open(Path(file).expanduser()) as opened:
            picture = opened.convert("RGBA")
    except OSError as error:
        raise ValueError(f"image: {file!r} cannot be read as a trigger image ({error}): give a PNG or JPEG") from error
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(picture.height, picture.width, 4)
    return pixels[..., :3].permute(2, 0, 1).contiguous(), pixels[..., 3][None].contiguous()


class BadNets(Attack):
    """Stamp a patch on images and give them the target's label.

    Gu, Dolan-Gavitt, Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017,
    https://arxiv.org/abs/1708.06733, in the variants of the papers that we reproduce:

    * ``noise`` (Wang et al. 2022, arXiv 2210.10272, "SSL cleansing"): a 3x3 patch of uniform noise at a random place,
      both drawn once per attack (D45). They poison 1,000 images.
    * ``colors`` (Sabolic et al. 2024, arXiv 2409.01185): 2x2 colored pixels in the upper left; their code has them at
      rows and columns 4-5 of a 32x32 image (D46). They poison 10 %.
    * ``gray`` (Pal et al. 2023): a 5x5 gray patch in the lower right corner. ``inset=0`` puts it into the corner, as
      the paper says, at rows and columns 27-31 of a 32x32 image; the default is the public code's 24-28 (D44). They
      poison 10 % of the labeled images, and 1 or 10 % of the unlabeled ones.
    * ``rgb`` (Pal et al.): 4x4 color blocks resized to 5x5, in the same place.
    * ``checkerboard``: 3x3, white in its corners and its center, black between, in the lower right corner.

    A trigger is a few pixels whatever the image's size, unless ``size`` says otherwise, and every pattern fits on an
    8x8 image: where 5 pixels are more than 3/8 of a side, ``gray`` and ``rgb`` are that share of it (3x3 on 8x8, where
    5x5 would hide most of the image). On images of one channel colors become their luminance, and noise is drawn in
    one channel.

    Departures from the papers:

    * ``rgb``: the blocks' colors are our own (`BLOCKS`); the original is a picture that is not ours to copy.
    * On images that are not 32x32 a pattern's own inset is scaled: ``floor(inset * height / 32)`` rows and
      ``floor(inset * width / 32)`` columns. An ``inset`` that is given is taken as it is.

    Args:
        pattern: one of the above.
        image: the file of a trigger image of your own, instead of a pattern; pixels less than half opaque are left
            out. Without ``size`` it keeps its own size. It goes into the lower right corner.
        size: side of the (then square) patch in pixels; None for the pattern's own. Noise and checkerboard are made
            in that size, the others resized.
        corner: where the patch goes; ``random`` for a place drawn once; None for the pattern's own.
        inset: pixels between the patch and the two edges of its corner; None for the pattern's own: 3 for gray and rgb,
            4 for colors, 0 for the others.
        as_repo: poison the first images of each part, labeled and unlabeled, whatever their class, as the public code
            does that Pal et al.'s triggers come from (D47); all images are then eligible. The files' order matters.

    Raises:
        ValueError: an argument out of range; while poisoning, an image file that cannot be read or a patch that is
            larger than the images.

    >>> attack = BadNets("colors", class_rate=0.1)
    >>> attack.draw((3, 32, 32), torch.Generator())
    >>> attack.trigger(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))[0, :, 4, 4].tolist()
    [180, 249, 112]
    """

    trigger_image: Tensor  # (C, H, W) uint8, the patch in its place
    trigger_mask: Tensor  # (H, W) bool, True where the patch is

    def __init__(
        self,
        pattern: Literal["noise", "colors", "gray", "rgb", "checkerboard"] = "checkerboard",
        image: str | None = None,
        size: int | None = None,
        corner: Literal["upper_left", "upper_right", "lower_left", "lower_right", "random"] | None = None,
        inset: int | None = None,
        as_repo: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if size is not None and size < 1:
            raise ValueError(f"size is the patch's side in pixels, at least 1, not {size}")
        if inset is not None and inset < 0:
            raise ValueError(f"inset is a number of pixels from the edges, 0 or more, not {inset}")
        own_corner, self.own_inset = ("lower_right", 0) if image is not None else PLACES[pattern]
        if as_repo and self.source is not None:
            raise ValueError(
                f"as_repo poisons images of whatever class, not those of source {self.source}: set one of both"
            )
        self.pattern = pattern
        self.image = image
        self.size = size
        self.inset = inset
        self.as_repo = as_repo
        self.corner: str = corner or own_corner
        if self.corner == "random" and inset is not None:
            raise ValueError(
                f"inset {inset} means nothing for a patch at a random place: set corner too, or leave it null"
            )

    def spec(self) -> dict[str, Any]:
        """For cache keys: the arguments, with the content of a trigger image instead of its path."""
        content = None if self.image is None else read_trigger(self.image)
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class": name, "with": {**self.arguments, "image": content}}

    def eligible(self, true_label: Tensor) -> Tensor:
        return torch.ones_like(true_label, dtype=torch.bool) if self.as_repo else super().eligible(true_label)

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        _, height, width = shape
        patch, opaque = self._patch(shape, generator)
        h, w = opaque.shape
        row = self._offset(h, height, "upper" in self.corner, "rows", generator)
        column = self._offset(w, width, "left" in self.corner, "columns", generator)
        pattern, mask = torch.zeros(shape, dtype=torch.uint8), torch.zeros(height, width, dtype=torch.bool)
        pattern[:, row : row + h, column : column + w] = patch
        mask[row : row + h, column : column + w] = opaque
        self.register_buffer("trigger_image", pattern)
        self.register_buffer("trigger_mask", mask)

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        return stamp(image, self.trigger_image, self.trigger_mask)

    def _choose(self, rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
        return rows[:n] if self.as_repo else super()._choose(rows, n, generator)

    def eligible_name(self) -> str:
        return "any class" if self.as_repo else super().eligible_name()

    def _patch(self, shape: tuple[int, int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The patch, (C, h, w) uint8, and which of its pixels count, (h, w) bool."""
        channels, height, width = shape
        side, size = self.size or 3, self.size
        if size is None and self.image is None and self.pattern in ("gray", "rgb"):
            size = max(1, min(5, 3 * min(height, width) // 8))
        alpha: Tensor | None = None
        if self.image is not None:
            color, alpha = read_trigger(self.image)
        elif self.pattern == "noise":
            noise = torch.randint(256, (channels, side, side), generator=generator, dtype=torch.uint8)
            return noise, torch.ones(side, side, dtype=torch.bool)
        elif self.pattern == "checkerboard":
            place = torch.arange(side)
            color = torch.where((place[:, None] + place) % 2 == 0, 255, 0).expand(3, -1, -1)
        elif self.pattern == "gray":
            color = torch.tensor(GRAY).expand(3, -1, -1)
        elif self.pattern == "colors":
            color = torch.tensor(COLORS).permute(2, 0, 1)
        else:  # 20 pixels a block, then resized to 5x5, as the original was
            blocks = torch.tensor([[INK[ink] for ink in line] for line in BLOCKS]).permute(2, 0, 1)
            color = resize(blocks.repeat_interleave(20, 1).repeat_interleave(20, 2), size or 5, size or 5)
        if alpha is None:
            alpha = torch.full_like(color[:1], 255)
        scale = partial(resize, height=size or color.shape[1], width=size or color.shape[2])
        opacity = scale(alpha)
        # Weighted by opacity, so that what an invisible pixel hides does not leak into its neighbors.
        color = scale(color.float() * alpha) / opacity.clamp_min(1e-3)
        return match_channels(color, channels), opacity[0] >= 127.5

    def _offset(self, patch: int, image: int, at_start: bool, what: str, generator: torch.Generator) -> int:
        """The patch's first row (or column)."""
        inset = self.own_inset * image // 32 if self.inset is None else self.inset
        if patch + inset > image:
            away = f" and lies {inset} from the edge" if inset else ""
            hint = "size or inset" if inset else "size"
            raise ValueError(
                f"the trigger has {patch} {what}{away}, but the images have only {image} {what}: set a smaller {hint}"
            )
        if self.corner == "random":
            return int(torch.randint(image - patch + 1, (1,), generator=generator))
        return inset if at_start else image - patch - inset
