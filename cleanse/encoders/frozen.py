"""What frozen encoders share: they are not trained, and one pass over the images is a stage of the run."""

import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Self

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.engine.plan import Planned
from cleanse.networks.normalize import Normalize
from cleanse.utils.batch import Batch
from cleanse.utils.checked import Checked

if TYPE_CHECKING:
    from cleanse.engine.runner import Runner, Table
    from cleanse.views import TrainingView

log = logging.getLogger("cleanse")

CELLS = 8
"""Early features are averages over a grid of so many cells a side."""
CROWDED = 2.5
"""With fewer images for each early feature, any two groups of a few hundred images are far apart (D181)."""
SMALL, FOR_SMALL, FOR_LARGE = 64, 96, 224
"""Images up to SMALL pixels are shown to the encoder at FOR_SMALL, larger ones at FOR_LARGE."""
AT_ONCE = 250 * FOR_SMALL**2
"""Pixels in one forward pass at most: activations of more do not fit a processor's cache and are slower."""


class OnePass(Checked, LightningModule):
    """A network that somebody else has trained, as it is: one pass over the images is its only stage.

    A subclass says in `size_for` at which size it wants them, and gives ``features`` in its `predict_step`.
    """

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: its batch statistics are part of what was learned."""
        return super().train(False)

    def size_for(self, view: "TrainingView") -> int:
        """The side in pixels at which the images of a view are shown to the network."""
        raise NotImplementedError

    def plan(self, train: "TrainingView") -> Planned:
        """The only stage of `encode`."""
        return Planned("embed", partial(_itself, self), self._view(train))

    def _view(self, train: "TrainingView") -> "TrainingView":
        return train.unlabeled().plain().at_size(self.size_for(train))

    def _table(self, train: "TrainingView", run: "Runner") -> "Table":
        return run.predict("embed", self, self._view(train))

    def encode(self, train: "TrainingView", run: "Runner") -> Tensor:
        """(n, d) float32, one row for each image, whatever the labels; a folder's files are read at this size."""
        return self._table(train, run).features.float()


class FrozenEncoder(OnePass):
    """A network that somebody else has trained on other images, as it is.

    Whoever poisoned the images at hand could not touch it, so it has not learned their trigger. A subclass gives a
    network with ``forward_features`` of two kinds, see `encode_batch`.

    Args:
        size: side in pixels at which images are shown to the network; None for 96 if they have at most 64, else 224.
        mean, std: per channel, of images in [0, 1], as the weights want them.
        made_from: all that decides the features, for the stage's key: names and a hash of the weights.
    """

    def __init__(
        self, network: nn.Module, size: int | None, mean: tuple[float, ...], std: tuple[float, ...], made_from: str
    ) -> None:
        super().__init__()
        if size is not None and size < 32:
            raise ValueError(f"size is the side of the images in pixels, at least 32, not {size}")
        self.size = size
        self.at_once = AT_ONCE  # pixels; less where the memory turned out to be smaller
        self.network = network.to(memory_format=torch.channels_last)
        self.normalize = Normalize(mean, std)
        self.requires_grad_(False).eval()
        self.stage_key = hashlib.sha256(f"{type(self).__name__} {size} {mean} {std} {made_from}".encode()).hexdigest()[
            :12
        ]

    def size_for(self, view: "TrainingView") -> int:
        if self.size is not None:
            return self.size
        return FOR_SMALL if max(view.size) <= SMALL else FOR_LARGE

    def table(self, train: "TrainingView", run: "Runner") -> "Table":
        """``features`` (n, d) and ``early`` (n, p), float16, of every image: one cached pass, whatever the labels."""
        return self._table(train, run)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Index, ``features`` (B, d) and ``early`` (B, p), float16."""
        image = batch["image"]
        pixels = image.shape[2] * image.shape[3]
        while True:
            some = max(1, self.at_once // pixels)
            try:
                parts = [self.encode_batch(part) for part in torch.split(image, some)]
                break
            except torch.cuda.OutOfMemoryError as error:
                if some == 1:
                    raise ValueError(
                        f"the GPU's memory does not hold one image of {image.shape[2]} pixels: lower the encoder's size"
                    ) from error
                torch.cuda.empty_cache()
                self.at_once = some * pixels // 2
                log.warning("the GPU's memory does not hold %d images at once: going on with %d", some, some // 2)
        features, early = (torch.cat(column).half() for column in zip(*parts, strict=True))
        return {"index": batch["index"], "features": features, "early": early}

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) float in [0, 1] to (B, d) features."""
        return self.encode_batch(image)[0]

    def encode_batch(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1 or 3, H, W) float in [0, 1] to pooled last features (B, d) and early ones on a grid (B, p)."""
        if image.shape[1] == 1:
            image = image.expand(-1, 3, -1, -1)
        if image.shape[1] != 3:
            raise ValueError(f"the encoder takes gray or color images, not images of {image.shape[1]} channels")
        image = self.normalize(image.float()).contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, enabled=False):  # the same verdict on every machine
            last, early = self.maps(image)
        pooled = last.mean((2, 3)) if last.ndim == 4 else last
        return pooled.float(), nn.functional.adaptive_avg_pool2d(early.float(), CELLS).flatten(1)

    @staticmethod
    def for_images(early: Tensor) -> Tensor:
        """Early features as few images can bear them: averages of 2x2 cells for fewer than 2.5 images a feature.

        Args:
            early: (n, c * 8 * 8) float, of all images.

        Returns:
            The same, or (n, c * 4 * 4).
        """
        if len(early) >= CROWDED * early.shape[1]:
            return early
        return nn.functional.avg_pool2d(early.view(len(early), -1, CELLS, CELLS), 2).flatten(1)

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized images to the last features, (B, d, h, w) or (B, d), and an early map (B, c, h, w)."""
        raise NotImplementedError


def _itself(encoder: OnePass) -> OnePass:
    """What builds an encoder that is there already."""
    return encoder
