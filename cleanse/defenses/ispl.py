"""ISPL and boosting: split a training set into compatible components, and keep what their voters agree on."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.defenses.base import Defense, Outcome
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.functional import (
    Profile,
    add_back,
    component_fraction,
    keep_by_agreement,
    keep_by_vote,
    start_agreement,
    update_agreement,
    vote_disagreement,
)
from cleanse.modules.classifier import warm_start
from cleanse.modules.ispl_round import ISPLRound, round_epochs, round_passes
from cleanse.utils.check import at_least_one
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")
Value = TypeVar("Value")

EXCHANGES = 20
"""Rounds of self-training in the released code (D124)."""
FEW = 0.5
"""Voters that name fewer of the given labels than this have learned too little to be trusted (D131)."""


class ISPL(Defense):
    """Inverse Self-Paced Learning with boosting.

    Jin, Sun, Rinard 2021 (arXiv 2105.03692 v1). Each pass splits the training set into components of low expansion
    error, round by round (Algorithm 2, in `ISPLRound`); a fresh network is fitted to each component and votes on every
    image; an image is kept when the modal vote is its label (Algorithm 1, by image as in appendix B.1). A self-training
    step then adds (``v1``) or exchanges (``iclr23``) images, and a classifier is trained on what is kept. It never
    relabels.

    Departures from the paper: the expansion draws without replacement (D110), the losses of all active images are
    smoothed (D112), the vote is by image and unweighted (D120), a voter has as many epochs as its round (D119), and for
    images of a class of fewer images than rounds only those vote that know the class (D130).

    Args:
        profile: ``v1`` is the paper, ``iclr23`` the code that the authors released in 2023.
        passes: how often the whole set is split; the paper's 3.
        rounds: components of a pass; the paper's 8.
        expansion: alpha, the part of the current subset that an iteration trains on, in (0, 1]; the paper's 1/4.
        momentum_loss: eta, of the smoothed losses, in [0, 1); the paper's 0.9.
        weak_batch_size: of the rounds and their voters, over all processes. None: what gives as many steps in an epoch
            as batches of 128 do on 50,000 images, but not less than 8 nor more than the data's (D123).
        weak_lr: of the rounds and their voters, constant; None for ``lr``.
        epochs_per_iteration: of the first iteration and of each of the others; None for the profile's: (2, 2), as in
            the paper, or (8, 4).
        voter_epochs: of each voter; None for the profile's: as many as the iterations have (ours, D119), or 40.
        self_training_epochs: None for the profile's: 40 at once, as in the paper, or 5 in each of 20 rounds.
        min_active: a pass stops when no more images are left; None for the profile's: 0, or 4 % of all images, the
            2,000 of CIFAR-10 (D125).
        eval_view: measure losses and votes on images as augmented in training (``train_aug``) or ``plain`` (D122).
        epochs: of the final training; None for the profile's: the paper's 100, or 200.
        milestones: epochs of the final training at which the learning rate is multiplied by ``gamma``; None for the
            profile's: the paper's (75, 90), or (100, 150, 180).
        **kwargs: the other arguments of `Defense`; its ``lr`` (but for ``weak_lr``), ``momentum`` and ``weight_decay``
            are those of all trainings.

    Raises:
        ValueError: an argument out of range; while it runs, too few images, or voters that agree with no label.
    """

    def __init__(
        self,
        profile: Profile = "v1",
        passes: int = 3,
        rounds: int = 8,
        expansion: float = 0.25,
        momentum_loss: float = 0.9,
        weak_batch_size: int | None = None,
        weak_lr: float | None = None,
        epochs_per_iteration: tuple[int, int] | None = None,
        voter_epochs: int | None = None,
        self_training_epochs: int | None = None,
        min_active: int | None = None,
        eval_view: Literal["train_aug", "plain"] = "train_aug",
        epochs: int | None = None,
        milestones: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        at_least_one(
            passes=passes, rounds=rounds, weak_batch_size=weak_batch_size, voter_epochs=voter_epochs,
            self_training_epochs=self_training_epochs, epochs=epochs,
        )  # fmt: skip
        if epochs_per_iteration is not None and min(epochs_per_iteration) < 1:
            raise ValueError(f"epochs_per_iteration are two numbers, at least 1, not {tuple(epochs_per_iteration)}")
        if not 0 < expansion <= 1:
            raise ValueError(f"expansion is a share of the images, in (0, 1], not {expansion}")
        if not 0 <= momentum_loss < 1:
            raise ValueError(f"momentum_loss is in [0, 1), not {momentum_loss}")
        if weak_lr is not None and not weak_lr > 0:
            raise ValueError(f"weak_lr is above 0, not {weak_lr}")
        if min_active is not None and min_active < 0:
            raise ValueError(f"min_active is a number of images, 0 or more, not {min_active}")
        paper = profile == "v1"
        super().__init__(
            epochs=_given(epochs, 100 if paper else 200),
            milestones=_given(milestones, (75, 90) if paper else (100, 150, 180)),
            **kwargs,
        )
        self.profile = profile
        self.passes = passes
        self.rounds = rounds
        self.expansion = expansion
        self.momentum_loss = momentum_loss
        self.weak_batch_size = weak_batch_size
        self.weak_lr = weak_lr
        self.epochs_per_iteration = _given(epochs_per_iteration, (2, 2) if paper else (8, 4))
        self.voter_epochs = _given(voter_epochs, None if paper else 40)
        self.self_training_epochs = _given(self_training_epochs, 40 if paper else 5)
        self.min_active = min_active
        self.eval_view = eval_view

    def plan_verdict(self, train: TrainingView) -> list[Planned]:
        """Of a pass that is stopped early, the rounds that are left out are listed too."""
        train = train.subset(train.labeled)
        weak = train.with_batch_size(self._weak_batch_size(train))
        stages = []
        for p in range(1, self.passes + 1):
            active = len(train)
            for i in range(1, self.rounds + 1):
                if not active:
                    break
                fraction = component_fraction(i, active, len(train), self.rounds, self.profile)
                build = self._round(torch.ones(len(train), dtype=torch.bool), fraction, i, train)
                epochs = round_epochs(fraction, self.epochs_per_iteration, self.voter_epochs)[1]
                passes = round_passes(
                    fraction, active, self.epochs_per_iteration, self.voter_epochs, self.profile, self.expansion
                )
                stages += [
                    Planned(f"round-{p}.{i}", build, weak, epochs, passes=passes),
                    Planned(f"votes-{p}.{i}", build, weak),
                ]
                active -= round(fraction * active)
        model = self.classifier(train)
        for number in [""] if self.profile == "v1" else [f"-{i}" for i in range(1, EXCHANGES + 1)]:
            stages.append(Planned(f"self_training{number}", model, train, self.self_training_epochs, most=True))
            stages.append(Planned(f"agreement{number}", model, train))
        return stages

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        everything, train = train, train.subset(train.labeled)  # D128
        weak = train.with_batch_size(self._weak_batch_size(train))
        least = _given(self.min_active, 0 if self.profile == "v1" else round(0.04 * len(train)))
        votes, component = [], []
        for number in range(1, self.passes + 1):
            # Section 4.2: find the subset of least expansion error, take it out of the training set, and so on.
            active = torch.ones(len(train), dtype=torch.bool)
            for i in range(1, self.rounds + 1):
                if int(active.sum()) <= least:
                    break
                # Algorithm 2: S_i, by this round's network. Algorithm 1, line 5: theta <- A(S_i), the round's voter.
                found = self._find(f"round-{number}.{i}", active, i, weak, run)
                component.append(found.component)
                # Lines 6 to 8: what the voter says of all components; by image (D120)
                votes.append(run.predict(f"votes-{number}.{i}", found, weak).vote)
                active = active & ~found.component
        if not votes:
            raise ValueError(f"min_active={least} stops before the first round: there are only {len(train)} images")
        vote = torch.stack(votes)
        # Lines 10 to 18: count the votes of all voters; by image, the modal one against the label (D120, D121)
        keep = keep_by_vote(
            vote, train.label, run.generator("ties", train), 1 if self.profile == "v1" else 2,
            counts=self._counting(torch.stack(component), train.label),
        )  # fmt: skip
        notes = self._report(vote, keep, train.label)
        # Appendix B.1: self-training on what was kept
        if self.profile == "v1":
            build = self.classifier(train)
            model = run.fit("self_training", build, train.subset(keep), max_epochs=self.self_training_epochs)
            keep = add_back(keep, run.predict("agreement", model, train).prediction, train.label)
        else:
            keep = self._exchange(keep, train, run)
        # "To produce the final dataset", and to train on it
        verdict = _verdict(everything, keep, vote)
        return Outcome(verdict, partial(self.classify, everything.with_verdict(verdict), run), notes)

    def _find(self, name: str, active: Tensor, i: int, train: TrainingView, run: Runner) -> ISPLRound:
        """Round i of a pass, on the images in ``active`` (n,) bool: its component and its voter."""
        fraction = component_fraction(i, int(active.sum()), len(train), self.rounds, self.profile)
        build = self._round(active, fraction, i, train)
        epochs = round_epochs(fraction, self.epochs_per_iteration, self.voter_epochs)[1]
        return run.fit(name, build, train, max_epochs=epochs, reload_dataloaders_every_n_epochs=1)

    def _round(self, active: Tensor, fraction: float, i: int, train: TrainingView) -> "partial[ISPLRound]":
        """Builds round i of a pass."""
        return partial(
            ISPLRound, self.network, train.image_spec, active, fraction,
            first=i == 1, profile=self.profile, expansion=self.expansion, momentum_loss=self.momentum_loss,
            epochs_per_iteration=self.epochs_per_iteration, voter_epochs=self.voter_epochs,
            eval_view=self.eval_view, lr=_given(self.weak_lr, self.lr), momentum=self.momentum,
            weight_decay=self.weight_decay,
        )  # fmt: skip

    def _exchange(self, keep: Tensor, train: TrainingView, run: Runner) -> Tensor:
        """One network goes on and on; images come and go with the moving average of its agreement (D124)."""
        agreement = start_agreement(len(train))
        model: LightningModule | None = None
        for i in range(1, EXCHANGES + 1):
            build = self.classifier(train) if model is None else partial(warm_start, self.classifier(train), model)
            model = run.fit(f"self_training-{i}", build, train.subset(keep), max_epochs=self.self_training_epochs)
            prediction = run.predict(f"agreement-{i}", model, train).prediction
            agreement = update_agreement(agreement, prediction, train.label)
            keep = keep_by_agreement(agreement)
            if not keep.any():
                raise ValueError(f"self-training round {i} agrees with no label at all: train longer")
        return keep

    def _weak_batch_size(self, train: TrainingView) -> int:
        scaled = max(8, round(128 * len(train) / 50_000))
        return _given(self.weak_batch_size, min(scaled, train.batch_size))

    def _counting(self, component: Tensor, label: Tensor) -> Tensor:
        """(voters, n) bool: which votes count, all but those on classes too small for every component (D130)."""
        size = label.bincount()
        counts = torch.ones_like(component)
        for c in ((size > 0) & (size < self.rounds)).nonzero().flatten().tolist():
            counts[:, label == c] = component[:, label == c].any(1, keepdim=True)
        return counts

    def _report(self, vote: Tensor, keep: Tensor, label: Tensor) -> list[str]:
        """Say how the vote went; warn, here and in the summary, where the voters have learned too little."""
        agreement = float((vote == label).float().mean())
        log.info(
            "%d of %d images are kept by vote; on average a voter names the given label of %.0f %%",
            int(keep.sum()), len(label), 100 * agreement,
        )  # fmt: skip
        longer = (
            "train them longer (--model.voter_epochs), with smaller batches (--model.weak_batch_size) or at another "
            "rate (--model.weak_lr)"
        )
        if not keep.any():
            raise ValueError(f"the voters agree with no label at all: {longer}")
        if agreement >= FEW:
            return []
        warning = (
            f"A voter names the given label of {100 * agreement:.0f} % of the images only: the voters have learned too "
            f"little to tell poisoned images from clean ones, and this verdict is not to be trusted; {longer}."
        )
        log.warning(warning)
        return [warning]


def _given(value: Value | None, otherwise: Value) -> Value:
    """``value``, unless it is None."""
    return otherwise if value is None else value


def _verdict(train: TrainingView, keep: Tensor, vote: Tensor) -> Verdict:
    """Keep or drop the labeled images; the score is the share of voters against the label."""
    labeled = train.labeled
    label, voters = train.label[labeled], len(vote)
    score = vote_disagreement(vote, label)
    against = (score * voters).round().int().tolist()
    reasons = [
        "" if k else f"{a} of {voters} voters against its label" for k, a in zip(keep.tolist(), against, strict=True)
    ]
    return Verdict.of_labeled(train.id, train.label, labeled, torch.where(keep, label, -1), score, reasons)
