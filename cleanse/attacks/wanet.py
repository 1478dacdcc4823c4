"""WaNet: a smooth warp of the whole image, too small to see, always the same."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from cleanse.attacks.base import COVER, Attack, draw_covers

CHUNK = 512  # images that are floats at the same time


def warp_grid(control: Tensor, height: int, width: int, strength: float, scale: float = 1.0) -> Tensor:
    """Where each pixel of a warped image looks in the original.

    The control points become a field of mean absolute size 1 there, are interpolated (bicubic) and added to the
    identity: ``clamp((identity + strength * field / size) * scale, -1, 1)``. The whole image goes from -1 to 1, so
    pixels move by about ``strength / 2`` along each axis.

    Args:
        control: (2, k, k) float32, x and y.
        height: rows of the images.
        width: columns of the images.
        strength: s of the original.
        scale: zooms out of the whole grid before it is clamped.

    Returns:
        (height, width, 2) float32 in [-1, 1], x then y.

    >>> warp_grid(torch.ones(2, 2, 2), 3, 3, strength=0.3)[1, 1]
    tensor([0.1000, 0.1000])
    """
    field = (control / control.abs().mean())[None]
    field = nn.functional.interpolate(field, (height, width), mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    size = torch.tensor([width, height])
    return ((torch.stack((x, y), 2) + strength * field / size) * scale).clamp(-1, 1)


def warp(image: Tensor, grid: Tensor) -> Tensor:
    """Images seen through a grid, bilinear, rounded to the nearest level.

    Args:
        image: (B, C, H, W) uint8.
        grid: (H, W, 2) for all of them, or (B, H, W, 2), in [-1, 1]; -1 and 1 are the centers of the outer pixels.

    Returns:
        (B, C, H, W) uint8.

    >>> mirrored = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]]])
    >>> warp(torch.tensor([[[[10, 20, 50]]]], dtype=torch.uint8), mirrored).tolist()
    [[[[50, 20, 10]]]]
    """
    grid = grid.to(image.device).expand(len(image), -1, -1, -1)
    return nn.functional.grid_sample(image.float(), grid, mode="bilinear", align_corners=True).round().to(torch.uint8)


def jitter(grid: Tensor, images: int, generator: torch.Generator) -> Tensor:
    """A grid with uniform noise of up to ``1 / size`` on it, half a pixel, drawn for each image: noise mode.

    Args:
        grid: (H, W, 2).
        images: number of grids.
        generator: the noise comes from it.

    Returns:
        (images, H, W, 2) in [-1, 1].

    >>> jitter(torch.zeros(4, 4, 2), 3, torch.Generator()).abs().max() <= 1 / 4
    tensor(True)
    """
    height, width, _ = grid.shape
    noise = torch.rand(images, height, width, 2, generator=generator) * 2 - 1
    return (grid + noise / torch.tensor([width, height])).clamp(-1, 1)


class WaNet(Attack):
    """Warp images, always the same way, and give them the target's label.

    Nguyen, Tran, "WaNet - Imperceptible Warping-based Backdoor Attack", ICLR 2021, https://arxiv.org/abs/2102.10369, as
    a poisoned data set: the grid is drawn once and saved (D41), `warp_grid`, with a k x k control grid uniform in
    [-1, 1]. So do Wang et al. 2022 (arXiv 2210.10272), who poison 10 % of all images, and Sabolic et al. 2024 (arXiv
    2409.01185); that they have no cover images is how we read them (D49). The original attacks while it trains, with
    twice as many cover images as poisoned ones (``poison_rate=0.1, cover_rate=0.2``): warped by the same grid with
    `jitter` on it, and with their true label, so that a network cannot take just any warp for the trigger. Covers are
    drawn among all images that are not poisoned, the target's own included.

    Departures from the papers:

    * The grid is saved; Sabolic et al.'s code draws another one in every process.
    * Poison and cover images are chosen once, not anew in every batch, so a cover keeps its noise over all epochs.
    * Warped in levels of 0 to 255 and rounded to the nearest, not in normalized floats.
    * On images that are not square the field is divided by the width for x and by the height for y.

    Args:
        strength: s; the original: 0.5; Sabolic et al.'s code: 1 on images of 224x224.
        grid: k, control points a side; the original: 4; Sabolic et al.'s code: 224 on images of 224x224.
        scale: what the grid is multiplied by; the original's ``grid_rescale``.
        cover_rate: cover images / all images, in the labeled and in the unlabeled part each.
        noise: ``per_sample``, as in the original, or one noise for all cover images, ``shared``.

    Raises:
        ValueError: an argument out of range; while poisoning, more cover images than are left.

    >>> attack = WaNet(class_rate=0.1)
    >>> attack.draw((1, 8, 8), torch.Generator().manual_seed(0))
    >>> attack.trigger(torch.arange(0, 256, 4, dtype=torch.uint8).view(1, 1, 8, 8))[0, 0, 4, :4].tolist()
    [128, 134, 141, 149]
    """

    warping_grid: Tensor  # (H, W, 2) float32, the grid of the trigger

    def __init__(
        self,
        strength: float = 0.5,
        grid: int = 4,
        scale: float = 1.0,
        cover_rate: float = 0.0,
        noise: Literal["per_sample", "shared"] = "per_sample",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, number in (("strength", strength), ("scale", scale)):
            if not number > 0:
                raise ValueError(f"{name} is a number above 0, not {number}")
        if grid < 2:
            raise ValueError(f"grid is the number of control points a side, at least 2, not {grid}")
        if not 0 <= cover_rate <= 1:
            raise ValueError(f"cover_rate is a fraction between 0 and 1, not {cover_rate}")
        self.strength = strength
        self.grid = grid
        self.scale = scale
        self.cover_rate = cover_rate
        self.noise = noise

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        _, height, width = shape
        control = torch.rand(2, self.grid, self.grid, generator=generator) * 2 - 1
        self.register_buffer("warping_grid", warp_grid(control, height, width, self.strength, self.scale))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        if image.shape[2:] != self.warping_grid.shape[:2]:
            drawn, given = tuple(self.warping_grid.shape[:2]), tuple(image.shape[2:])
            raise ValueError(f"the trigger was drawn for images of {drawn} (height, width), not of {given}")
        return torch.cat([warp(part, self.warping_grid) for part in torch.split(image, CHUNK)])

    def _add_covers(self, role: Tensor, true_label: Tensor, labeled: Tensor, generator: torch.Generator) -> None:
        draw_covers(role, torch.ones_like(labeled), labeled, self.cover_rate, generator)

    def _change(self, image: Tensor, rows: Tensor, kind: int, generator: torch.Generator) -> Tensor:
        if kind != COVER:
            return super()._change(image, rows, kind, generator)
        if self.noise == "shared":
            shared = jitter(self.warping_grid, 1, generator)[0]
            return torch.cat([warp(part, shared) for part in torch.split(image, CHUNK)])
        return torch.cat(
            [warp(part, jitter(self.warping_grid, len(part), generator)) for part in torch.split(image, CHUNK)]
        )
