"""The oracle: train on the clean images only, which nobody can do who does not know the attack."""

from collections.abc import Sequence

import torch

from cleanse.data.base import Truth
from cleanse.defenses.base import OracleDefense, Outcome
from cleanse.engine.runner import Runner
from cleanse.modules.base import NetworkFactory
from cleanse.networks import PreActResNet18
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


class Oracle(OracleDefense):
    """Drop exactly the poisoned images (covers have their true label and stay). Uses the truth; an upper bound.

    Args:
        network: builds the network from (in_channels, num_classes).
        epochs: of the training.
        lr, momentum, weight_decay: of SGD.
        milestones: epochs at which the learning rate is multiplied by ``gamma``.
        gamma: see ``milestones``.
    """

    def __init__(
        self,
        network: NetworkFactory = PreActResNet18,
        epochs: int = 100,
        lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        milestones: Sequence[int] = (75, 90),
        gamma: float = 0.1,
    ) -> None:
        super().__init__(network, epochs, lr, momentum, weight_decay, milestones, gamma)

    def stages(self) -> int:
        return 1

    def cleanse(self, train: TrainingView, run: Runner, truth: Truth) -> Outcome:  # type: ignore[override]
        verdict = oracle_verdict(train, truth)
        return Outcome(verdict, self.classify(train.with_verdict(verdict), run))


def oracle_verdict(train: TrainingView, truth: Truth) -> Verdict:
    """Keep what is not poisoned; the truth as a verdict."""
    reasons = tuple("poisoned (truth)" if p else "" for p in truth.poisoned.tolist())
    return Verdict.keep_mask(train.id, train.label, ~truth.poisoned, truth.poisoned.to(torch.float32), reasons)
