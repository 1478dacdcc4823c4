"""One round of Inverse Self-Paced Learning: find a compatible component of a training set, and fit its voter.

Jin, Sun and Rinard, "Incompatibility Clustering as a Defense Against Backdoor Poisoning Attacks" (arXiv 2105.03692 v1),
Algorithm 2 and appendix B.1.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from cleanse.functional import (
    Profile,
    class_fraction,
    fill_nan,
    num_iterations,
    smooth,
    trim,
    trimmed_fraction,
)
from cleanse.modules.base import NetworkFactory
from cleanse.networks.normalize import Normalize
from cleanse.views import Batch


def round_epochs(fraction: float, per_iteration: tuple[int, int], voter_epochs: int | None) -> tuple[list[int], int]:
    """The epochs after which the iterations of a round end, and how many epochs a round has with its voter.

    A round that takes all that is left has no iterations (SPEC A.3.15).

    >>> round_epochs(0.125, (2, 2), None)
    ([2, 4, 6, 8, 10], 20)
    """
    iterations = num_iterations(min(fraction, 1.0))
    ends = [] if fraction >= 0.999 else [per_iteration[0] + per_iteration[1] * t for t in range(iterations)]
    return ends, (ends[-1] if ends else 0) + (voter_epochs or per_iteration[1] * iterations)


class ISPLRound(LightningModule):
    """All iterations of one round and the voter that is fitted to what they found, in one fit.

    The first epochs belong to the iterations: train on a random part of the current subset, measure the loss of every
    active row, smooth it, trim. The network then starts anew and is trained on the component; it is the voter. Use
    `round_epochs` as ``max_epochs`` and ``reload_dataloaders_every_n_epochs=1``: the rows differ from epoch to epoch.

    Departures from the paper are SPEC A.3's resolutions: the expansion draws without replacement, the losses of all
    active rows are smoothed and trimmed (not those of the last subset), the voter is a fresh network.

    Args:
        network: builds the network from (in_channels, num_classes).
        channels, num_classes, mean, std: of the data.
        active: (N,) bool, the rows that are not in a component yet.
        fraction: p, of the active rows that the component is to hold.
        first: whether this is the first round of its pass.
        profile: ``v1`` (the paper) or ``iclr23`` (the released code).
        expansion: alpha, the part of the subset that an iteration trains on.
        momentum_loss: eta, of the smoothed losses.
        epochs_per_iteration: epochs of the first iteration and of the others.
        voter_epochs: epochs of the voter; None for as many as the iterations had (SPEC A.3.11).
        eval_view: losses and votes on images as augmented in training (``train_aug``, as the released code does) or
            ``plain``.
        lr, momentum, weight_decay: of SGD, constant.

    Buffers after the fit:
        component: (N,) bool, the rows found.
        alternative: (N,) int64, the prediction of the iterations' own network, -1 before it exists: what the vote
            would be if that network were reused (SPEC A.3.11).
    """

    component: Tensor
    alternative: Tensor
    loss: Tensor
    active: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        channels: int,
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        active: Tensor,
        fraction: float,
        first: bool = True,
        profile: Profile = "v1",
        expansion: float = 0.25,
        momentum_loss: float = 0.9,
        epochs_per_iteration: tuple[int, int] = (2, 2),
        voter_epochs: int | None = None,
        eval_view: str = "train_aug",
        lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.make = partial(network, channels, num_classes)
        self.network = self.make().to(memory_format=torch.channels_last)
        self.fraction, self.first, self.profile = fraction, first, profile
        self.expansion, self.momentum_loss = expansion, momentum_loss
        self.eval_view, self.lr, self.momentum, self.weight_decay = eval_view, lr, momentum, weight_decay
        self.ends, self.epochs = round_epochs(fraction, epochs_per_iteration, voter_epochs)
        self.searching = self.ends[-1] if self.ends else 0
        self.register_buffer("active", active)
        self.register_buffer("component", active.clone())
        self.register_buffer("loss", torch.zeros(len(active), dtype=torch.float64))
        self.register_buffer("alternative", torch.full((len(active),), -1))

    def setup(self, stage: str) -> None:
        if self.trainer.strategy.root_device.type == "mps":  # has no float64
            self.loss = self.loss.float()

    def forward(self, image: Tensor) -> Tensor:
        return self.network(self.normalize(image))  # type: ignore[no-any-return]

    def training_rows(self, epoch: int) -> Tensor:
        """Positions to train on: a random part of the subset, drawn anew in each iteration; then the component."""
        if epoch >= self.searching:
            return self.component.cpu().nonzero().flatten()
        t = next(i for i, end in enumerate(self.ends) if epoch < end)
        share = self.expansion
        if t == 0 and self.profile == "iclr23":
            share = 0.5 if self.first else 1.0
        generator = torch.Generator().manual_seed(self._view.seed * 64 + t)
        rows = self.component.cpu().nonzero().flatten()
        chosen = rows[torch.rand(len(rows), generator=generator) < share]
        return chosen if len(chosen) else rows

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == self.searching and self.searching:
            self._begin_anew()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch["image"])
        loss = cross_entropy(logits, batch["label"])
        self.log("train/loss", loss.detach(), on_epoch=True, on_step=False, batch_size=len(logits), sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        if self.current_epoch + 1 in self.ends:
            self._trim(self.ends.index(self.current_epoch + 1))

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Index and the voter's class."""
        return {"index": batch["index"], "vote": self(self._as_evaluated(batch["image"])).argmax(1)}

    def configure_optimizers(self) -> SGD:
        return SGD(self.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)

    @property
    def _view(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def _as_evaluated(self, image: Tensor) -> Tensor:
        if self.eval_view == "train_aug":
            for transform in self._view.augment:
                image = transform(image)
        return image

    def _begin_anew(self) -> None:
        """Make the network the voter's: fresh weights, the same in every process, an optimizer without past."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._view.seed + 1)
            fresh = self.make()
        self.network.load_state_dict(fresh.state_dict())
        self.optimizers().optimizer.state.clear()  # type: ignore[union-attr]

    def _trim(self, t: int) -> None:
        """Measure all active rows, each process its share; smooth; keep the lowest losses (SPEC A.4)."""
        last = t == len(self.ends) - 1
        rows = torch.arange(len(self.active)) if last else self.active.cpu().nonzero().flatten()
        loss, prediction = self._measure(rows)
        active = self.active
        self.loss[active] = smooth(self.loss[active], fill_nan(loss[active]), self.momentum_loss)
        fraction = trimmed_fraction(t, self.fraction, self.profile)
        floor = class_fraction(t, self.fraction, self.profile)
        label = self._view.label.to(self.device)
        self.component.zero_()
        self.component[active] = trim(self.loss[active], label[active], fraction, floor)
        if last:
            self.alternative.copy_(prediction)

    @torch.no_grad()
    def _measure(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (N,) float64 and predicted class (N,) of ``rows``, gathered over processes; zeros elsewhere."""
        loss = torch.zeros(len(self.active), dtype=self.loss.dtype, device=self.device)
        prediction = torch.zeros(len(self.active), dtype=torch.int64, device=self.device)
        self.eval()
        for part in rows[self.trainer.global_rank :: self.trainer.world_size].split(1280):  # type: ignore[no-untyped-call]
            batch = self._view.batch(part.to(self.device), augmented=self.eval_view == "train_aug")
            with self.trainer.precision_plugin.forward_context():
                logits = self(batch["image"]).float()
            loss[part] = cross_entropy(logits, batch["label"].clamp_min(0), reduction="none").to(loss.dtype)
            prediction[part] = logits.argmax(1)
        self.train()
        if self.trainer.world_size > 1:
            dist.all_reduce(loss)
            dist.all_reduce(prediction)
        return loss, prediction
