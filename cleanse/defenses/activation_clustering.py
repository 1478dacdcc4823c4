"""Activation clustering: the poison of a class forms a cluster of its own in a network that has learned the attack."""

import logging
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cleanse.defenses.base import Defense, Outcome
from cleanse.defenses.latent_features import latent_features, plan_latent_features
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.functional import ClusterRule, activation_clusters, is_suspicious, reclassified_elsewhere
from cleanse.utils.check import at_least_one
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")

MOST_NAMED = 20
"""Classes up to which each has a line in the log; of more, the summary names those that stand out."""


class ActivationClustering(Defense):
    """Chen et al. 2018, arXiv 1811.03728.

    A network is trained on the data as they are. The last hidden activations of the images of each given label are
    reduced to a few dimensions and split in two by k-means; a smaller cluster that looks planted is dropped, and a
    classifier is trained on the rest. It works as long as the poison is the smaller part of its class.

    The paper's text was not at hand: thresholds are those of the authors' released code, the Adversarial Robustness
    Toolbox, whose analysis by distances is left out. What is open: D242 to D244.

    Args:
        dims: that the activations are reduced to.
        rule: a cluster is suspicious by its share of the class (``relative_size``), if it is also set apart
            (``silhouette``), or for being the ``smaller`` one, which flags a cluster of every class.
        most: a smaller share of the class is suspicious.
        least_silhouette: a larger mean silhouette is.
        reclassify: T of exclusionary reclassification; a network trained without the suspicious clusters has the last
            word on each. None leaves it out.
        relabel: give a cluster that is reclassified the class it seems to come from, instead of dropping it.
        **kwargs: the other arguments of `Defense`; both classifiers are trained alike.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        dims: int = 10,
        rule: ClusterRule = "relative_size",
        most: float = 0.35,
        least_silhouette: float = 0.10,
        reclassify: float | None = None,
        relabel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least_one(dims=dims)
        if not 0 < most <= 0.5:
            raise ValueError(f"most is the share of the smaller cluster, in (0, 0.5], not {most}")
        if reclassify is not None and reclassify <= 0:
            raise ValueError(f"reclassify is a ratio above 0 (1), or null for none, not {reclassify}")
        if relabel and reclassify is None:
            raise ValueError("relabel needs reclassify, which finds the class that a cluster comes from: set it to 1")
        self.dims = dims
        self.rule: ClusterRule = rule
        self.most = most
        self.least_silhouette = least_silhouette
        self.reclassify = reclassify
        self.relabel = relabel

    def plan_verdict(self, train: TrainingView) -> list[Planned]:
        stages = plan_latent_features(self, train)
        if self.reclassify is not None:
            build = self.final_classifier(train)
            stages.append(Planned("without_clusters", build, train.subset(train.labeled), self.epochs, most=True))
            stages.append(Planned("reclassify", build, train.plain()))
        return stages

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        # the last hidden activations of a network trained on the data as they are
        features = latent_features(self, train, run)
        seed = int(torch.randint(2**31, (1,), generator=run.generator("clusters", train)))
        score, new_label = torch.zeros(len(train)), train.label.clone()
        suspicious: dict[int, Tensor] = {}
        for c in range(train.num_classes):
            # for each label: reduce, cluster, analyze (D242: classes too small are left alone)
            rows = (train.label == c).nonzero().flatten()
            if len(rows) < max(3, min(self.dims, features.shape[1])):
                continue
            found = activation_clusters(features[rows], self.dims, seed)
            score[rows] = found.score.float()
            if len(train.classes) <= MOST_NAMED:
                log.info(
                    "class %a: %.1f %% of its %d images form the smaller cluster, silhouette %.2f",
                    train.classes[c], 100 * found.share, len(rows), found.silhouette,
                )  # fmt: skip
            if is_suspicious(found, self.rule, self.most, self.least_silhouette):
                suspicious[c] = rows[found.smaller]
        if suspicious and self.reclassify is not None:
            origin = self._reclassify(train, suspicious, run, self.reclassify)
        else:
            origin = dict.fromkeys(suspicious, -1)
        for c, source in origin.items():
            new_label[suspicious[c]] = source if self.relabel else -1
        dropped = (new_label < 0) & train.labeled
        reasons = ["no label" if y < 0 else "" if y == new else "in the smaller cluster of its class"
                   for y, new in zip(train.label.tolist(), new_label.tolist(), strict=True)]  # fmt: skip
        verdict = Verdict.from_labels(train.id, train.label, new_label, dropped | ~train.labeled, score, reasons)
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))

    def _reclassify(
        self, train: TrainingView, suspicious: dict[int, Tensor], run: Runner, threshold: float
    ) -> dict[int, int]:
        """The poisoned ones of the suspicious clusters, by class, with the class that each comes from."""
        left = train.labeled.clone()
        left[torch.cat(list(suspicious.values()))] = False
        if not left.any():
            raise ValueError("every image is in a suspicious cluster, so that no network can be trained without them")
        model = run.fit("without_clusters", self.final_classifier(train), train.subset(left), max_epochs=self.epochs)
        prediction = run.predict("reclassify", model, train.plain()).prediction
        found = {c: reclassified_elsewhere(prediction[rows], c, threshold) for c, rows in suspicious.items()}
        return {c: source for c, source in found.items() if source is not None}
