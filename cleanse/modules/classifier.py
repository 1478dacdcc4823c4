"""A classifier trained with SGD on given labels: the undefended model, the final model and every teacher."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR

from cleanse.functional import one_cycle_factor
from cleanse.modules.base import ImageModule, NetworkFactory
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch

Schedule = Literal["steps", "one_cycle"]


class Classifier(ImageModule):
    """Normalize, then classify.

    Args:
        network: builds the network from (in_channels, num_classes).
        images: what the images are like; None for those of the data that it is fitted on.
        lr: of SGD.
        momentum: of SGD.
        weight_decay: of SGD.
        milestones: epochs (from 0) at which the learning rate is multiplied by ``gamma``.
        gamma: see ``milestones``.
        schedule: of the learning rate: ``steps``, as ``milestones`` say, or ``one_cycle``, up to ``lr`` and down to
            0 in straight lines (`cleanse.functional.one_cycle_factor`), for short trainings.
        nesterov: Nesterov's momentum.
        label_smoothing: share of the target that is spread over all classes, in [0, 1).

    Raises:
        ValueError: an argument out of range.

    Shapes:
        images (B, C, H, W) float in [0, 1] to logits (B, num_classes).
    """

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec | None = None,
        lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        milestones: Sequence[int] = (75, 90),
        gamma: float = 0.1,
        schedule: Schedule = "steps",
        nesterov: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(network, images)
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.milestones = tuple(milestones)
        self.gamma = gamma
        self.schedule = schedule
        self.nesterov = nesterov
        self.label_smoothing = label_smoothing
        self.make_layers()

    def build(self, images: ImageSpec) -> None:
        self.network = self.make_network(images.channels, images.num_classes).to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(self.normalize(image))  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch["image"])
        loss = cross_entropy(logits, batch["label"], label_smoothing=self.label_smoothing)
        self.log("train/loss", loss.detach(), on_epoch=True, on_step=False, batch_size=len(logits), sync_dist=True)
        return loss

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Index, predicted class and its probability."""
        probability, prediction = self(batch["image"]).float().softmax(1).max(1)
        return {"index": batch["index"], "prediction": prediction, "confidence": probability}

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer = SGD(trained, self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov)
        if self.schedule == "steps":
            return {"optimizer": optimizer, "lr_scheduler": MultiStepLR(optimizer, list(self.milestones), self.gamma)}
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        scheduler = LambdaLR(optimizer, partial(one_cycle_factor, steps=steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def warm_start(build: Callable[[], LightningModule], start: LightningModule) -> LightningModule:
    """``build()`` with the weights of ``start``; for a stage that goes on from another one with a new optimizer."""
    module = build()
    module.load_state_dict(start.state_dict())
    return module


def take_over(build: Callable[[], Classifier], fitted: ImageModule) -> Classifier:
    """``build()`` with the network of a fitted module of another kind, as which it counts for the runner."""
    module = build()
    module.network.load_state_dict(fitted.network.state_dict())
    module.stage_key = fitted.stage_key
    return module.eval()
