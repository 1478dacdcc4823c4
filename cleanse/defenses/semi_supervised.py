"""Self-training without an augmentation against the trigger: the baseline of Pal et al. 2023."""

from typing import Any

from cleanse.defenses.self_training import SelfTraining


class SemiSupervised(SelfTraining):
    """Algorithm 1 of Pal, Wang, Yao, Liu 2023 without its augmentation: the model labels images as it sees them.

    Args:
        **kwargs: the arguments of `SelfTraining` but for ``augmentation``.

    Raises:
        ValueError: as for `SelfTraining`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(augmentation=None, **kwargs)

    @property
    def title(self) -> str:
        return "Semi-Supervised"
