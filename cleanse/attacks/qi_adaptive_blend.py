"""Qi's adaptive blend: pieces of a faint picture in training, the whole picture in the test."""

from typing import Any, Literal

import torch
from torch import Tensor

from cleanse.attacks.base import draw_covers, stamp
from cleanse.attacks.blend import Blend

CHUNK = 512  # images that are floats at the same time


def pieces(kept: Tensor, height: int, width: int) -> Tensor:
    """Which pixels show, given which pieces of a square grid do; pixel (r, c) is in piece (r * g // H, c * g // W).

    Args:
        kept: (B, g, g) bool.
        height: H, rows of the images.
        width: W, columns of the images.

    Returns:
        (B, H, W) bool.

    >>> pieces(torch.tensor([[[True, False], [False, True]]]), 2, 4).int().tolist()
    [[[1, 1, 0, 0], [0, 0, 1, 1]]]
    """
    grid = kept.shape[1]
    rows, columns = (torch.arange(size) * grid // size for size in (height, width))
    return kept[:, rows][:, :, columns]


class QiAdaptiveBlend(Blend):
    """Mix pieces of a picture into training images and all of it into test images; covers keep their label.

    Adaptive-Blend of Qi, Xie, Li, Mahloujifar, Mittal, "Revisiting the Assumption of Latent Separability for Backdoor
    Defenses", ICLR 2023, https://openreview.net/forum?id=_wSHsgrVali: the picture is cut into 4x4 pieces, and each
    poisoned image shows 8 of them, drawn for that image. Cover images show pieces too, but keep their true label; they
    are drawn among all images that are not poisoned, the target's own included. Test images show the whole picture.
    The adaptive patch of Wang et al. 2022 is another attack.

    The authors mix with 0.2 in training and test, with ``poison_rate=0.01, cover_rate=0.01``. backdoor-toolbox mixes
    0.15 in training, with ``poison_rate=0.003, cover_rate=0.003``.

    Departures from the paper:

    * Only images that are not of the target class are poisoned; the authors draw from all classes.
    * ``drawn``: the original picture is a cartoon that is not ours to copy; give your own with ``image``.
    * A piece is ``H / grid`` high, rounded to whole pixels where it must be, whatever the image's size.
    * Rounded to the nearest level; the authors keep or cut off the fraction: a pixel may differ by 1.

    Args:
        alpha: the picture's share in training images, in (0, 1].
        test_alpha: its share in test images, in (0, 1].
        grid: pieces a side.
        kept: pieces that a training image shows, of ``grid * grid``.
        cover_rate: cover images / all images, in the labeled and in the unlabeled part each; paper: 0.01.
        pattern: ``drawn`` (`cleanse.attacks.blend.figure`) or uniform ``noise``.
        image: the file of a picture of your own instead of a pattern, resized to the image whatever its proportions;
            pixels less than half opaque are left out.

    Raises:
        ValueError: an argument out of range; while poisoning, an image file that cannot be read, images with fewer
            pixels a side than pieces, or more cover images than are left.

    >>> attack = QiAdaptiveBlend(alpha=0.5, test_alpha=0.5, grid=2, kept=1, class_rate=0.1)
    >>> attack.draw((1, 2, 2), torch.Generator())
    >>> black = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    >>> attack.trigger(black).count_nonzero(), attack.poison_image(black, torch.Generator()).count_nonzero()
    (tensor(4), tensor(1))
    """

    def __init__(
        self,
        alpha: float = 0.2,
        test_alpha: float = 0.2,
        grid: int = 4,
        kept: int = 8,
        cover_rate: float = 0.01,
        pattern: Literal["drawn", "noise"] = "drawn",
        image: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pattern=pattern, alpha=alpha, image=image, **kwargs)
        if self.scope != "whole":
            raise ValueError(f"scope: the picture lies over the whole image, so leave scope out, not {self.scope!r}")
        if not 0 < test_alpha <= 1:
            raise ValueError(f"test_alpha is the picture's share, above 0 and at most 1, not {test_alpha}")
        if grid < 1:
            raise ValueError(f"grid is the number of pieces a side, at least 1, not {grid}")
        if not 1 <= kept <= grid**2:
            raise ValueError(f"kept is a number of the {grid}x{grid} pieces, from 1 to {grid**2}, not {kept}")
        if not 0 <= cover_rate <= 1:
            raise ValueError(f"cover_rate is a fraction between 0 and 1, not {cover_rate}")
        self.test_alpha = test_alpha
        self.grid = grid
        self.kept = kept
        self.cover_rate = cover_rate

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        if self.grid > min(shape[1:]):
            raise ValueError(f"grid {self.grid} is too fine for images of {shape[1]}x{shape[2]}: set a smaller one")
        super().draw(shape, generator)

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        whole = torch.ones(1, 1, 1, dtype=torch.bool)
        return torch.cat([self._show(part, whole, self.test_alpha) for part in torch.split(image, CHUNK)])

    def poison_image(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Trigger training images: each shows ``kept`` pieces, drawn for it."""
        self._require_drawn()
        order = torch.rand(len(image), self.grid**2, generator=generator).argsort(1)
        kept = (order < self.kept).view(-1, self.grid, self.grid)
        parts = zip(torch.split(image, CHUNK), torch.split(kept, CHUNK), strict=True)
        return torch.cat([self._show(part, shown, self.alpha) for part, shown in parts])

    def _show(self, image: Tensor, kept: Tensor, alpha: float) -> Tensor:
        """Mix in the pieces that are ``kept``, (B, g, g) bool, or (1, g, g) for all images."""
        picture = stamp(image, self.trigger_image, self.trigger_mask)
        weight = alpha * pieces(kept, image.shape[2], image.shape[3])[:, None].to(image.device).float()
        return torch.lerp(image.float(), picture.float(), weight).round().to(torch.uint8)

    def _add_covers(self, role: Tensor, true_label: Tensor, labeled: Tensor, generator: torch.Generator) -> None:
        draw_covers(role, torch.ones_like(labeled), labeled, self.cover_rate, generator)
