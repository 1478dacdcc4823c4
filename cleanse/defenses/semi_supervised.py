"""Self-training without an augmentation against the trigger: the baseline of paper 000 (semi_supervised)."""

from collections.abc import Sequence
from typing import Literal

from cleanse.defenses.self_training import SelfTraining
from cleanse.modules.base import NetworkFactory
from cleanse.networks import VGG16BN


class SemiSupervised(SelfTraining):
    """Algorithm 1 of paper 000 with T = identity (SPEC B.3.24): the model labels all images as it sees them.

    Args:
        network, label_view, learn_from, iterations, fraction, relabel_last, teacher_epochs, iteration_epochs,
            iteration_milestones, epochs, lr, momentum, weight_decay, milestones, gamma: see `SelfTraining`.

    Raises:
        ValueError: as for `SelfTraining`.
    """

    def __init__(
        self,
        network: NetworkFactory = VGG16BN,
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
        super().__init__(
            network, None, label_view, learn_from, iterations, fraction, relabel_last, teacher_epochs, iteration_epochs,
            iteration_milestones, epochs, lr, momentum, weight_decay, milestones, gamma,
        )  # fmt: skip

    @property
    def title(self) -> str:
        return "Semi-Supervised"
