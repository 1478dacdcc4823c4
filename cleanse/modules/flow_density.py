"""Every class's density in an embedding, by a normalizing flow for each, all of them trained at once."""

from itertools import groupby

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from cleanse.networks.flow import ClassFlows
from cleanse.utils.checked import Checked


class FlowDensity(Checked, LightningModule):
    """Fit p_y, the density of class y's embeddings, for every class (Sabolic et al. 2024, arXiv 2409.01185).

    Trained on a `cleanse.views.TableView`: 50 epochs of 16 rows of every class a batch (D91; both belong
    to the trainer and the table). The result is that of one flow after the other: a class that is through its epoch has
    no gradient until the next one, and Adam then moves neither its parameters nor its moments. A class without rows has
    density 0 everywhere, a log-density of -inf. A single image, or a class of identical ones, has no density that means
    anything: it is finite, and far too low elsewhere to flag the class.

    Coordinates are standardized over the whole training set with std + 1e-6; constant ones (std below 1e-6) are left
    out (D97), so that the flows have d' <= d features. Computed in float32 where the trainer's precision is
    mixed: the paper's thresholds are tenths of a nat.

    Args:
        num_classes: C; None, as for the next two, for what the table says that it is fitted on.
        mean, std: (d,) of every coordinate over the training set; kept in the state dict.
        steps: of each flow, ActNorm and coupling.
        lr: of Adam, constant.
        betas: of Adam.

    Columns of the table:
        log_density (n, C): log p_y(z) / d', nats per dimension.

    Raises:
        ValueError: only some of the first three are given, or fewer than two coordinates vary.
    """

    kept: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        steps: int = 2,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        super().__init__()
        self.steps, self.lr, self.betas = steps, lr, betas
        self.built = False
        if num_classes is not None and mean is not None and std is not None:
            self.build(num_classes, mean, std)
        elif num_classes is not None or mean is not None or std is not None:
            raise ValueError("num_classes, mean and std belong together: give all three of them or none")

    def build(self, num_classes: int, mean: Tensor, std: Tensor) -> None:
        """Make the flows."""
        if mean.ndim != 1 or mean.shape != std.shape:
            raise ValueError(f"mean and std are (d,) both, not {tuple(mean.shape)} and {tuple(std.shape)}")
        kept = (std >= 1e-6).nonzero().flatten()
        if len(kept) < 2:
            raise ValueError(f"only {len(kept)} of {len(std)} features vary: a density needs two or more")
        self.width = len(std)
        self.register_buffer("kept", kept)
        self.register_buffer("mean", mean[kept].clone())
        self.register_buffer("std", std[kept] + 1e-6)
        self.flows = ClassFlows(num_classes, len(kept), self.steps)
        self.built = True

    def setup(self, stage: str) -> None:
        if not self.built:
            table = self.trainer.datamodule  # type: ignore[attr-defined]
            self.build(table.num_classes, table.mean, table.std)

    def forward(self, features: Tensor) -> Tensor:
        """Log-densities of features (n, d) under every class: (n, C) nats per dimension."""
        return self.flows.log_prob_all(self.standardize(features)).masked_fill(~self.flows.initialized, -torch.inf)

    def standardize(self, features: Tensor) -> Tensor:
        """(..., d) to (..., d'): mean 0 and deviation 1 over the training set.

        Raises:
            ValueError: another number of features.
        """
        if features.shape[-1] != self.width:
            raise ValueError(f"the flows were made for {self.width} features, these rows have {features.shape[-1]}")
        if len(self.kept) < self.width:
            features = features[..., self.kept]
        return (features.to(self.mean.dtype) - self.mean) / self.std

    def on_train_epoch_start(self) -> None:
        self._nll, self._classes = torch.zeros((), device=self.device), 0

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        x, label = self.standardize(batch["features"]), batch["label"][:, 0]  # a class for each line
        if len(label) == self._present:  # the first step is one of these: ActNorm begins in it
            density = self.flows(x, None if len(label) == self.flows.classes else label)
        else:
            density = functional_call(self.flows, self._only(label.tolist()), (x,))
        loss: Tensor = -density.mean(1).sum()  # a mean for each class: what the flow of one class alone would see
        self._nll += loss.detach()
        self._classes += len(label)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train/nll", self._nll / self._classes)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Index, and the log-density under every class."""
        return {"index": batch["index"], "log_density": self(batch["features"])}

    def configure_optimizers(self) -> Adam:
        """Adam on parts of the parameters: one for each run of classes that always make their steps together.

        The parts share the memory of the parameters; those without a gradient are passed over by Adam, which counts the
        steps of each.
        """
        batches: list[int] = self.trainer.datamodule.batches  # type: ignore[attr-defined]
        runs = [[c for c, _ in run] for steps, run in groupby(enumerate(batches), key=lambda pair: pair[1]) if steps]
        self._present = sum(map(len, runs))
        self._parts = {
            name: {run[0]: nn.Parameter(whole.detach()[run[0] : run[-1] + 1]) for run in runs}
            for name, whole in self.flows.named_parameters()
        }
        return Adam(
            [part for parts in self._parts.values() for part in parts.values()], self.lr, self.betas, fused=True
        )

    def on_after_backward(self) -> None:
        for name, whole in self.flows.named_parameters():
            if whole.grad is not None:
                for first, part in self._parts[name].items():
                    grad = whole.grad[first : first + len(part)]
                    part.grad = grad if part.grad is None else part.grad + grad
                whole.grad = None

    def _only(self, classes: list[int]) -> dict[str, Tensor]:
        """Parameters and buffers of these classes alone, for a step that is to cost no more than they do."""
        buffers = self.flows.named_buffers()
        found = {name: buffer[classes] for name, buffer in buffers if name.endswith("initialized")}
        for name, parts in self._parts.items():
            chosen: list[Tensor] = [part for first, part in parts.items() if first in classes]
            found[name] = chosen[0] if len(chosen) == 1 else torch.cat(chosen)
        return found
