"""A classifier that does not only descend: the three phases of anti-backdoor learning."""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cleanse.engine.shards import mean_over_processes
from cleanse.functional import flooding, local_gradient_ascent
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import Classifier
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch

Objective = Literal["lga", "flooding", "descend", "ascend"]


class Unlearner(Classifier):
    """Li et al. 2021 (arXiv 2110.11571): a classifier under another objective.

    The state dict is that of `Classifier`.

    Args:
        network: builds the network from (in_channels, num_classes).
        images: what the images are like; None for those of the data that it is fitted on.
        objective: ``lga`` and ``flooding`` keep the loss at ``hold``; ``descend`` is ordinary training; ``ascend``
            unlearns the images, each until its loss is ``most`` times that of a guess, log C (D250).
        hold: the loss of ``lga`` (the paper's gamma) and ``flooding``.
        most: see ``ascend``; None for no end.
        **kwargs: the other arguments of `Classifier`.

    Raises:
        ValueError: an objective that there is not, or a negative ``hold``.
    """

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec | None = None,
        objective: Objective = "descend",
        hold: float = 0.5,
        most: float | None = 3.0,
        **kwargs: Any,
    ) -> None:
        self.objective: Objective = objective
        self.hold = hold
        self.most = most
        super().__init__(network, images, **kwargs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch["image"])
        loss = cross_entropy(logits, batch["label"], reduction="none")
        shown = {"on_epoch": True, "on_step": False, "batch_size": len(logits), "sync_dist": True}
        self.log("train/loss", loss.detach().mean(), **shown)  # type: ignore[arg-type]
        return self.aim(loss, logits.shape[1])

    def aim(self, loss: Tensor, num_classes: int) -> Tensor:
        """What is minimized, from the cross-entropy (B,) of each image."""
        if self.objective == "lga":
            return local_gradient_ascent(loss, self.hold)
        if self.objective == "flooding":
            return flooding(loss, self.hold, mean_over_processes(loss))
        if self.objective == "ascend":
            limit = torch.inf if self.most is None else self.most * math.log(num_classes)
            return -loss.clamp_max(limit).mean()
        return loss.mean()
