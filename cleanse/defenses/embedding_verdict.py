"""The verdict of ``knn``, ``energy`` and ``knn_energy`` on an embedding that one has already."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from cleanse.defenses.contrastive_filter import ContrastiveFilter
from cleanse.verdict import Verdict

if TYPE_CHECKING:
    import numpy as np

Vote = Literal["knn", "energy", "knn_energy"]


def verdict_from_embedding(
    features: "Tensor | np.ndarray",
    labels: "Tensor | np.ndarray",
    method: Vote = "knn",
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    k: int | None = None,
    temperature: float = 0.5,
    percentile: float = 80.0,
) -> Verdict:
    """What the recipes ``knn``, ``energy`` and ``knn_energy`` make of an embedding that one has already.

    Wang et al. 2022, arXiv 2210.10272, Algorithm 1 without its training. The encoder should not have
    seen the labels: one that was trained with them has learned the attack, too.

    Args:
        features: (n, d) embeddings, one row per image; float, of any length, on any device.
        labels: (n,) classes from 0; -1 where an image has none (it is dropped, with "no label").
        method: ``knn``, ``energy``, or ``knn_energy`` for what both agree on.
        ids: a name for each image; None for the index as text.
        classes: class names, for the reasons; None for the numbers.
        k: neighbors; None for half the mean class size.
        temperature: of the energies.
        percentile: lambda; rejected images more certain than this percentile of the accepted ones are relabeled.

    Returns:
        One row per image; the score is the margin of the best other class over the given one, in votes or in energy
        (``knn_energy``: the mean of both ranks).

    Raises:
        ValueError: an argument out of range, rows that do not match, or an embedding with NaN or zero rows.

    >>> features = torch.tensor([[4.0, 1.0], [5.0, 1.0], [4.0, 2.0], [5.0, 2.0], [1.0, 5.0], [2.0, 5.0], [1.0, 4.0]])
    >>> verdict = verdict_from_embedding(features, torch.tensor([0, 0, 0, 1, 1, 1, 1]), k=2, classes=["cat", "dog"])
    >>> verdict, verdict.reason[3]
    (Verdict(7 images: 5 kept, 0 relabeled, 2 dropped), 'does not look like its class')
    """
    if method not in get_args(Vote):
        raise ValueError(f"method is one of {', '.join(get_args(Vote))}, not {method!r}")
    try:
        embedding, label = torch.as_tensor(features).detach(), torch.as_tensor(labels)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "features and labels are arrays of numbers; np.unique(names, return_inverse=True) makes numbers of names"
        ) from error
    if embedding.ndim != 2 or label.shape != embedding.shape[:1]:
        shapes = f"{tuple(embedding.shape)} and {tuple(label.shape)}"
        raise ValueError(f"features are (n, d) and labels (n,), one for each row, not {shapes}")
    if label.is_floating_point() or label.dtype == torch.bool or (len(label) and int(label.min()) < -1):
        raise ValueError("labels are whole numbers, classes from 0 and -1 where there is none")
    label = label.cpu().long()
    judged = label >= 0
    if not judged.any():
        raise ValueError("labels: no image has one, so that there is nothing to judge")
    if not embedding.is_floating_point():
        embedding = embedding.float()
    names = [str(c) for c in range(int(label.max()) + 1)] if classes is None else classes
    if int(label.max()) >= len(names):
        raise ValueError(f"classes has {len(names)} names, but labels go up to {int(label.max())}")
    name_of = [str(i) for i in range(len(label))] if ids is None else ids
    if len(name_of) != len(label):
        raise ValueError(f"ids has {len(name_of)} names for {len(label)} images: give one for each")
    recipe = ContrastiveFilter(method=method, k=k, temperature=temperature, percentile=percentile)
    return recipe.verdict(embedding, label, name_of, names)
