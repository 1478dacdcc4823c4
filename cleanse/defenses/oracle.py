"""The oracle: train on the clean images only, which nobody can do who does not know the attack."""

from functools import partial

import torch

from cleanse.data.base import Truth
from cleanse.defenses.base import OracleDefense, Outcome
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


class Oracle(OracleDefense):
    """Drop exactly the poisoned images (covers have their true label and stay). Uses the truth; an upper bound."""

    def plan_verdict(self, train: TrainingView) -> list[Planned]:
        return []

    def cleanse(self, train: TrainingView, run: Runner, truth: Truth) -> Outcome:  # type: ignore[override]
        verdict = oracle_verdict(train, truth)
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))


def oracle_verdict(train: TrainingView, truth: Truth) -> Verdict:
    """Keep what is not poisoned; the truth as a verdict."""
    reasons = tuple("poisoned (truth)" if p else "" for p in truth.poisoned.tolist())
    return Verdict.keep_mask(train.id, train.label, ~truth.poisoned, truth.poisoned.to(torch.float32), reasons)
