"""Refool: reflections of other pictures, as a window pane makes them."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from cleanse.attacks.badnets import resize
from cleanse.attacks.base import Attack, match_channels
from cleanse.engine.fingerprint import describe

SIDE = 560  # the longest side, in pixels, at which shifts and blurs are measured
GAMMA = 2.2
GHOST = 0.49  # share of the reflections with a second, shifted image
CHUNK = 512


class Refool(Attack):
    """Let an image show the reflection of another picture, and give it the target's label.

    Liu, Ma, Bailey, Lu, "Reflection Backdoor: A Natural Backdoor Attack on Deep Neural Networks", ECCV 2020,
    https://arxiv.org/abs/2007.02343, with the numbers of BackdoorBench's code: in linear light (a power of 2.2),
    ``transmission`` times the image plus a reflection that is either a *ghost*, twice the same picture a few pixels
    apart, or *out of focus*, blurred, darkened where the sum is too bright, and strongest around a place. The trigger
    is a family: ``reflections`` pictures, of which an image gets the one that the sum of its levels picks, with what
    was drawn for that picture.

    Departures from the published code:

    * The paper's reflections are photographs that are not ours to hand on: give your own folder, or leave ``folder``
      null for synthetic ones, drawn once: soft light with bright panes (D285). The paper selects reflections that work
      best on a trained model; here all are used.
    * The picture of an image is not drawn for each image anew, so that test images are triggered alike every time.
    * Shifts and blurs are measured at 560 pixels a side, as there, on the reflection, which is then made as small as
      the images. On images of 32 pixels both are below a pixel.

    Args:
        folder: with reflection pictures (PNG or JPEG) of your own; null for synthetic ones.
        reflections: how many pictures are used; of a folder the first in order of their names.
        transmission: share of the image itself in a ghost; BackdoorBench: 0.4.

    Raises:
        ValueError: an argument out of range; while poisoning, a folder with too few pictures, or images of neither 1
            channel nor 3.
    """

    layer: Tensor  # (R, C, H, W) float32, reflections in linear light
    ghost: Tensor  # (R,) bool
    dim: Tensor  # (R,) float32, how much an out-of-focus reflection is darkened
    window: Tensor  # (R, H, W) float32, where an out-of-focus reflection shows

    def __init__(
        self, folder: str | None = None, reflections: int = 20, transmission: float = 0.4, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if reflections < 1:
            raise ValueError(f"reflections is a number of pictures, at least 1, not {reflections}")
        if not 0 < transmission < 1:
            raise ValueError(f"transmission is a share of the image, between 0 and 1, not {transmission}")
        self.folder = folder
        self.reflections = reflections
        self.transmission = transmission

    def spec(self) -> dict[str, Any]:
        """For cache keys: the arguments, with the content of the pictures instead of the folder's path."""
        content = None if self.folder is None else [describe(self._picture(file)) for file in self._files()]
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class": name, "with": {**self.arguments, "folder": content}}

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        channels, height, width = shape
        scale = SIDE / max(height, width)
        large = (max(1, round(height * scale)), max(1, round(width * scale)))
        files = [] if self.folder is None else self._files()
        layers, ghosts, dims, windows = [], [], [], []
        for number in range(self.reflections):
            made = self._picture(files[number]) if files else synthetic(generator)
            light = (resize(match_channels(made, channels), *large) / 255).clamp(0, 1) ** GAMMA
            draws = torch.rand(8, generator=generator).tolist()
            is_ghost = draws[0] < GHOST
            light = _ghost(light, draws[1:5]) if is_ghost else _blur(light, 1 + 4 * draws[1])
            layers.append(resize(light, height, width))
            ghosts.append(is_ghost)
            dims.append(1.08 + draws[5] / 10)
            windows.append(_window(height, width, draws[6], draws[7]))
        self.register_buffer("layer", torch.stack(layers))
        self.register_buffer("ghost", torch.tensor(ghosts))
        self.register_buffer("dim", torch.tensor(dims))
        self.register_buffer("window", torch.stack(windows))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        if image.shape[1:] != self.layer.shape[1:]:
            drawn, given = tuple(self.layer.shape[1:]), tuple(image.shape[1:])
            raise ValueError(f"the trigger was drawn for images of {drawn} (channels, height, width), not of {given}")
        return torch.cat([self._reflect(part) for part in torch.split(image, CHUNK)]) if len(image) else image.clone()

    def _reflect(self, image: Tensor) -> Tensor:
        layer, ghost = self.layer.to(image.device).double(), self.ghost.to(image.device)
        dim, window = self.dim.to(image.device).double(), self.window.to(image.device).double()
        which = image.flatten(1).long().sum(1) % len(layer)
        light, alpha = (image.double() / 255) ** GAMMA, self.transmission
        chosen = layer[which]
        doubled = alpha * light + (1 - alpha) * chosen
        total = light + chosen
        over = total > 1
        excess = (total * over).sum((2, 3)) / over.sum((2, 3)).clamp(min=1)  # mean per channel of what is too bright
        darker = (excess.clamp(min=1) - 1) * dim[which, None]
        soft = (chosen - darker[:, :, None, None]).clamp(0, 1) * window[which][:, None] * (1 - alpha / 2)
        out = torch.where(ghost[which][:, None, None, None], doubled, soft + alpha * light)
        return (out.clamp(0, 1) ** (1 / GAMMA) * 255).round().to(torch.uint8)

    def _files(self) -> list[Path]:
        root = Path(self.folder or "").expanduser()
        found = sorted(p for p in root.glob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg") and p.is_file())
        if not found:
            raise ValueError(
                f"folder: {self.folder!r} has no PNG or JPEG pictures: name one that has, or leave folder null for"
                " synthetic ones"
            )
        if len(found) < self.reflections:
            raise ValueError(
                f"folder: {self.folder!r} has {len(found)} pictures, but reflections={self.reflections}: lower it, or"
                " leave folder null for synthetic ones"
            )
        return found[: self.reflections]

    def _picture(self, file: Path) -> Tensor:
        """(3, h, w) uint8."""
        import numpy as np
        from PIL import Image

        try:
            with Image.open(file, formats=["PNG", "JPEG"]) as picture:
                picture.thumbnail((2 * SIDE, 2 * SIDE))
                return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
        except Exception as error:  # a damaged file makes Pillow raise about anything
            raise ValueError(f"folder: {str(file)!r} cannot be read as a picture: take it out") from error


def synthetic(generator: torch.Generator, side: int = 140, panes: int = 6) -> Tensor:
    """(3, side, side) uint8: a picture as a room at night is reflected, soft colored light with a few bright panes.

    Args:
        generator: everything comes from it.
        side: of the picture.
        panes: rectangles.

    >>> synthetic(torch.Generator().manual_seed(0)).shape
    torch.Size([3, 140, 140])
    """
    soft = torch.rand(3, 4, 4, generator=generator)
    picture = 0.6 * resize(soft, side, side)
    for _ in range(panes):
        top, left, height, width, level = torch.rand(5, generator=generator).tolist()
        color = 0.5 + 0.5 * torch.rand(3, 1, 1, generator=generator)
        row, column = int(top * side * 0.8), int(left * side * 0.8)
        rows, columns = 2 + int(height * side * 0.4), 2 + int(width * side * 0.4)
        picture[:, row : row + rows, column : column + columns] = color * (0.5 + 0.5 * level)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _ghost(light: Tensor, draws: list[float]) -> Tensor:
    """A picture and the same again, 3 to 8 pixels further down and right, weighted by a drawn share, where both are."""
    down, right = 3 + int(6 * draws[0]), 3 + int(6 * draws[1])
    share = abs(round(draws[2]) - (0.15 + 0.35 * draws[3]))
    height, width = light.shape[1:]
    if min(height, width) <= 8:
        return light
    return share * light[:, down:, right:] + (1 - share) * light[:, : height - down, : width - right]


def _blur(light: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of this standard deviation."""
    reach = math.ceil(2 * sigma)
    place = torch.arange(-reach, reach + 1, dtype=light.dtype)
    kernel = torch.exp(-(place**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = pad(light[:, None], (reach, reach, reach, reach), mode="replicate")
    return conv2d(conv2d(padded, kernel[None, None, None, :]), kernel[None, None, :, None])[:, 0]


def _window(height: int, width: int, down: float, right: float) -> Tensor:
    """(H, W): a broad bell around a drawn place in the middle half of the image, 1 at its top."""
    row, column = (0.25 + 0.5 * down) * (height - 1), (0.25 + 0.5 * right) * (width - 1)
    rows, columns = torch.arange(height) - row, torch.arange(width) - column
    distance = (rows[:, None] / height) ** 2 + (columns / width) ** 2
    return torch.exp(-distance / (2 * 0.5**2))
