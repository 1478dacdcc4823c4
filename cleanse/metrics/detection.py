"""Detection: how well a verdict tells poison from clean images."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from cleanse.metrics.share import check_same_length, share

_CLEAN, _POISON, _COVER = 0, 1, 2  # the role codes of a poisoned training set


def detection_rates(flagged: Tensor, score: Tensor, role: Tensor) -> dict[str, Tensor]:
    """What share of the poison and of the rest a verdict flags, and how well its scores order them.

    Cover images (trigger, true label) are neither poison nor clean: they count in ``cover_flagged`` only.

    Args:
        flagged: (n,) bool, relabeled or dropped.
        score: (n,) float, higher is more suspicious; only the order matters, infinite is allowed.
        role: (n,) integer, 0 clean, 1 poison, 2 cover.

    Returns:
        Scalars by name, NaN where they do not apply: ``tpr``, flagged poison / poison; ``fpr``, flagged clean /
        clean; ``auroc``, of the scores of poison against clean images (ties count half); ``cover_flagged``, flagged
        covers / covers.

    Raises:
        ValueError: columns of different lengths, another role, or a NaN score.

    >>> rates = detection_rates(
    ...     torch.tensor([True, False, True, False]), torch.tensor([0.9, 0.3, 0.5, 0.1]), torch.tensor([1, 1, 0, 0])
    ... )
    >>> {name: rate.item() for name, rate in rates.items()}
    {'tpr': 0.5, 'fpr': 0.5, 'auroc': 0.75, 'cover_flagged': nan}
    """
    check_same_length(flagged=flagged, score=score, role=role)
    if not torch.isin(role, torch.tensor([_CLEAN, _POISON, _COVER], device=role.device, dtype=role.dtype)).all():
        raise ValueError("role is 0 (clean), 1 (poison) or 2 (cover)")
    if score.isnan().any():
        raise ValueError(f"{int(score.isnan().sum())} scores are NaN: a suspicion needs a number")
    flagged = flagged.bool()
    clean, poison = role == _CLEAN, role == _POISON
    return {
        "tpr": share(flagged, poison),
        "fpr": share(flagged, clean),
        "auroc": _auroc(score[clean | poison], poison[clean | poison]),
        "cover_flagged": share(flagged, role == _COVER),
    }


def _auroc(score: Tensor, poison: Tensor) -> Tensor:
    """AUROC of the ranks: torchmetrics sends scores outside [0, 1] through a sigmoid, which makes large ones equal."""
    if poison.all() or not poison.any():
        return torch.tensor(float("nan"), device=score.device)
    _, rank = torch.unique(score, return_inverse=True)
    area: Tensor = binary_auroc(rank / rank.max().clamp(min=1), poison.long())
    return area.clamp(max=1)  # a sum of many float32 can be 1.0000001
