"""The images of a data set, at rest: one tensor that all views share."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


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
    """

    image: Tensor
    id: tuple[str, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    spec: Any
    contrastive_augment: nn.Module | None = None
    stream: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_copies", {})

    def read(self, rows: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images of ``rows`` (B,), on the device where ``rows`` is."""
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
