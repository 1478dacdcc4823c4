"""ASD: from a few clean images, learn which of the others can be trusted, and split them anew in every epoch."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from cleanse.defenses.base import Outcome
from cleanse.defenses.clean_images import CleanImagesDefense
from cleanse.defenses.dbd import FEW
from cleanse.defenses.split_verdict import split_verdict
from cleanse.engine.plan import FORWARD, Planned
from cleanse.engine.runner import Runner
from cleanse.modules.adaptive_split import AdaptiveSplit
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import take_over
from cleanse.networks import ResNet18
from cleanse.utils.check import at_least_one
from cleanse.views import TrainingView


class ASD(CleanImagesDefense):
    """Adaptively splitting the poisoned data set.

    Gao et al. 2023, "Backdoor Defense via Adaptively Splitting Poisoned Dataset" (arXiv 2303.12993). A network learns
    by MixMatch from images that keep their label and others that lose it. At first a few images that are known to be
    clean keep theirs, then ever more of every class, then half of all images, those of lowest loss; in the last epochs
    it is the half whose loss falls least when a copy of the network learns from all labels (`AdaptiveSplit`).

    The published code draws its clean images among those whose poison flag is not set; ours are set aside before the
    attack, or chosen by another recipe (D268). The classifier is what the training ends with. The verdict is its last
    split: an image that kept its label is kept, the others are dropped; the score is by how much the loss fell, or the
    loss itself where there were no such epochs. Defaults are those of the published code; what differs from it is D260
    to D270.

    ``epochs``, ``lr``, ``momentum``, ``weight_decay``, ``milestones`` and ``gamma`` are those of the undefended
    classifier that the recipe is compared with.

    Args:
        network: builds the classifier from (in_channels, num_classes).
        virtual_layers: how the names of those parameters of the network begin that the copy learns; the paper's last
            two of four stages and the head, as they are called in `ResNet18`.
        mixmatch_epochs: of the training.
        by_class_epochs: in which the images of lowest loss are taken from every class alike.
        grow_every: epochs from one enlargement to the next.
        grow_by: by how many images of every class.
        meta_from: the first epoch that asks a copy.
        fraction: of the images, which keep their label after ``by_class_epochs``.
        mixmatch_batch_size: images with a label in a batch, over all processes; as many without are beside them.
        iterations: batches of an epoch.
        unlabeled_weight: of the loss on guessed labels, reached after ``mixmatch_epochs``.
        mixmatch_lr: of Adam.
        virtual_lr: of the copy's Adam.
        virtual_batch_size: of the copy's epoch, over all processes.
        eval_view: losses are measured on images as augmented in training (``train_aug``) or ``plain``.
        **kwargs: the other arguments of `CleanImagesDefense`.

    Raises:
        ValueError: an argument out of range; while it runs, no clean images, layers that the network does not have, or
            a training that diverged.
    """

    def __init__(
        self,
        network: NetworkFactory = ResNet18,
        virtual_layers: Sequence[str] = ("body.layer3", "body.layer4", "head"),
        mixmatch_epochs: int = 120,
        by_class_epochs: int = 60,
        grow_every: int = 5,
        grow_by: int = 10,
        meta_from: int = 90,
        fraction: float = 0.5,
        mixmatch_batch_size: int = 64,
        iterations: int = 1024,
        unlabeled_weight: float = 15.0,
        mixmatch_lr: float = 0.002,
        virtual_lr: float = 0.015,
        virtual_batch_size: int = 128,
        eval_view: Literal["train_aug", "plain"] = "train_aug",
        **kwargs: Any,
    ) -> None:
        super().__init__(network=network, **kwargs)
        at_least_one(
            mixmatch_epochs=mixmatch_epochs, grow_every=grow_every, mixmatch_batch_size=mixmatch_batch_size,
            iterations=iterations, virtual_batch_size=virtual_batch_size,
        )  # fmt: skip
        if not 0 <= by_class_epochs <= meta_from:
            raise ValueError(
                f"by_class_epochs is a number of epochs, 0 to meta_from ({meta_from}), not {by_class_epochs}"
            )
        if not 0 < fraction < 1:
            raise ValueError(f"fraction is the share of images that keep their label, between 0 and 1, not {fraction}")
        self.virtual_layers = tuple(virtual_layers)
        self.mixmatch_epochs = mixmatch_epochs
        self.by_class_epochs = by_class_epochs
        self.grow_every = grow_every
        self.grow_by = grow_by
        self.meta_from = meta_from
        self.fraction = fraction
        self.mixmatch_batch_size = mixmatch_batch_size
        self.iterations = iterations
        self.unlabeled_weight = unlabeled_weight
        self.mixmatch_lr = mixmatch_lr
        self.virtual_lr = virtual_lr
        self.virtual_batch_size = virtual_batch_size
        self.eval_view = eval_view

    @property
    def title(self) -> str:
        return "ASD"

    def plan_verdict(self, train: TrainingView) -> list[Planned] | None:
        before = [] if self.clean == "reserved" else self.certain_by().plan_verdict(train)
        if before is None:
            return None
        few = train.subset(torch.arange(len(train)) < FEW).with_batch_size(self.mixmatch_batch_size)
        copies = max(0, self.mixmatch_epochs - self.meta_from)
        rows = len(train) + (self.most_clean_images(train) if self.clean == "reserved" else 0)
        passes = self.mixmatch_epochs * (2 * self.mixmatch_batch_size * self.iterations + FORWARD * rows)
        passes += copies * (1 + FORWARD) * rows
        build = self.adaptive_split(few, torch.tensor([0]))
        fit = Planned("adaptive_split", build, few, self.mixmatch_epochs, images=rows, passes=passes)
        return [*before, fit]

    def plan_final(self, train: TrainingView) -> list[Planned]:
        return []  # the classifier is there before the verdict is

    def cleanse(self, train: TrainingView, run: Runner, reserved: TrainingView | None) -> Outcome:  # type: ignore[override]
        if not train.labeled.any():
            raise ValueError("no training image has a label, so that there is none to judge: raise labeled")
        clean = self.clean_images(train, run, reserved)
        everything = train.joined(clean)  # images that were set aside lie behind the others
        seeds = torch.isin(everything.rows, clean.rows).nonzero().flatten()
        fitted = run.fit(
            "adaptive_split", self.adaptive_split(everything, seeds),
            everything.with_batch_size(self.mixmatch_batch_size),
            max_epochs=self.mixmatch_epochs, reload_dataloaders_every_n_epochs=1,
        )  # fmt: skip
        verdict = split_verdict(train, fitted.labeled[: len(train)], fitted.score[: len(train)])
        return Outcome(verdict, take_over(self.classifier(train), fitted), clean=clean)

    def adaptive_split(self, everything: TrainingView, seeds: Tensor) -> "partial[AdaptiveSplit]":
        """Builds the training for all images, those set aside included; ``seeds`` (s,) are known to be clean."""
        return partial(
            AdaptiveSplit, self.network, everything.image_spec, len(everything), seeds,
            virtual_layers=self.virtual_layers, by_class_epochs=self.by_class_epochs, grow_every=self.grow_every,
            grow_by=self.grow_by, meta_from=self.meta_from, virtual_lr=self.virtual_lr,
            virtual_batch_size=self.virtual_batch_size, ramp_epochs=self.mixmatch_epochs, fraction=self.fraction,
            iterations=self.iterations, unlabeled_weight=self.unlabeled_weight, lr=self.mixmatch_lr,
            eval_view=self.eval_view,
        )  # fmt: skip
