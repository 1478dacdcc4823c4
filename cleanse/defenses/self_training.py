"""Self-training: the given labels are forgotten, and a model teaches itself with labels of its own (self_training)."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.augment.named import named
from cleanse.defenses.base import Defense, Outcome
from cleanse.engine.runner import Runner
from cleanse.functional import class_quota, select_confident
from cleanse.modules.augmented import Augmented
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import Classifier, warm_start
from cleanse.networks import VGG16BN
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")


class PseudoLabels(NamedTuple):
    """What a model says of every image."""

    label: Tensor
    """(n,) int64, the predicted class."""

    confidence: Tensor
    """(n,) float, its probability."""


class SelfTraining(Defense):
    """Self-training with a strong augmentation (paper 000, Algorithm 1).

    A teacher is trained on the labeled images as they are, backdoor included. From then on no given label is used:
    in every iteration the model labels all images, the labeled ones through one draw of an augmentation that hides
    the trigger, and goes on training on those that it is most certain about, class by class, without the augmentation.
    The final model is trained from scratch on the last iteration's images and pseudo-labels.

    Departures (SPEC B.3): the share of the images that an iteration may take is min(k n, 1); the final model gets the
    set D_N of the last iteration, as the paper says, so that the re-training that would follow, whose model nobody
    uses, is left out; a fixed number of epochs stands for "until convergence"; images are normalized, as everywhere.

    The verdict is D_N: an image whose pseudo-label is its given label is kept, another label relabels it, and what is
    not selected is dropped. Images without a label are relabeled when they are selected. The score is between 0 and
    1: (1 + p) / 2 where the pseudo-label of probability p contradicts the given label, and (1 - p) / 2 elsewhere.

    With all labels given there is no unlabeled part, and the labeled one is all that is learned from.

    Args:
        network: builds the teacher and the final model from (in_channels, num_classes).
        augmentation: T, drawn once for each labeled image and iteration; a name of Figure 1 (`cleanse.augment.named`)
            or a module; None for none at all, as in `SemiSupervised`.
        label_view: images are labeled ``plain``, or through one draw of the training augmentation (``train_augment``,
            as in the published code); the labeled ones only where there is no T.
        learn_from: ``all`` images, or the ``unlabeled`` ones only (Table 1); labeled images are then dropped.
        iterations: N.
        fraction: k; iteration n may take this share n times of the images, the same number of every class. With
            k N below 1 the rest is never used.
        relabel_last: go on training on D_N, and label once more for the final training, as the published code does
            (SPEC B.3.11); the log says how many labels that changes.
        teacher_epochs: of the training on the given labels; its learning rates are those of the final training.
        iteration_epochs: of every iteration.
        iteration_milestones: its epochs at which the learning rate is multiplied by ``gamma``.
        epochs: of the final training.
        lr, momentum, weight_decay: of SGD, made anew for every training.
        milestones: epochs of the teacher's and of the final training at which the learning rate is multiplied by
            ``gamma``.
        gamma: see ``milestones``.

    Raises:
        ValueError: an argument out of range; while it runs, no labeled image, no unlabeled one where only those are
            learned from, or a model that diverged.
    """

    def __init__(
        self,
        network: NetworkFactory = VGG16BN,
        augmentation: nn.Module | str | None = "RCS0.5+VFlip",
        label_view: Literal["plain", "train_augment"] = "plain",
        learn_from: Literal["all", "unlabeled"] = "all",
        iterations: int = 4,
        fraction: float = 0.3,
        relabel_last: bool = False,
        teacher_epochs: int = 200,
        iteration_epochs: int = 150,
        iteration_milestones: Sequence[int] = (100,),
        epochs: int = 300,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        milestones: Sequence[int] = (100, 200),
        gamma: float = 0.5,
    ) -> None:
        super().__init__(network, epochs, lr, momentum, weight_decay, milestones, gamma)
        if label_view not in ("plain", "train_augment"):
            raise ValueError(f"label_view is plain or train_augment, not {label_view!r}")
        if learn_from not in ("all", "unlabeled"):
            raise ValueError(f"learn_from is all or unlabeled, not {learn_from!r}")
        if iterations < 1:
            raise ValueError(f"iterations is at least 1, not {iterations}")
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction is a share of the images, in (0, 1], not {fraction}")
        self.augmentation = named(augmentation).module if isinstance(augmentation, str) else augmentation
        self.label_view, self.learn_from = label_view, learn_from
        self.fraction, self.rounds = fraction, iterations + relabel_last
        self.teacher_epochs, self.iteration_epochs = teacher_epochs, iteration_epochs
        self.iteration_milestones = tuple(iteration_milestones)

    @property
    def title(self) -> str:
        return "Self-Training"

    def stages(self) -> int:
        # the teacher; two tables and a training for each iteration, less the last training; the final one. Where the
        # first labels are not the teacher's, SimCLR and its table stand for the first two
        return 3 * self.rounds + self.final_stages

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        if not train.labeled.any():
            raise ValueError("no training image has a label, so that there is nothing to start from: raise labeled")
        if self.learn_from == "unlabeled" and train.labeled.all():
            raise ValueError("learn_from is unlabeled, but every training image has a label: set labeled below 1")
        model: LightningModule = self.teach(train, run)
        first = self.first_labels(train, run)
        images, labeled = train.unlabeled(), train.labeled  # from here on no given label exists
        among = ~labeled if self.learn_from == "unlabeled" else torch.ones_like(labeled)
        rounds: list[tuple[PseudoLabels, Tensor]] = []
        for n in range(1, self.rounds + 1):
            found = first if first is not None and n == 1 else self.pseudo_label(images, labeled, model, n, run)
            rounds.append((found, self.select(found, images.classes, n, among)))
            _log_change(rounds)
            if n < self.rounds:
                view = images.with_labels(found.label).subset(rounds[-1][1])
                again = partial(warm_start, self.classifier(images, self.iteration_milestones), model)
                model = run.fit("student", again, view, max_epochs=self.iteration_epochs)
        verdict = _verdict(train, among, *rounds[-1])
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))

    def teach(self, train: TrainingView, run: Runner) -> Classifier:
        """The first teacher: trained on the labeled images as they are given."""
        build = self.classifier(train, self.milestones)
        return run.fit("teacher", build, train.subset(train.labeled), max_epochs=self.teacher_epochs)

    def first_labels(self, train: TrainingView, run: Runner) -> PseudoLabels | None:
        """The labels of the first iteration where they do not come from the teacher (Algorithm 2)."""
        return None

    def pseudo_label(
        self, images: TrainingView, labeled: Tensor, model: LightningModule, iteration: int, run: Runner
    ) -> PseudoLabels:
        """What the model says of all images, the labeled ones through T."""
        plain = None if self.label_view == "plain" else nn.Sequential(*images.augment)
        label, confidence = torch.empty(len(images), dtype=torch.int64), torch.empty(len(images))
        for part, view in ((labeled, self.augmentation or plain), (~labeled, plain)):
            if part.any():
                seen = model if view is None else Augmented(model, view, iteration)
                table = run.predict("pseudo_label", seen, images.subset(part).plain())
                label[part], confidence[part] = table.prediction, table.confidence
        return PseudoLabels(label, confidence)

    def select(self, found: PseudoLabels, classes: Sequence[str], iteration: int, among: Tensor) -> Tensor:
        """(n,) bool: what an iteration trains on, of the rows in ``among``; says how many of which classes that is."""
        if not found.confidence.isfinite().all():
            raise ValueError(f"the model of iteration {iteration} diverged, its output is not finite: lower --model.lr")
        quota = class_quota(int(among.sum()), len(classes), iteration, self.fraction)
        chosen = torch.zeros_like(among)
        chosen[among] = select_confident(found.label[among], found.confidence[among], quota)
        count = found.label[chosen].bincount(minlength=len(classes))
        log.info(
            "iteration %d: %d of %d images, %d to %d of a class (at most %d)",
            iteration, int(chosen.sum()), int(among.sum()), int(count.min()), int(count.max()), quota,
        )  # fmt: skip
        if missing := [classes[c] for c in (count == 0).nonzero().flatten().tolist()]:
            log.warning(
                "iteration %d: no image is taken for %s, which nobody predicts",
                iteration,
                ", ".join(map(ascii, missing)),
            )
        return chosen


def _log_change(rounds: Sequence[tuple[PseudoLabels, Tensor]]) -> None:
    """What the last iteration takes again of the one before it, and how many labels stay."""
    if len(rounds) > 1:
        (before, chosen_before), (found, chosen) = rounds[-2:]
        again = chosen & chosen_before
        same = int((found.label == before.label)[again].sum())
        log.info(
            "iteration %d: %d of the %d images before are taken again, %d of them with the same label",
            len(rounds), int(again.sum()), int(chosen_before.sum()), same,
        )  # fmt: skip


def _verdict(train: TrainingView, among: Tensor, found: PseudoLabels, chosen: Tensor) -> Verdict:
    """What is trained on in the end: the selected images with their pseudo-labels."""
    against = train.labeled & (found.label != train.label)
    score = (1 + torch.where(against, found.confidence, -found.confidence)) / 2
    reasons = [
        ("not confident" if might else "not learned from")
        if not taken
        else ("" if new == given else f"predicted {train.classes[new]!a}")
        for might, taken, new, given in zip(
            among.tolist(), chosen.tolist(), found.label.tolist(), train.label.tolist(), strict=True
        )
    ]
    return Verdict.from_labels(train.id, train.label, found.label, ~chosen, score, reasons)
