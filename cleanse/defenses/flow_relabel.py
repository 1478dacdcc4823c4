"""Find the attacked classes by the density of their features, and relabel or drop what is poisoned in them (flow)."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.defenses.base import Defense, Outcome
from cleanse.engine.runner import Runner
from cleanse.functional import (
    Split,
    disruptive_score,
    nondisruptive_score,
    outlying_low,
    poisoning_score,
    split_and_relabel,
)
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import Classifier
from cleanse.modules.embedding import Embedding
from cleanse.modules.flow_density import FlowDensity
from cleanse.modules.simclr import SimCLR
from cleanse.networks import ResNet18
from cleanse.verdict import Verdict
from cleanse.views import TableView, TrainingView

log = logging.getLogger("cleanse")


class FlowRelabel(Defense):
    """Generative relabeling with a normalizing flow for every class (paper 003).

    ICLR 2024 submission, published as Sabolic, Grubisic and Segvic, BMVC 2024, arXiv 2409.01185. SimCLR learns features
    from the images alone; a flow for every class learns the density of what has its label. A class whose density also
    covers images of other classes holds non-disruptive poison, one with a part that is like no other class holds
    disruptive poison. Of a flagged class, one end of the poisoning score is kept, non-disruptive poison at the other
    end is relabeled, and the rest is dropped.

    Departures (SPEC D.3): features are standardized with the training set's statistics; poison at both ends is counted
    as the published code does; a class that both rules flag is disruptive; the classifier is trained once, on what is
    kept and relabeled together, and **no poison list is read anywhere** (the published retraining step reads it). The
    verdict's score is an image's place in its class by the poisoning score, 0 to 1, and one less in classes that are
    not flagged.

    Args:
        network: builds the classifier from (in_channels, num_classes), and the encoder if ``encoder_network`` is None.
        encoder: ``simclr``, or of Table 3 ``supervised``: features of a classifier trained on the data as they are, and
            ``pretrained``: those of ``pretrained``, which is not trained here.
        encoder_network: as ``network``, for the encoder alone; the paper's larger sets have ResNet18 for DenseNet121.
        pretrained: makes the encoder that somebody else has trained, such as `cleanse.networks.Pretrained`.
        rule: ``paper``: S_ND below ``nondisruptive_below``, a part of the class below ``density_limit``; ``relative``:
            S_ND far below the other classes', by ``lower_by``, a part ``far_below`` the rest of its class, for features
            on which the paper's numbers mean nothing (ours).
        nondisruptive_below: beta_ND, nats per dimension.
        lower_by: the next lowest S_ND is more than so many times as high; see `cleanse.functional.outlying_low`.
        disruptive_above: beta_D, a share of the class.
        density_limit: lambda, a density per dimension.
        far_below: takes its place with the relative rule, as a share of the class's median density under other classes.
        alpha_clean: share of a flagged class that is kept, at most 0.5.
        alpha_poison: share of a flagged class that is taken for poison, at most 0.5.
        contrastive_augment: makes the views for SimCLR; None for the data set's own.
        pretrain_epochs, pretrain_batch_size, pretrain_lr: of SimCLR (Adam, constant) or the supervised encoder's
            epochs.
        flow_epochs, flow_batch_size, flow_lr: of the flows; the batch is of each class.
        epochs: of the final training.
        lr, momentum, weight_decay: of its SGD.
        milestones: epochs at which the learning rate is multiplied by ``gamma``.
        gamma: see ``milestones``.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        network: NetworkFactory = ResNet18,
        encoder: Literal["simclr", "supervised", "pretrained"] = "simclr",
        encoder_network: NetworkFactory | None = None,
        pretrained: Callable[[], LightningModule] | None = None,
        rule: Literal["paper", "relative"] = "paper",
        nondisruptive_below: float = 0.6,
        lower_by: float = 2.5,
        disruptive_above: float = 0.05,
        density_limit: float = 0.75,
        far_below: float = 0.1,
        alpha_clean: float = 0.15,
        alpha_poison: float = 0.15,
        contrastive_augment: nn.Module | None = None,
        pretrain_epochs: int = 100,
        pretrain_batch_size: int = 256,
        pretrain_lr: float = 3e-4,
        flow_epochs: int = 50,
        flow_batch_size: int = 16,
        flow_lr: float = 1e-3,
        epochs: int = 200,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        milestones: Sequence[int] = (100, 150),
        gamma: float = 0.1,
    ) -> None:
        super().__init__(network, epochs, lr, momentum, weight_decay, milestones, gamma)
        for name, word, words in (
            ("encoder", encoder, ("simclr", "supervised", "pretrained")),
            ("rule", rule, ("paper", "relative")),
        ):
            if word not in words:
                raise ValueError(f"{name} is {' or '.join(words)}, not {word!r}")
        if (encoder == "pretrained") != (pretrained is not None):
            raise ValueError("encoder=pretrained and the argument pretrained belong together: give both or neither")
        for name, alpha in (("alpha_clean", alpha_clean), ("alpha_poison", alpha_poison)):
            if not 0 <= alpha <= 0.5:
                raise ValueError(f"{name} is between 0 and 0.5, so that no image is clean and poisoned, not {alpha}")
        self.encoder, self.rule, self.pretrained = encoder, rule, pretrained
        self.encoder_network = encoder_network or network
        self.nondisruptive_below, self.lower_by = nondisruptive_below, lower_by
        self.disruptive_above, self.far_below = disruptive_above, far_below
        self.density_limit, self.alpha_clean, self.alpha_poison = density_limit, alpha_clean, alpha_poison
        self.contrastive_augment = contrastive_augment
        self.pretrain_epochs, self.pretrain_batch_size = pretrain_epochs, pretrain_batch_size
        self.pretrain_lr = pretrain_lr
        self.flow_epochs, self.flow_batch_size, self.flow_lr = flow_epochs, flow_batch_size, flow_lr

    @property
    def title(self) -> str:
        return "Flow"

    def stages(self) -> int:
        return 4 if self.encoder == "pretrained" else 5

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        table = TableView(self.features(train, run), train.label, train.num_classes, self.flow_batch_size)
        build = partial(FlowDensity, table.num_classes, table.mean, table.std, lr=self.flow_lr)
        flows = run.fit("flows", build, table, max_epochs=self.flow_epochs)
        judged = train.labeled
        density, label = run.predict("density", flows, table).log_density[judged], train.label[judged]
        nondisruptive, disruptive = self.find(density, label, train.classes)
        split = split_and_relabel(density, label, nondisruptive, disruptive, self.alpha_clean, self.alpha_poison)
        score = poisoning_score(density, label)
        place = _place_in_class(torch.where(disruptive[label], score, -score), label)
        verdict = _verdict(train, judged, split, place - (~(nondisruptive | disruptive)[label]).float())
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))

    def features(self, train: TrainingView, run: Runner) -> Tensor:
        """(n, D) of the encoder before its projector."""
        if self.pretrained is not None:
            return run.predict("embed", self.pretrained(), train.plain()).features
        images = train.image_spec
        if self.encoder == "supervised":
            fitted = run.fit(
                "supervised", partial(Classifier, self.encoder_network, images), train.subset(train.labeled),
                max_epochs=self.pretrain_epochs,
            )  # fmt: skip
            return run.predict("embed", Embedding(fitted), train.plain()).features
        build = partial(
            SimCLR, self.encoder_network, images, self.contrastive_augment or train.contrastive_augment,
            projector_bias=False, base_temperature=None, optimizer="adam", lr=self.pretrain_lr, weight_decay=0.0,
            schedule="constant", warmup_epochs=0,
        )  # fmt: skip
        view = train.plain().with_batch_size(self.pretrain_batch_size)
        simclr = run.fit("simclr", build, view, max_epochs=self.pretrain_epochs)
        return run.predict("embed", Embedding(simclr), train.plain()).features

    def find(self, density: Tensor, label: Tensor, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Classes (C,) bool with non-disruptive and with disruptive poison; says what it found."""
        foreign = nondisruptive_score(density, label)
        if self.rule == "paper":
            nondisruptive = foreign < self.nondisruptive_below
            far = disruptive_score(density, label, self.density_limit, self.disruptive_above)
        else:
            nondisruptive, _ = outlying_low(foreign, self.lower_by)
            far = disruptive_score(density, label, self.far_below, self.disruptive_above, relative=True)
        shown = [f"{name!a} {s:.2f}" for name, s in zip(classes, foreign.tolist(), strict=True)]
        log.info("S_ND of each class, in nats per dimension: %s", ", ".join(shown))
        for flags, kind in ((nondisruptive & ~far.flagged, "non-disruptive"), (far.flagged, "disruptive")):
            for c in flags.nonzero().flatten().tolist():
                log.info("class %a holds %s poison", classes[c], kind)
        flagged = nondisruptive | far.flagged
        if not flagged.any():
            log.info("no class is flagged: every image is kept")
        elif flagged.all():
            log.warning("every class is flagged: the thresholds do not fit these features, do not trust the verdict")
        return nondisruptive, far.flagged


def _place_in_class(score: Tensor, label: Tensor) -> Tensor:
    """(n,) from 0 for the lowest score of a class to 1 for its highest."""
    place = torch.zeros(len(score))
    for c in torch.unique(label).tolist():
        rows = (label == c).nonzero().flatten()
        order = rows[score[rows].argsort(stable=True)]
        place[order] = torch.linspace(0, 1, len(rows))
    return place


def _verdict(train: TrainingView, judged: Tensor, split: Split, suspicion: Tensor) -> Verdict:
    """Kept, relabeled, dropped."""
    reasons = []
    for clean, poisoned, new in zip(split.clean.tolist(), split.poisoned.tolist(), split.label.tolist(), strict=True):
        doubt = "poisoned" if poisoned else "in an attacked class, neither surely clean nor surely poisoned"
        reasons.append("" if clean else f"looks like {train.classes[new]!a}" if new >= 0 else doubt)
    return Verdict.of_labeled(train.id, train.label, judged, split.label, suspicion, reasons)
