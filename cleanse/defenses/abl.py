"""Anti-backdoor learning: isolate the images that are learned first, train on the others, unlearn the isolated ones."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.defenses.base import Defense, Outcome
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.modules.classifier import warm_start
from cleanse.modules.label_loss import LabelLoss
from cleanse.modules.unlearner import Unlearner
from cleanse.utils.check import at_least_one
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")


class ABL(Defense):
    """Li et al. 2021, "Anti-Backdoor Learning: Training Clean Models on Poisoned Data" (arXiv 2110.11571).

    Triggers are learned faster than classes. A network is trained for a few epochs with a loss that keeps the slowly
    learned images from being learned; the images of lowest loss are isolated. It goes on training on the others, and
    then unlearns the isolated ones by gradient ascent. The classifier is this network; the verdict drops what was
    isolated, which is to be pure and not complete: the share has to lie below the poison rate.

    The paper's text was not at hand: numbers are those of the released code, or marked below; the network is not, and
    the tuning goes without its Cutout (D252). What is open: D242, D247 to D250.

    Args:
        loss: ``lga``, local gradient ascent for each image (D248); ``flooding``, the released code's default.
        hold: where the loss is held; 0.5.
        isolation: share of the images to isolate, p; 0.01.
        isolation_epochs: of the first training; 20, unverified (the released code has 10).
        isolation_lr: of its SGD, constant; 0.1.
        tune_epochs: of the training on the others, with augmentation; 60. 0 leaves it out.
        tune_lr: of its SGD; 0.1.
        tune_milestones: its epochs at which the learning rate is multiplied by ``gamma``; (40,).
        unlearn_epochs: of the gradient ascent; 5.
        unlearn_lr: of its SGD, constant; 5e-4.
        unlearn_to: ascend no further than this many times log C, the loss of a guess; null for no end (D250).
        retrain: train a classifier from scratch on what was not isolated, instead of unlearning.
        weight_decay: of SGD, everywhere; 1e-4.
        **kwargs: the other arguments of `Defense`; ``epochs``, ``lr`` and ``milestones`` are those of the undefended
            training, and of ``retrain``.

    Raises:
        ValueError: an argument out of range; while it runs, a share of no image, or a network that diverged.
    """

    def __init__(
        self,
        loss: Literal["lga", "flooding"] = "lga",
        hold: float = 0.5,
        isolation: float = 0.01,
        isolation_epochs: int = 20,
        isolation_lr: float = 0.1,
        tune_epochs: int = 60,
        tune_lr: float = 0.1,
        tune_milestones: Sequence[int] = (40,),
        unlearn_epochs: int = 5,
        unlearn_lr: float = 5e-4,
        unlearn_to: float | None = 3.0,
        retrain: bool = False,
        weight_decay: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(weight_decay=weight_decay, **kwargs)
        if not 0 < isolation < 1:
            raise ValueError(f"isolation is a share of the images, above 0 and below 1 (0.01), not {isolation}")
        at_least_one(isolation_epochs=isolation_epochs, unlearn_epochs=unlearn_epochs)
        if tune_epochs < 0:
            raise ValueError(f"tune_epochs is a number of epochs, 0 for none, not {tune_epochs}")
        self.loss: Literal["lga", "flooding"] = loss
        self.hold = hold
        self.isolation = isolation
        self.isolation_epochs = isolation_epochs
        self.isolation_lr = isolation_lr
        self.tune_epochs = tune_epochs
        self.tune_lr = tune_lr
        self.tune_milestones = tuple(tune_milestones)
        self.unlearn_epochs = unlearn_epochs
        self.unlearn_lr = unlearn_lr
        self.unlearn_to = unlearn_to
        self.retrain = retrain

    @property
    def title(self) -> str:
        return "ABL"

    def plan_verdict(self, train: TrainingView) -> list[Planned]:
        build, view = self._phase(train), train.subset(train.labeled).plain()
        return [Planned("isolate", build, view, self.isolation_epochs), Planned("isolation_loss", build, view)]

    def plan_final(self, train: TrainingView) -> list[Planned]:
        if self.retrain:
            return super().plan_final(train)
        build, view = self._phase(train), train.subset(train.labeled)
        isolated = int(self.isolation * len(view))
        tune = Planned("tune", build, view, self.tune_epochs, images=len(view) - isolated)
        unlearn = Planned("unlearn", build, view.plain(), self.unlearn_epochs, images=isolated)
        return [*([tune] if self.tune_epochs else []), unlearn]

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        labeled = train.subset(train.labeled)
        # isolation: train for a few epochs, holding the loss; the images of lowest loss are isolated
        isolate = self._phase(train, objective=self.loss, hold=self.hold, lr=self.isolation_lr)
        first = run.fit("isolate", isolate, labeled.plain(), max_epochs=self.isolation_epochs)
        loss = run.predict("isolation_loss", LabelLoss(first), labeled.plain()).loss
        isolated = self._isolated(loss)
        kept = labeled.subset(~isolated)
        reasons = ["among the first to be learned" if i else "" for i in isolated.tolist()]
        new_label = labeled.label.masked_fill(isolated, -1)
        verdict = Verdict.of_labeled(train.id, train.label, train.labeled, new_label, -loss, reasons)
        if self.retrain:
            return Outcome(verdict, partial(self.classify, kept, run))
        return Outcome(verdict, partial(self._unlearn, first, kept, labeled.subset(isolated), run))

    def _unlearn(
        self, first: LightningModule, kept: TrainingView, isolated: TrainingView, run: Runner
    ) -> LightningModule:
        """The classifier: tuned on the kept images, then ascending the loss of the isolated ones."""
        model = first
        if self.tune_epochs:
            tune = self._phase(kept, objective="descend", lr=self.tune_lr, milestones=self.tune_milestones)
            model = run.fit("tune", partial(warm_start, tune, model), kept, max_epochs=self.tune_epochs)
        ascend = self._phase(kept, objective="ascend", lr=self.unlearn_lr, most=self.unlearn_to)
        return run.fit("unlearn", partial(warm_start, ascend, model), isolated.plain(), max_epochs=self.unlearn_epochs)

    def _isolated(self, loss: Tensor) -> Tensor:
        """(n,) bool: the int(p n) images of lowest loss, of equal ones the first."""
        if not loss.isfinite().all():
            raise ValueError("the isolating network diverged, its loss is not finite: lower --model.isolation_lr")
        count = int(self.isolation * len(loss))
        if not count:
            raise ValueError(
                f"isolation={self.isolation} of {len(loss)} images is none: raise it to {1 / len(loss):.2g} or more"
            )
        chosen = torch.zeros(len(loss), dtype=torch.bool)
        chosen[loss.argsort(stable=True)[:count]] = True
        log.info("%d of %d images are isolated, with a loss of up to %.3g", count, len(loss), float(loss[chosen].max()))
        return chosen

    def _phase(self, train: TrainingView, **arguments: Any) -> "partial[Unlearner]":
        shared = {"momentum": self.momentum, "weight_decay": self.weight_decay, "gamma": self.gamma, "nesterov": True}
        return partial(Unlearner, self.network, train.image_spec, **{"milestones": (), **shared, **arguments})
