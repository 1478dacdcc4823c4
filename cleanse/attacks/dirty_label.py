"""The dirty-label attack with a few pixels, from one class to another."""

from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from cleanse.attacks.base import Attack, match_channels, stamp

# (row, column) of each pixel, from the trigger's own place.
OFFSETS = {
    "pixel": ((0, 0),),
    "L": ((0, 0), (1, 0), (0, 1)),
    "X": ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)),
}
# The places that are drawn: the first row, and how many rows at the end stay free (0-30, 0-29 and 1-29 of 32).
RANGES = {"pixel": (0, 1), "L": (0, 2), "X": (1, 2)}


class PublishedTrigger(NamedTuple):
    """One trigger of the authors' code: its shape, its place on a 32x32 image and its RGB color."""

    shape: Literal["pixel", "L", "X"]
    row: int
    column: int
    color: tuple[int, int, int]


# (source, target) on CIFAR-10: what the authors' later code draws at its seed 100 (D53).
PUBLISHED = {
    (0, 2): PublishedTrigger("pixel", 24, 3, (103, 87, 79)),
    (1, 3): PublishedTrigger("pixel", 10, 30, (180, 98, 53)),
    (3, 5): PublishedTrigger("L", 2, 14, (34, 241, 240)),
    (7, 4): PublishedTrigger("pixel", 15, 4, (107, 60, 58)),
    (2, 5): PublishedTrigger("pixel", 27, 9, (93, 86, 130)),
    (8, 6): PublishedTrigger("pixel", 4, 1, (141, 245, 211)),
    (9, 2): PublishedTrigger("pixel", 4, 27, (187, 67, 135)),
    (3, 7): PublishedTrigger("X", 16, 2, (61, 14, 183)),
}
PAIRS = tuple(PUBLISHED)


class DirtyLabel(Attack):
    """Stamp a few pixels of one color on images of one class and give them another class's label, in place.

    Tran, Li, Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018, https://arxiv.org/abs/1811.00636, as used
    by Jin, Sun, Rinard 2021 (arXiv 2105.03692, "ISPL"): ``floor(class_rate * 5000)`` random images of the source class
    move to the target class, so that the one shrinks and the other grows (D52). The paper has 5, 10 and 20 % and draws
    one of the three shapes for each pair of classes.

    The shapes, with the trigger at row r and column c: ``pixel`` (r, c); ``L`` (r, c), (r+1, c), (r, c+1); ``X`` (r, c)
    and its four diagonal neighbors. The place is drawn from rows and columns 0 to H-2 (pixel), 0 to H-3 (L) and 1 to
    H-3 (X): 0-30, 0-29 and 1-29 of 32; the color from 0 to 254 per channel. Both are drawn once per attack. On images
    of one channel the color becomes its luminance. Nothing sees to it that the color differs from what it covers.

    Departures from the paper:

    * Places, colors and the eight triggers of `published` are the authors' code's; the paper has the shapes (D53).
    * The poisoned rows, and a trigger that is drawn rather than `published`, come from our own random numbers: the
      order in which the authors draw theirs (NumPy's legacy generator, seed + int(100 * rate) + 10 * source + target
      for the rows) is not described closely enough to repeat it.

    Args:
        shape: the trigger's pixels.
        row: the trigger's row r; None to draw it.
        column: the trigger's column c; None to draw it.
        color: red, green, blue in 0..255; None to draw it.
        source: the class whose images are poisoned; see `PAIRS`.
        target: the class that they are given.

    Raises:
        ValueError: an argument out of range; while poisoning, a trigger that lies outside the images.

    >>> attack = DirtyLabel.published(7, 4, class_rate=0.05)
    >>> attack.draw((3, 32, 32), torch.Generator())
    >>> attack.trigger(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))[0, :, 15, 4].tolist()
    [107, 60, 58]
    """

    label_modes = ("target",)
    trigger_image: Tensor  # (C, H, W) uint8, the color everywhere
    trigger_mask: Tensor  # (H, W) bool, True at the trigger's pixels

    def __init__(
        self,
        shape: Literal["pixel", "L", "X"] = "pixel",
        row: int | None = None,
        column: int | None = None,
        color: tuple[int, int, int] | None = None,
        source: int = 7,
        target: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source, target=target, **kwargs)
        if color is not None and not all(0 <= level <= 255 for level in color):
            raise ValueError(f"color is red, green and blue, each from 0 to 255, not {color}")
        self.shape = shape
        self.row = row
        self.column = column
        self.color = color

    @classmethod
    def published(cls, source: int, target: int, class_rate: float) -> Self:
        """The attack on CIFAR-10 with the trigger that the authors' code draws for a pair of classes at its seed 100.

        Raises:
            ValueError: not one of the eight `PAIRS`.
        """
        if (source, target) not in PUBLISHED:
            known = ", ".join(f"{s}->{t}" for s, t in PAIRS)
            raise ValueError(f"there is no published trigger for {source}->{target}: the pairs are {known}")
        shape, row, column, color = PUBLISHED[source, target]
        return cls(shape, row, column, color, source=source, target=target, class_rate=class_rate)

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        channels, height, width = shape
        row, column = (self._place(size, generator) for size in (height, width))
        color = torch.randint(255, (3,), generator=generator)
        row, column = row if self.row is None else self.row, column if self.column is None else self.column
        if self.color is not None:
            color = torch.tensor(self.color)
        mask = torch.zeros(height, width, dtype=torch.bool)
        for down, right in OFFSETS[self.shape]:
            r, c = row + down, column + right
            if not (0 <= r < height and 0 <= c < width):
                raise ValueError(
                    f"the trigger {self.shape} at row {row}, column {column} covers ({r}, {c}), outside the"
                    f" {height}x{width} images: choose another row and column, or the shape pixel"
                )
            mask[r, c] = True
        self.register_buffer("trigger_image", match_channels(color, channels)[:, None, None].expand(shape).clone())
        self.register_buffer("trigger_mask", mask)

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        return stamp(image, self.trigger_image, self.trigger_mask)

    def _place(self, size: int, generator: torch.Generator) -> int:
        first, free = RANGES[self.shape]
        return int(torch.randint(first, max(first + 1, size - free), (1,), generator=generator))
