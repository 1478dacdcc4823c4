"""No defense: train on everything as it is given."""

from collections.abc import Sequence

from cleanse.defenses.base import Defense, Outcome
from cleanse.engine.runner import Runner
from cleanse.modules.base import NetworkFactory
from cleanse.networks import PreActResNet18
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


class NoDefense(Defense):
    """Keep every image and train on it: what happens without `cleanse`.

    The defaults are the final training of ISPL (paper 004), so that the two share their stage.

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

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        verdict = Verdict.keep_all(train.id, train.label)
        return Outcome(verdict, self.classify(train.with_verdict(verdict), run))
