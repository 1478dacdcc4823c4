"""One round of Inverse Self-Paced Learning: find a compatible component of a training set, and fit its voter.

Jin, Sun, Rinard 2021, "Provable Guarantees against Data Poisoning Using Self-Expansion and Compatibility"
(arXiv 2105.03692 v1), Algorithm 2 and appendix B.1.
"""

from typing import Any, Literal

import torch
import torch.distributed as dist
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
from cleanse.modules.base import ImageModule, NetworkFactory
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch

ROWS_AT_A_TIME = 1280
"""Images whose losses are measured in one step, as in the released code."""


def round_epochs(fraction: float, per_iteration: tuple[int, int], voter_epochs: int | None) -> tuple[list[int], int]:
    """The epochs after which the iterations of a round end, and how many epochs a round has with its voter.

    A round that takes all that is left has no iterations (D117).

    Args:
        fraction: p, of the active rows that the component is to hold.
        per_iteration: epochs of the first iteration and of each of the others.
        voter_epochs: of the voter; None for as many as ``per_iteration[1]`` gives all iterations (D119).

    >>> round_epochs(0.125, (2, 2), None)
    ([2, 4, 6, 8, 10], 20)
    """
    iterations = num_iterations(min(fraction, 1.0))
    ends = [] if fraction >= 0.999 else [per_iteration[0] + per_iteration[1] * t for t in range(iterations)]
    searching = ends[-1] if ends else 0
    return ends, searching + (per_iteration[1] * iterations if voter_epochs is None else voter_epochs)


def round_passes(
    fraction: float,
    active: int,
    per_iteration: tuple[int, int],
    voter_epochs: int | None,
    profile: Profile = "v1",
    expansion: float = 0.25,
) -> float:
    """About how many images a round trains on in all its epochs, for the plan of a run.

    An iteration trains on a part of what the one before has left, and then measures all active rows, which takes a
    third of a training step each.

    Args:
        fraction: p.
        active: rows that are left.
        per_iteration: see `round_epochs`.
        voter_epochs: see `round_epochs`.
        profile: ``v1`` or ``iclr23``.
        expansion: alpha.

    >>> round_passes(1.0, 100, (2, 2), None)
    600.0
    """
    ends, epochs = round_epochs(fraction, per_iteration, voter_epochs)
    seen, left, begun = 0.0, float(active), 0
    for t, end in enumerate(ends):
        seen += (end - begun) * expansion * left + active / 3
        left, begun = active * trimmed_fraction(t, fraction, profile), end
    return seen + (epochs - begun) * fraction * active


