"""Spectral signatures: poison lies far out along the direction in which the features of its class vary most."""

import logging
from functools import partial
from typing import Any

import torch

from cleanse.defenses.base import Defense, Outcome
from cleanse.defenses.latent_features import latent_features, plan_latent_features
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.functional import spectral_count, spectral_scores
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")


class SpectralSignatures(Defense):
    """Tran, Li, Madry 2018, arXiv 1811.00636.

    A network is trained on the data as they are. The features of the images of each given label are centered and
    projected on their top right singular vector; the images with the largest squared projections are dropped, and a
    classifier is trained on the rest.

    How many are dropped is 1.5 times as many as are poisoned, which somebody has to know: with ``poison_rate`` results
    are marked. Without it the same part of every class is dropped, poisoned or not, so that the false positive rate is
    about that part; the default is that of the authors' released code. What is open: D242, D245, D246.

    Args:
        poison_rate: poisoned images / all training images, in (0, 1]; of each class 1.5 times this number of images is
            dropped, and at most half. None where nobody knows it.
        fraction: of every class that is dropped without ``poison_rate``, in (0, 1).
        target: the attacked class, where it is known: only its images are dropped. None for all classes.
        centered: score the centered features, as the paper's Algorithm 1; False as the released code.
        **kwargs: the other arguments of `Defense`; both classifiers are trained alike.

    Raises:
        ValueError: an argument out of range; while it runs, a target that is no class.
    """

    def __init__(
        self,
        poison_rate: float | None = None,
        fraction: float = 0.15,
        target: int | None = None,
        centered: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if poison_rate is not None and not 0 < poison_rate <= 1:
            raise ValueError(
                f"poison_rate is the part of all training images that is poisoned, in (0, 1], not {poison_rate}; null"
                " where nobody knows it"
            )
        if not 0 < fraction < 1:
            raise ValueError(f"fraction is the part of every class to drop, in (0, 1), not {fraction}")
        self.poison_rate = poison_rate
        self.fraction = fraction
        self.target = target
        self.centered = centered

    def given(self, reserved: int | None = None) -> tuple[str, ...]:
        told = {"rate": self.poison_rate, "target": self.target}
        return tuple(f"{name}:{value:g}" for name, value in told.items() if value is not None)

    def plan_verdict(self, train: TrainingView) -> list[Planned]:
        return plan_latent_features(self, train)

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        if self.target is not None and not 0 <= self.target < train.num_classes:
            raise ValueError(f"target is a class, 0 to {train.num_classes - 1}, not {self.target}")
        # train on the data as they are, and take the representation R of every image
        features = latent_features(self, train, run)
        score, keep = torch.zeros(len(train)), train.labeled.clone()
        for c in range(train.num_classes):
            rows = (train.label == c).nonzero().flatten()
            if not len(rows):
                continue
            # for each label y: center, take the top right singular vector v, and score by ((R - mean) v)^2
            tau = spectral_scores(features[rows], self.centered)
            score[rows] = (tau / tau.mean().clamp_min(1e-12)).float()  # without a unit, to compare classes (D246)
            # remove the images with the top 1.5 epsilon scores
            if self.target is None or self.target == c:
                count = self._count(len(rows), int(train.labeled.sum()))
                keep[rows[tau.argsort(descending=True, stable=True)[:count]]] = False
        log.info("%d of %d images are dropped for their spectral score", int((train.labeled & ~keep).sum()), len(train))
        reasons = ["no label" if y < 0 else "" if k else "far out along the main direction of its class"
                   for y, k in zip(train.label.tolist(), keep.tolist(), strict=True)]  # fmt: skip
        verdict = Verdict.keep_mask(train.id, train.label, keep, score, reasons)
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))

    def _count(self, size: int, images: int) -> int:
        if self.poison_rate is None:
            return int(self.fraction * size)
        return spectral_count(size, self.poison_rate * images)
