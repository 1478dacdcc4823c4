"""ISPL and boosting: split a training set into compatible components, and keep what their voters agree on."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.defenses.base import Defense, Outcome
from cleanse.engine.runner import Runner
from cleanse.functional import (
    Profile,
    add_back,
    component_fraction,
    keep_by_agreement,
    keep_by_vote,
    modal_vote,
    start_agreement,
    update_agreement,
    vote_disagreement,
)
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import warm_start
from cleanse.modules.ispl_round import ISPLRound, round_epochs
from cleanse.networks import PreActResNet18
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")


class ISPL(Defense):
    """Inverse Self-Paced Learning with boosting (paper 004).

    Jin, Sun and Rinard, arXiv 2105.03692 v1. Each pass splits the training set into components of low expansion error,
    round by round; a fresh network is fitted to each component and votes on every image; an image is kept when the
    modal vote is its label. A self-training step then adds (v1) or exchanges (iclr23) images, and a classifier is
    trained on what is kept. It never relabels.

    Departures from the paper (SPEC A.3): the expansion draws without replacement; all active losses are smoothed; the
    vote is per image and unweighted (appendix B.1, not Algorithm 1); a voter gets as many epochs as the round had
    (the paper does not say).

    Args:
        network: builds the network of the weak learners and the final one from (in_channels, num_classes).
        profile: ``v1`` is the paper, ``iclr23`` the code that the authors released.
        passes: how often the whole set is split (the code's bags).
        rounds: components per pass.
        expansion: alpha, the part of the current subset that an iteration trains on, in (0, 1].
        momentum_loss: eta, of the smoothed losses, in [0, 1).
        weak_batch_size: of the rounds and their voters, over all processes. None: what gives as many steps per epoch as
            batches of 128 (the code's) do on CIFAR-10, but not less than 8 nor more than the data's; the paper does
            not say, and on a small set voters with fewer steps learn nothing.
        epochs_per_iteration: of the first iteration and of the others; None for the profile's (2, 2) or (8, 4).
        voter_epochs: of each voter; None for the profile's (as many as the iterations had, or 40).
        self_training_epochs: None for the profile's: 40 at once, or 5 in each of 20 rounds.
        min_active: a pass stops when so few images are left; None for the profile's 0 or 2000.
        eval_view: measure losses and votes on images as augmented in training (``train_aug``) or ``plain``.
        epochs: of the final training; None for the profile's 100 or 200.
        lr, momentum, weight_decay: of SGD, everywhere.
        milestones: epochs of the final training at which the learning rate is multiplied by ``gamma``; None for the
            profile's (75, 90) or (100, 150, 180).
        gamma: see ``milestones``.

    Raises:
        ValueError: for arguments out of range.
    """

    def __init__(
        self,
        network: NetworkFactory = PreActResNet18,
        profile: Profile = "v1",
        passes: int = 3,
        rounds: int = 8,
        expansion: float = 0.25,
        momentum_loss: float = 0.9,
        weak_batch_size: int | None = None,
        epochs_per_iteration: tuple[int, int] | None = None,
        voter_epochs: int | None = None,
        self_training_epochs: int | None = None,
        min_active: int | None = None,
        eval_view: Literal["train_aug", "plain"] = "train_aug",
        epochs: int | None = None,
        lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        milestones: Sequence[int] | None = None,
        gamma: float = 0.1,
    ) -> None:
        if profile not in ("v1", "iclr23"):
            raise ValueError(f"profile is v1 (the paper) or iclr23 (the released code), not {profile!r}")
        paper = profile == "v1"
        steps = ((75, 90) if paper else (100, 150, 180)) if milestones is None else milestones
        super().__init__(network, epochs or (100 if paper else 200), lr, momentum, weight_decay, steps, gamma)
        if passes < 1 or rounds < 1:
            raise ValueError(f"passes and rounds are at least 1, not {passes} and {rounds}")
        if not 0 < expansion <= 1 or not 0 <= momentum_loss < 1:
            raise ValueError(f"expansion is in (0, 1] and momentum_loss in [0, 1), not {expansion} and {momentum_loss}")
        self.profile, self.passes, self.rounds = profile, passes, rounds
        self.expansion, self.momentum_loss, self.eval_view = expansion, momentum_loss, eval_view
        self.weak_batch_size = weak_batch_size
        self.epochs_per_iteration = epochs_per_iteration or ((2, 2) if paper else (8, 4))
        self.voter_epochs = voter_epochs or (None if paper else 40)
        self.self_training_epochs = self_training_epochs or (40 if paper else 5)
        self.min_active = (0 if paper else 2000) if min_active is None else min_active

    def stages(self) -> int:
        return 2 * self.passes * self.rounds + (2 if self.profile == "v1" else 40) + 1

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        labeled, everything = train.labeled, train
        train = train.subset(labeled)
        scaled = max(8, round(128 * len(train) / 50_000))
        weak = train.with_batch_size(self.weak_batch_size or min(scaled, train.batch_size))
        votes = torch.stack([vote for i in range(self.passes) for vote in self._pass(i + 1, weak, run)])
        keep = keep_by_vote(votes, train.label, run.generator("ties", train), 1 if self.profile == "v1" else 2)
        log.info("%d of %d images are kept by vote", int(keep.sum()), len(train))
        if not keep.any():
            raise ValueError(
                "the voters agree with no label at all: train longer, or with smaller batches (--data.batch_size)"
            )
        keep = self._add_back(keep, train, run) if self.profile == "v1" else self._exchange(keep, train, run)
        verdict = _verdict(everything, labeled, keep, votes)
        return Outcome(verdict, partial(self.classify, everything.with_verdict(verdict), run))

    def _pass(self, number: int, train: TrainingView, run: Runner) -> list[Tensor]:
        """Split the set once; the votes (n,) of each component's voter."""
        active, votes, reused = torch.ones(len(train), dtype=torch.bool), [], []
        for i in range(1, self.rounds + 1):
            left = int(active.sum())
            if left <= self.min_active:
                break
            fraction = component_fraction(i, left, len(train), self.rounds, self.profile)
            build = partial(
                ISPLRound, self.network, train.channels, train.num_classes, train.mean, train.std, active, fraction,
                first=i == 1, profile=self.profile, expansion=self.expansion, momentum_loss=self.momentum_loss,
                epochs_per_iteration=self.epochs_per_iteration, voter_epochs=self.voter_epochs,
                eval_view=self.eval_view, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay,
            )  # fmt: skip
            epochs = round_epochs(fraction, self.epochs_per_iteration, self.voter_epochs)[1]
            found = run.fit(f"round-{number}.{i}", build, train, max_epochs=epochs, reload_dataloaders_every_n_epochs=1)
            votes.append(run.predict(f"votes-{number}.{i}", found, train).vote)
            reused.append(found.alternative if (found.alternative >= 0).all() else votes[-1])
            active = active & ~found.component
        if not votes:
            only = f"there are only {len(train)} images"
            raise ValueError(f"min_active={self.min_active} stops before the first round: {only}")
        same = (modal_vote(torch.stack(votes), run.generator("reused", train))[0] == train.label).float().mean()
        other = (modal_vote(torch.stack(reused), run.generator("reused", train))[0] == train.label).float().mean()
        log.info(
            "pass %d: its voters keep %.1f %%; the rounds' own networks would keep %.1f %%",
            number,
            100 * same,
            100 * other,
        )
        return votes

    def _add_back(self, keep: Tensor, train: TrainingView, run: Runner) -> Tensor:
        """v1: a fresh network on what was kept; rejected images that it agrees with come back."""
        build = self.classifier(train)
        model = run.fit("self_training", build, train.subset(keep), max_epochs=self.self_training_epochs)
        return add_back(keep, run.predict("agreement", model, train).prediction, train.label)

    def _exchange(self, keep: Tensor, train: TrainingView, run: Runner) -> Tensor:
        """iclr23: one network goes on and on; images come and go with the moving average of its agreement."""
        agreement, model = start_agreement(len(train)), None
        for i in range(1, 21):
            build = self.classifier(train) if model is None else partial(warm_start, self.classifier(train), model)
            fitted: LightningModule = run.fit(
                f"self_training-{i}", build, train.subset(keep), max_epochs=self.self_training_epochs
            )
            prediction = run.predict(f"agreement-{i}", fitted, train).prediction
            agreement = update_agreement(agreement, prediction, train.label)
            keep, model = keep_by_agreement(agreement), fitted
            if not keep.any():
                raise ValueError(f"self-training round {i} agrees with no label at all: train longer")
        return keep


def _verdict(train: TrainingView, labeled: Tensor, keep: Tensor, votes: Tensor) -> Verdict:
    """Keep or drop; the score is the share of voters against the label."""
    label, voters = train.label[labeled], len(votes)
    score = vote_disagreement(votes, label).float()
    against = (score * voters).round().int().tolist()
    reasons = [
        "" if k else f"{a} of {voters} voters against its label" for k, a in zip(keep.tolist(), against, strict=True)
    ]
    return Verdict.of_labeled(train.id, train.label, labeled, torch.where(keep, label, -1), score, reasons)