class ISPLRound(ImageModule):
    """Algorithm 2 of Jin, Sun, Rinard 2021, all its iterations and then the component's voter, in one fit.

    What each line of the algorithm is here, t counted from 0::

        1: S_0 <- S                                 the constructor: every active row is in ``component``
        2: L <- 0                                   the constructor: ``loss``
        3: for t = 1 to N do                        `round_epochs`: an iteration is some epochs
        4:   S' <- Sample(S_(t-1), alpha)           `training_rows`
        5:   theta_t <- A(S', theta_(t-1))          `training_step`
        6:   L <- eta L + (1 - eta) R(theta_t; S)   `update_losses`
        7:   S_t <- Trim(L, beta_t)                 `update_component`

    The network then begins anew (`begin_voter`) and is trained on the component alone: it is a weak learner of
    Algorithm 1, whose votes `predict_step` gives. Use `round_epochs` as ``max_epochs`` and
    ``reload_dataloaders_every_n_epochs=1``, as the rows differ from epoch to epoch; the data is an `ImageView`.

    What the paper leaves open: D110 to D119 and D122 in docs/decisions.md.

    Args:
        network: builds the network from (in_channels, num_classes).
        images: what the images are like.
        active: (N,) bool, S: the rows that are in no component yet.
        fraction: p, of the active rows that the component is to hold.
        first: whether this is the first round of its pass.
        profile: ``v1`` (the paper) or ``iclr23`` (the released code).
        expansion: alpha, the part of the subset that an iteration trains on.
        momentum_loss: eta, of the smoothed losses.
        epochs_per_iteration: epochs of the first iteration and of each of the others.
        voter_epochs: epochs of the voter; None for as many as the iterations have (D119).
        eval_view: losses and votes on images as augmented in training (``train_aug``) or ``plain`` (D122).
        lr: of SGD, constant.
        momentum: of SGD.
        weight_decay: of SGD.

    Buffers after the fit:
        active (N,) bool: as given.
        component (N,) bool: the rows found.
        loss (N,) float64: L, zero where a row is not active.
    """

    component: Tensor
    loss: Tensor
    active: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec,
        active: Tensor,
        fraction: float,
        first: bool = True,
        profile: Profile = "v1",
        expansion: float = 0.25,
        momentum_loss: float = 0.9,
        epochs_per_iteration: tuple[int, int] = (2, 2),
        voter_epochs: int | None = None,
        eval_view: Literal["train_aug", "plain"] = "train_aug",
        lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ) -> None:
        super().__init__(network, images)
        self.fraction = fraction
        self.first = first
        self.profile = profile
        self.expansion = expansion
        self.momentum_loss = momentum_loss
        self.eval_view = eval_view
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.ends = round_epochs(fraction, epochs_per_iteration, voter_epochs)[0]
        self.searching = self.ends[-1] if self.ends else 0
        self.make_layers()
        self.register_buffer("active", active)
        self.register_buffer("component", active.clone())  # line 1
        self.register_buffer("loss", torch.zeros(len(active), dtype=torch.float64))  # line 2

    def build(self, images: ImageSpec) -> None:
        self.network = self.make_network(images.channels, images.num_classes).to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.trainer.strategy.root_device.type == "mps":  # has no float64
            self.loss = self.loss.float()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float images in [0, 1] to (B, classes) logits."""
        return self.network(self.normalize(image))  # type: ignore[no-any-return]

    # --- training ---
    def training_rows(self, epoch: int) -> Tensor:
        """(n,) int64, positions to train on: S' of line 4, drawn once for each iteration; for the voter, S_N."""
        rows = self.component.cpu().nonzero().flatten()
        if epoch >= self.searching:
            return rows
        t = next(i for i, end in enumerate(self.ends) if epoch < end)
        share = self.expansion
        if t == 0 and self.profile == "iclr23":
            share = 0.5 if self.first else 1.0  # D111
        generator = torch.Generator().manual_seed(self._data.seed * 64 + t)
        chosen = rows[torch.rand(len(rows), generator=generator) < share]
        return chosen if len(chosen) else rows

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == self.searching > 0:
            self.begin_voter()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Line 5, with SGD as A; the loss of a batch."""
        logits = self(batch["image"])
        loss = cross_entropy(logits, batch["label"])
        self.log("train/loss", loss.detach(), on_epoch=True, on_step=False, batch_size=len(logits), sync_dist=True)
        return loss

    def on_train_epoch_end(self) -> None:
        if self.current_epoch + 1 in self.ends:
            self.update_losses()
            self.update_component(self.ends.index(self.current_epoch + 1))

    def update_losses(self) -> None:
        """Line 6: smooth the losses of all active rows, whether they were trained on or not (D112, D113)."""
        measured = self.measure(self.active.cpu().nonzero().flatten())[self.active]
        self.loss[self.active] = smooth(self.loss[self.active], fill_nan(measured), self.momentum_loss)

    def update_component(self, t: int) -> None:
        """Line 7: keep the active rows of lowest loss, and some of every class (D114, D116)."""
        beta = trimmed_fraction(t, self.fraction, self.profile)
        floor = class_fraction(t, self.fraction, self.profile)
        label = self._data.label.to(self.device)
        self.component.zero_()
        self.component[self.active] = trim(self.loss[self.active], label[self.active], beta, floor)

    def measure(self, rows: Tensor) -> Tensor:
        """(N,) loss of ``rows`` (n,) in evaluation mode, each process its share, gathered; zero elsewhere."""
        loss = torch.zeros_like(self.loss)
        mine = rows[self.trainer.global_rank :: self.trainer.world_size]
        self.eval()
        with torch.no_grad():
            for part in mine.split(ROWS_AT_A_TIME):  # type: ignore[no-untyped-call]
                batch = self._data.batch(part.to(self.device), augmented=self.eval_view == "train_aug")
                with self.trainer.precision_plugin.forward_context():
                    logits = self(batch["image"]).float()
                loss[part] = cross_entropy(logits, batch["label"].clamp_min(0), reduction="none").to(loss.dtype)
        self.train()
        if self.trainer.world_size > 1:
            dist.all_reduce(loss)
        return loss

    def begin_voter(self) -> None:
        """Make the network the voter's: fresh weights, the same in every process, an optimizer without past (D119)."""
        assert self.images is not None  # the constructor asks for it
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._data.seed + 1)
            fresh = self.make_network(self.images.channels, self.images.num_classes)
        self.initialize(fresh)
        self.network.load_state_dict(fresh.state_dict())
        self.optimizers().optimizer.state.clear()  # type: ignore[union-attr]

    def configure_optimizers(self) -> SGD:
        return SGD(self.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)

    # --- votes ---
    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Index and the voter's class."""
        image = batch["image"]
        if self.eval_view == "train_aug":
            for transform in self._data.augment:
                image = transform(image)
        return {"index": batch["index"], "vote": self(image).argmax(1)}

    @property
    def _data(self) -> Any:
        return self.trainer.datamodule  # type: ignore[attr-defined]
