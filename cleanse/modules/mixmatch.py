"""MixMatch on a split of the training set that is made anew before every epoch; shared by DBD and ASD."""

from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import Adam

from cleanse.functional import lowest, mix, mixmatch_loss, pool_batches, ramp, sharpen, symmetric_cross_entropy
from cleanse.modules.base import ImageModule, NetworkFactory
from cleanse.utils.check import at_least_one
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch

ROWS_AT_A_TIME = 1280
"""Images whose losses are measured in one step."""


class MixMatch(ImageModule):
    """Keep the labels of the images of lowest loss, forget those of the others, and learn from both.

    The semi-supervised training of Huang et al. 2022 (arXiv 2202.03423, section 4 and its published code): before every
    epoch the share of all images with the lowest symmetric cross-entropy keeps its labels, whatever its classes. An
    epoch is ``iterations`` steps of MixMatch (Berthelot et al. 2019, arXiv 1905.02249): the label of an image without
    one is guessed from several augmented views and sharpened, all images are mixed with others, and the loss on the
    guesses gains weight from epoch to epoch. A subclass overrides `split` to divide the images otherwise.

    The data is an `ImageView` whose batch size counts the images with a label; there are as many without one in a
    batch. Images whose label is not given never have one. Needs ``reload_dataloaders_every_n_epochs=1``, as the split
    differs from epoch to epoch. Images are augmented by the view. With several processes, partners for mixing are found
    within a process. What papers and code leave open: D260 to D266 in docs/decisions.md.

    Args:
        network: builds the network from (in_channels, num_classes).
        images: what the images are like.
        num_rows: N, of the view.
        start: a fitted module whose network's weights are taken over; None for the network's own start.
        fraction: of the images, which keep their label.
        iterations: steps of an epoch.
        ramp_epochs: after which the unlabeled weight is reached.
        first_epoch: where the count of epochs for the ramp begins.
        views: augmented views from which a label is guessed, K.
        temperature: of the sharpening, T.
        alpha: mixing shares are drawn from Beta(alpha, alpha).
        unlabeled_weight: of the squared error on the guesses.
        lr: of Adam, constant.
        eval_view: losses are measured on images as augmented in training (``train_aug``) or ``plain``.

    Buffers after the fit:
        labeled (N,) bool: the split of the last epoch, the rows that kept their label.
        score (N,) float64: by which it was made, higher is more suspicious; infinite for rows without a given label.

    Raises:
        ValueError: an argument out of range; while it runs, no label at all, or a network that diverged.
    """

    labeled: Tensor
    score: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec,
        num_rows: int,
        start: LightningModule | None = None,
        fraction: float = 0.5,
        iterations: int = 1024,
        ramp_epochs: int = 190,
        first_epoch: int = 0,
        views: int = 2,
        temperature: float = 0.5,
        alpha: float = 0.75,
        unlabeled_weight: float = 15.0,
        lr: float = 0.002,
        eval_view: Literal["train_aug", "plain"] = "train_aug",
    ) -> None:
        super().__init__(network, images)
        at_least_one(num_rows=num_rows, iterations=iterations, ramp_epochs=ramp_epochs, views=views)
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction is a share of the images, in (0, 1], not {fraction}")
        if unlabeled_weight < 0:
            raise ValueError(f"unlabeled_weight is at least 0, not {unlabeled_weight}")
        for name, value in (("alpha", alpha), ("lr", lr)):
            if not value > 0:
                raise ValueError(f"{name} is above 0, not {value}")
        self.fraction = fraction
        self.iterations = iterations
        self.ramp_epochs = ramp_epochs
        self.first_epoch = first_epoch
        self.views = views
        self.temperature = temperature
        self.alpha = alpha
        self.unlabeled_weight = unlabeled_weight
        self.lr = lr
        self.eval_view = eval_view
        self.make_layers()
        if start is not None:
            self.network.load_state_dict(start.network.state_dict())  # type: ignore[union-attr]
        self.register_buffer("labeled", torch.zeros(num_rows, dtype=torch.bool))
        self.register_buffer("score", torch.zeros(num_rows, dtype=torch.float64))

    def build(self, images: ImageSpec) -> None:
        self.network = self.make_network(images.channels, images.num_classes).to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.trainer.strategy.root_device.type == "mps":  # has no float64
            self.score = self.score.float()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float images in [0, 1] to (B, classes) logits."""
        return self.network(self.normalize(image))  # type: ignore[no-any-return]

    # --- the split ---
    def on_fit_start(self) -> None:
        if not self.labeled.any():  # a fit that goes on has the split of its epoch
            self.divide(0)

    def on_train_epoch_end(self) -> None:
        if self.current_epoch + 1 < (self.trainer.max_epochs or 0):
            self.divide(self.current_epoch + 1)

    def divide(self, epoch: int) -> None:
        """Measure all images, and say which ones keep their label in ``epoch``."""
        given = self.given
        if not given.any():
            raise ValueError("no training image has a label, so that there is nothing to learn from: raise labeled")
        loss = self.losses(self.network)
        if not loss[given].isfinite().all():
            raise ValueError(
                f"the network diverged before epoch {epoch}, its losses are not finite: lower lr={self.lr}"
            )
        score, labeled = self.split(epoch, loss)
        self.score.copy_(score.masked_fill(~given, torch.inf))
        self.labeled.copy_(labeled & given)
        if not self.labeled.any():
            raise ValueError(f"{self.fraction:g} of {int(given.sum())} images is none: raise fraction")

    def split(self, epoch: int, loss: Tensor) -> tuple[Tensor, Tensor]:
        """A score for every row, higher for more suspicious ones, and which ones keep their label; (N,) both.

        Args:
            epoch: that is about to begin.
            loss: (N,) float64, infinite for rows without a given label.
        """
        return loss, lowest(loss, int(self.fraction * int(self.given.sum())))

    @property
    def given(self) -> Tensor:
        """(N,) bool: rows with a given label."""
        given: Tensor = self._data.label.to(self.device) >= 0
        return given

    def losses(self, network: nn.Module) -> Tensor:
        """(N,) symmetric cross-entropy in evaluation mode, each process its share, gathered.

        Infinite for rows without a given label.
        """
        rows = self.given.cpu().nonzero().flatten()
        loss = torch.zeros_like(self.score)
        network.eval()
        with torch.no_grad():
            for part in rows[self.trainer.global_rank :: self.trainer.world_size].split(ROWS_AT_A_TIME):  # type: ignore[no-untyped-call]
                batch = self._data.batch(part.to(self.device), augmented=self.eval_view == "train_aug")
                with self.trainer.precision_plugin.forward_context():
                    logits = network(self.normalize(batch["image"]))
                loss[part] = symmetric_cross_entropy(logits, batch["label"]).to(loss.dtype)
        network.train()
        if self.trainer.world_size > 1:
            dist.all_reduce(loss)
        return loss.masked_fill(~self.given, torch.inf)

    # --- MixMatch ---
    def training_batches(self, epoch: int) -> Tensor:
        """(iterations, B, 2) int64: an image with a label beside one without; (iterations, B, 1) if all have one."""
        seed = (self._data.seed * 1_000_003 + epoch) % 2**62
        labeled, size = self.labeled.cpu(), self._data.batch_size
        pools = [labeled.nonzero().flatten(), (~labeled).nonzero().flatten()]
        drawn = [
            pool_batches(pool, size, self.iterations, torch.Generator().manual_seed(2 * seed + i))
            for i, pool in enumerate(pools)
            if len(pool)
        ]
        return torch.stack(drawn, 2)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        known = self.labeled[batch["index"]]
        image, index = batch["image"], batch["index"]
        num_classes = self.images.num_classes  # type: ignore[union-attr]
        target = one_hot(batch["label"][known], num_classes).float()
        parts, targets = [image[known]], [target]
        if not known.all():
            more = [self._data.batch(index[~known], augmented=True)["image"] for _ in range(self.views - 1)]
            parts += [image[~known], *more]
            targets += [self.guess(parts[1:])] * self.views
        everything, wanted = torch.cat(parts), torch.cat(targets)
        # one share for the whole batch, and the same in every process
        draw = np.random.default_rng([self._data.seed, self.current_epoch, batch_idx]).beta(self.alpha, self.alpha)
        share = max(draw, 1 - draw)
        order = torch.randperm(len(everything), device=everything.device)
        logits = self(mix(everything, order, share)).float()
        progress = (self.first_epoch + self.current_epoch + batch_idx / self.iterations) / self.ramp_epochs
        weight = self.unlabeled_weight * ramp(progress)
        loss = mixmatch_loss(logits, mix(wanted, order, share), int(known.sum()), weight)
        self.log("train/loss", loss.detach(), on_epoch=True, on_step=False, batch_size=len(image), sync_dist=True)
        return loss

    def guess(self, views: list[Tensor]) -> Tensor:
        """(B, classes): the sharpened mean of what the network says of K views, each (B, C, H, W); no gradient."""
        with torch.no_grad():
            probability = self(torch.cat(views)).float().softmax(1)
            return sharpen(torch.stack(probability.chunk(len(views))).mean(0), self.temperature)

    def configure_optimizers(self) -> Adam:
        return Adam(self.parameters(), self.lr)

    @property
    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]
