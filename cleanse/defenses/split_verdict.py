"""The verdict of a recipe that trusts some labels and forgets the others."""

import torch
from torch import Tensor

from cleanse.verdict import Verdict
from cleanse.views import TrainingView


def split_verdict(train: TrainingView, trusted: Tensor, score: Tensor) -> Verdict:
    """Keep the images whose label is trusted, and drop the others.

    Args:
        train: n images; those without a given label are dropped.
        trusted: (n,) bool.
        score: (n,) float, higher is more suspicious.
    """
    given = train.labeled
    keep = trusted.cpu()[given]
    reasons = ["" if kept else "its label is not trusted" for kept in keep.tolist()]
    label = torch.where(keep, train.label[given], -1)
    return Verdict.of_labeled(train.id, train.label, given, label, score.cpu()[given], reasons)
