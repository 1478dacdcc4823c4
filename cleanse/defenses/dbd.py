"""DBD: learn features without labels, then trust the labels that fit them best."""

from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from cleanse.defenses.base import Defense, Outcome
from cleanse.defenses.split_verdict import split_verdict
from cleanse.engine.plan import FORWARD, Planned
from cleanse.engine.runner import Runner
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import take_over
from cleanse.modules.mixmatch import MixMatch
from cleanse.modules.simclr import SimCLR
from cleanse.modules.symmetric_probe import SymmetricProbe
from cleanse.networks import ResNet18
from cleanse.utils.check import at_least_one
from cleanse.views import TrainingView

FEW = 512
"""Images that stand for all of them where a training is only planned: a split measures every one."""


class DBD(Defense):
    """Decoupling-based backdoor defense.

    Huang et al. 2022, "Backdoor Defense via Decoupling the Training Process" (arXiv 2202.03423). SimCLR learns an
    encoder from the images alone. A linear head is trained on it with symmetric cross-entropy. Then the half of all
    images with the lowest loss keeps its labels, the others lose theirs, and the whole network learns from both by
    MixMatch; the halves are chosen anew in every epoch. Needs neither clean images nor a poison rate, but half of the
    images are always set aside.

    The classifier is what MixMatch ends with. The verdict is its last split: an image that kept its label is kept, the
    others are dropped; the score is the loss. So at least about half of the clean images are flagged if few are
    poisoned. Defaults are those of the published code, where it is not said otherwise; what differs from it, and what
    paper and code leave open, is D260 to D267.

    ``epochs``, ``lr``, ``momentum``, ``weight_decay``, ``milestones`` and ``gamma`` are those of the undefended
    classifier that the recipe is compared with.

    Args:
        network: builds encoder and classifier from (in_channels, num_classes); a `cleanse.networks.Network`.
        contrastive_augment: makes the views for SimCLR; None for the data set's own.
        pretrain_epochs: of SimCLR, whose learning rate falls as a cosine over them, to a thousandth (D265).
        pretrain_batch_size: of SimCLR, over all processes.
        pretrain_lr: of SimCLR's SGD.
        pretrain_weight_decay: of SimCLR's SGD.
        pretrain_warmup_epochs: in which SimCLR's learning rate rises.
        temperature: of SimCLR's loss.
        base_temperature: SimCLR's loss is multiplied by ``temperature`` / ``base_temperature``; None for no factor.
        head_epochs: of the head.
        head_batch_size: of the head, over all processes.
        fraction: of the images, which keep their label.
        mixmatch_epochs: of MixMatch.
        mixmatch_batch_size: images with a label in a batch, over all processes; as many without are beside them.
        iterations: batches of an epoch of MixMatch.
        unlabeled_weight: of the loss on guessed labels, reached after ``mixmatch_epochs``.
        mixmatch_lr: of Adam, of the head and of MixMatch.
        eval_view: losses are measured on images as augmented in training (``train_aug``) or ``plain``.
        **kwargs: the other arguments of `Defense`.

    Raises:
        ValueError: an argument out of range; while it runs, no labeled image, or a training that diverged.
    """

    def __init__(
        self,
        network: NetworkFactory = ResNet18,
        contrastive_augment: nn.Module | None = None,
        pretrain_epochs: int = 1000,
        pretrain_batch_size: int = 512,
        pretrain_lr: float = 0.4,
        pretrain_weight_decay: float = 1e-4,
        pretrain_warmup_epochs: int = 0,
        temperature: float = 0.5,
        base_temperature: float | None = None,
        head_epochs: int = 10,
        head_batch_size: int = 128,
        fraction: float = 0.5,
        mixmatch_epochs: int = 190,
        mixmatch_batch_size: int = 64,
        iterations: int = 1024,
        unlabeled_weight: float = 15.0,
        mixmatch_lr: float = 0.002,
        eval_view: Literal["train_aug", "plain"] = "train_aug",
        **kwargs: Any,
    ) -> None:
        super().__init__(network=network, **kwargs)
        at_least_one(
            pretrain_epochs=pretrain_epochs, head_epochs=head_epochs, head_batch_size=head_batch_size,
            mixmatch_epochs=mixmatch_epochs, mixmatch_batch_size=mixmatch_batch_size, iterations=iterations,
        )  # fmt: skip
        if pretrain_batch_size < 2:
            raise ValueError(f"pretrain_batch_size={pretrain_batch_size}: a contrast needs at least two images")
        if not 0 < fraction < 1:
            raise ValueError(f"fraction is the share of images that keep their label, between 0 and 1, not {fraction}")
        self.contrastive_augment = contrastive_augment
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_batch_size = pretrain_batch_size
        self.pretrain_lr = pretrain_lr
        self.pretrain_weight_decay = pretrain_weight_decay
        self.pretrain_warmup_epochs = pretrain_warmup_epochs
        self.temperature = temperature
        self.base_temperature = base_temperature
        self.head_epochs = head_epochs
        self.head_batch_size = head_batch_size
        self.fraction = fraction
        self.mixmatch_epochs = mixmatch_epochs
        self.mixmatch_batch_size = mixmatch_batch_size
        self.iterations = iterations
        self.unlabeled_weight = unlabeled_weight
        self.mixmatch_lr = mixmatch_lr
        self.eval_view = eval_view

    @property
    def title(self) -> str:
        return "DBD"

    def plan_verdict(self, train: TrainingView) -> list[Planned]:
        pictures = train.plain().with_batch_size(self.pretrain_batch_size)
        labeled = train.subset(train.labeled).with_batch_size(self.head_batch_size)
        probe = partial(SymmetricProbe, self.network, train.image_spec, lr=self.mixmatch_lr)
        few = train.subset(torch.arange(len(train)) < FEW).with_batch_size(self.mixmatch_batch_size)
        in_an_epoch = 2 * self.mixmatch_batch_size * self.iterations + FORWARD * len(train)
        return [
            Planned("simclr", self.simclr(train), pictures, self.pretrain_epochs),
            Planned("head", probe, labeled, self.head_epochs),
            Planned(
                "mixmatch", self.mixmatch(few, None), few, self.mixmatch_epochs, images=len(train),
                passes=self.mixmatch_epochs * in_an_epoch,
            ),
        ]  # fmt: skip

    def plan_final(self, train: TrainingView) -> list[Planned]:
        return []  # the classifier is there before the verdict is

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        if not train.labeled.any():
            raise ValueError("no training image has a label, so that there is none to judge: raise labeled")
        # An encoder from the images alone, so that a trigger is not tied to a label
        encoder = run.fit(
            "simclr", self.simclr(train), train.plain().with_batch_size(self.pretrain_batch_size),
            max_epochs=self.pretrain_epochs,
        )  # fmt: skip
        # A head on the frozen encoder, from the labels as they are
        head = run.fit(
            "head", partial(SymmetricProbe, self.network, train.image_spec, encoder, self.mixmatch_lr),
            train.subset(train.labeled).with_batch_size(self.head_batch_size), max_epochs=self.head_epochs,
        )  # fmt: skip
        # The whole network, from the labels that fit best and from the other images without theirs
        fitted = run.fit(
            "mixmatch", self.mixmatch(train, head), train.with_batch_size(self.mixmatch_batch_size),
            max_epochs=self.mixmatch_epochs, reload_dataloaders_every_n_epochs=1,
        )  # fmt: skip
        verdict = split_verdict(train, fitted.labeled, fitted.score)
        return Outcome(verdict, take_over(self.classifier(train), fitted))

    def simclr(self, train: TrainingView) -> "partial[SimCLR]":
        """Builds SimCLR; with the same arguments as in another recipe, it is the same stage."""
        augment = train.contrastive_augment if self.contrastive_augment is None else self.contrastive_augment
        return partial(
            SimCLR, self.network, train.image_spec, augment,
            temperature=self.temperature, base_temperature=self.base_temperature, lr=self.pretrain_lr,
            momentum=self.momentum, weight_decay=self.pretrain_weight_decay, warmup_epochs=self.pretrain_warmup_epochs,
        )  # fmt: skip

    def mixmatch(self, train: TrainingView, head: SymmetricProbe | None) -> "partial[MixMatch]":
        """Builds the last training. The ramp counts the head's epochs, too, as in the published code."""
        return partial(
            MixMatch, self.network, train.image_spec, len(train), head,
            fraction=self.fraction, iterations=self.iterations, ramp_epochs=self.mixmatch_epochs,
            first_epoch=self.head_epochs, unlabeled_weight=self.unlabeled_weight, lr=self.mixmatch_lr,
            eval_view=self.eval_view,
        )  # fmt: skip
