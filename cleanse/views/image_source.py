"""The images of a data set, at rest: one tensor that all views share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from cleanse.views.pixel_hashes import pixel_hashes


@dataclass(frozen=True)
class ImageSource:
    """The images of a data set, at rest: one uint8 tensor that all views share.

    It is copied to a device once, or, if it is too large for that, stays in its file and is read batch by batch.

    Attributes:
        image: (N, C, H, W) uint8.
        id: a file path or an index for each image.
        classes: class names.
        mean, std: per channel, of images in [0, 1].
        spec: what the images were made from, as plain values (no truth in it that is not in a hash).
        contrastive_augment: makes two views of an image of this kind for contrastive learning; no part of ``spec``,
            since only the modules that use it are decided by it.
        stream: the images are in a file (`cleanse.data.mapped`); no part of ``spec`` either.
        reader: makes the uint8 images of rows when they are asked for; ``image`` then has no row, only the shape.
        at_size: makes the source of the same images at another size, from their files; None to scale ``image``.
    """

    image: Tensor
    id: tuple[str, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    spec: Any
    contrastive_augment: nn.Module | None = None
    stream: bool = False
    reader: Callable[[Tensor], Tensor] | None = None
    at_size: Callable[[int], "ImageSource"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_copies", {})

    def read(self, rows: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images of ``rows`` (B,), on the device where ``rows`` is."""
        if self.reader is not None:
            return self.reader(rows.cpu()).to(rows.device)
        if self.stream and rows.device.type != "cpu":
            return self.image[rows.cpu()].pin_memory().to(rows.device, non_blocking=True)
        return self.on(rows.device)[rows]

    def on(self, device: torch.device) -> Tensor:
        """The images on ``device``; copied there at the first call and kept."""
        if device.type == "cpu":
            return self.image
        copies: dict[torch.device, Tensor] = self._copies  # type: ignore[attr-defined]
        if device not in copies:
            copies[device] = self.image.to(device)
        return copies[device]

    @property
    def hashes(self) -> list[bytes]:
        """A hash of each image's pixels, computed once."""
        copies: dict[str, list[bytes]] = self._copies  # type: ignore[attr-defined]
        if "hashes" not in copies:
            chunks = torch.split(torch.arange(len(self.id)), 512)
            copies["hashes"] = (
                pixel_hashes(self.image)
                if self.reader is None
                else [one for rows in chunks for one in pixel_hashes(self.reader(rows))]
            )
        return copies["hashes"]

    def resized(self, size: int) -> "ImageSource":
        """The same images at size x size pixels: from their files where there are any, else scaled when asked for."""
        if tuple(self.image.shape[2:]) == (size, size):
            return self
        if self.at_size is not None:
            return self.at_size(size)

        def scaled(rows: Tensor) -> Tensor:
            image = nn.functional.interpolate(
                self.read(rows).float(), (size, size), mode="bilinear", antialias=True, align_corners=False
            )
            return image.round().clamp(0, 255).to(torch.uint8)

        empty = torch.empty(0, self.image.shape[1], size, size, dtype=torch.uint8)
        return replace(self, image=empty, spec={"scaled": self.spec, "size": size}, stream=False, reader=scaled)
