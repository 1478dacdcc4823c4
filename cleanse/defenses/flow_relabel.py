"""Find the attacked classes by the density of their features, and relabel or drop what is poisoned in them (flow)."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from cleanse.defenses.base import Outcome
from cleanse.defenses.encode import EncodingDefense
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.functional import (
    disruptive_score,
    nondisruptive_score,
    outlying_low,
    poisoning_score,
    split_and_relabel,
)
from cleanse.modules.base import NetworkFactory
from cleanse.modules.flow_density import FlowDensity
from cleanse.modules.simclr import SimCLR
from cleanse.networks import ResNet18
from cleanse.utils.check import at_least_one
from cleanse.verdict import Verdict
from cleanse.views import TableView, TrainingView

log = logging.getLogger("cleanse")

MOST_NAMED = 20
"""Classes whose S_ND is in the log."""


class FlowRelabel(EncodingDefense):
    """Generative relabeling with a normalizing flow for every class.

    Sabolic, Grubisic, Segvic 2024, arXiv 2409.01185. SimCLR learns features from the images alone; a flow for every
    class learns the density of what has its label. A class whose density also covers images of other classes holds
    non-disruptive poison, one with a part that is like no other class holds disruptive poison. Of a flagged class, one
    end of the poisoning score is kept, non-disruptive poison at the other end is relabeled, and the rest is dropped.

    Departures (D90 to D102): features are standardized with the training set's statistics; poison at both ends is
    counted as the published code does; a class that both rules flag is disruptive; the classifier is trained once, on
    what is kept and relabeled together, and **no poison list is read anywhere** (the published retraining step reads
    it). The verdict's score is an image's place in its class by the poisoning score, 0 to 1, and one less in classes
    that are not flagged.

    Args:
        network: builds the classifier from (in_channels, num_classes), and the encoder if ``encoder_network`` is None.
        features: see `EncodingDefense`.
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
        pretrain_epochs: of SimCLR (Adam, constant).
        pretrain_batch_size: of SimCLR, over all processes.
        pretrain_lr: of SimCLR.
        flow_epochs: of the flows.
        flow_batch_size: of the flows, rows of each class.
        flow_lr: of the flows.
        epochs: of the final training.
        lr: of its SGD.
        milestones: epochs at which the learning rate is multiplied by ``gamma``.
        **kwargs: the other arguments of `EncodingDefense`.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        network: NetworkFactory = ResNet18,
        features: Literal["embedding", "features"] = "features",
        rule: Literal["paper", "relative"] = "paper",
        nondisruptive_below: float = 0.6,
        lower_by: float = 2.5,
        disruptive_above: float = 0.05,
        density_limit: float = 0.75,
        far_below: float = 0.1,
        alpha_clean: float = 0.15,
        alpha_poison: float = 0.15,
        pretrain_epochs: int = 100,
        pretrain_batch_size: int = 256,
        pretrain_lr: float = 3e-4,
        flow_epochs: int = 50,
        flow_batch_size: int = 16,
        flow_lr: float = 1e-3,
        epochs: int = 200,
        lr: float = 0.1,
        milestones: Sequence[int] = (100, 150),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            network=network,
            features=features,
            pretrain_epochs=pretrain_epochs,
            pretrain_batch_size=pretrain_batch_size,
            pretrain_lr=pretrain_lr,
            epochs=epochs,
            lr=lr,
            milestones=milestones,
            **kwargs,
        )
        at_least_one(flow_epochs=flow_epochs, flow_batch_size=flow_batch_size)
        for name, alpha in (("alpha_clean", alpha_clean), ("alpha_poison", alpha_poison)):
            if not 0 <= alpha <= 0.5:
                raise ValueError(f"{name} is between 0 and 0.5, so that no image is clean and poisoned, not {alpha}")
        self.rule = rule
        self.nondisruptive_below = nondisruptive_below
        self.lower_by = lower_by
        self.disruptive_above = disruptive_above
        self.density_limit = density_limit
        self.far_below = far_below
        self.alpha_clean = alpha_clean
        self.alpha_poison = alpha_poison
        self.flow_epochs = flow_epochs
        self.flow_batch_size = flow_batch_size
        self.flow_lr = flow_lr

    @property
    def title(self) -> str:
        return "Flow"

    def plan_verdict(self, train: TrainingView) -> list[Planned] | None:
        before = self.plan_encode(train)
        if before is None:
            return None
        table = stand_in(train.num_classes, self._width(train), self.flow_batch_size)
        build = partial(FlowDensity, table.num_classes, table.mean, table.std, lr=self.flow_lr)
        flows = Planned("flows", build, table, self.flow_epochs, images=len(train))
        # every image under every class's flow, of which a training step needs one
        passes = float(len(train) * train.num_classes)
        return [*before, flows, Planned("density", build, table, images=len(train), passes=passes)]

    def _width(self, train: TrainingView) -> int:
        """About how many features an image has; enough for the plan, which does not train."""
        network = self.encoder_network(train.channels, train.num_classes)
        return int(getattr(network, "num_features", 512)) if self.features == "features" else 128

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        """Sections 4.3 to 4.6 in turn."""
        # 4.3: p(z | y), the density of the features z of every class y, by a flow of its own
        z = self.encode(train, run)
        table = TableView(z, train.label, train.num_classes, self.flow_batch_size)
        build = partial(FlowDensity, table.num_classes, table.mean, table.std, lr=self.flow_lr)
        flows = run.fit("flows", build, table, max_epochs=self.flow_epochs)
        given = train.labeled
        label = train.label[given]
        density = run.predict("density", flows, table).log_density[given]

        # 4.4: the attacked classes, by S_ND (Eq. 3) and by the part of a class with low v (Eq. 4 and 5)
        foreign = nondisruptive_score(density, label)
        if self.rule == "paper":
            nondisruptive = foreign < self.nondisruptive_below
            disruptive = disruptive_score(density, label, self.density_limit, self.disruptive_above).flagged
        else:
            nondisruptive, _ = outlying_low(foreign, self.lower_by)
            disruptive = disruptive_score(density, label, self.far_below, self.disruptive_above, relative=True).flagged
        flagged = nondisruptive | disruptive
        log_attacked_classes(train.classes, foreign, nondisruptive, disruptive)

        # 4.5 and 4.6: in them, both ends of the poisoning score (Eq. 6); what is poisoned and belongs elsewhere (Eq. 7)
        split = split_and_relabel(density, label, nondisruptive, disruptive, self.alpha_clean, self.alpha_poison)

        score = poisoning_score(density, label)
        suspicion = _place_in_class(torch.where(disruptive[label], score, -score), label) - (~flagged[label]).float()
        reasons = []
        for clean, poisoned, new in zip(
            split.clean.tolist(), split.poisoned.tolist(), split.label.tolist(), strict=True
        ):
            doubt = "like poison in a flagged class" if poisoned else "in a flagged class, between both ends"
            reasons.append("" if clean else f"looks like {train.classes[new]!r}" if new >= 0 else doubt)
        verdict = Verdict.of_labeled(train.id, train.label, given, split.label, suspicion, reasons)
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))

    def simclr(self, train: TrainingView) -> "partial[SimCLR]":
        return partial(
            SimCLR,
            self.encoder_network,
            train.image_spec,
            self.augmentation(train),
            projector_bias=False,
            base_temperature=None,
            optimizer="adam",
            lr=self.pretrain_lr,
            weight_decay=0.0,
            schedule="constant",
            warmup_epochs=0,
        )


def stand_in(num_classes: int, width: int, batch_size: int) -> TableView:
    """A table like the one that the flows will be trained on, for the plan: random features of a few rows a class."""
    rows = 4 * batch_size * num_classes
    features = torch.rand(rows, width, generator=torch.Generator().manual_seed(0))
    return TableView(features, torch.arange(rows) % num_classes, num_classes, batch_size)


def log_attacked_classes(classes: Sequence[str], foreign: Tensor, nondisruptive: Tensor, disruptive: Tensor) -> None:
    """Say which classes are flagged, and by which S_ND."""
    lowest = foreign.argsort(stable=True)[:MOST_NAMED].sort().values.tolist()
    which = "each class" if len(lowest) == len(classes) else f"the {MOST_NAMED} classes where it is lowest"
    shown = ", ".join(f"{classes[c]!r} {float(foreign[c]):.2f}" for c in lowest)
    log.info("S_ND of %s, in nats per dimension: %s", which, shown)
    covers = "its density covers images of other classes, as with non-disruptive poison"
    apart = "a part of it is like no other class, as with disruptive poison"
    for flags, why in ((nondisruptive & ~disruptive, covers), (disruptive, apart)):
        for c in flags.nonzero().flatten().tolist():
            log.info("class %a is flagged: %s (clean classes can be flagged too)", classes[c], why)
    flagged = nondisruptive | disruptive
    if not flagged.any():
        log.info("no class is flagged: every image is kept")
    elif flagged.all():
        log.warning("every class is flagged: the thresholds do not fit these features, do not trust the verdict")


def _place_in_class(score: Tensor, label: Tensor) -> Tensor:
    """(n,) from 0 for the lowest score of a class to 1 for its highest."""
    place = torch.zeros(len(score))
    for c in torch.unique(label).tolist():
        rows = (label == c).nonzero().flatten()
        order = rows[score[rows].argsort(stable=True)]
        place[order] = torch.linspace(0, 1, len(rows))
    return place
