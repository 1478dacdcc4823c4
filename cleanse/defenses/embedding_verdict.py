"""The verdict on labeled images from their embedding alone: accept, relabel or drop (paper 002, Algorithm 1)."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from cleanse.functional import Relabeling, combine, energy_scores, knn_scores, margin, relabel_confident
from cleanse.verdict import Verdict

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("cleanse")

Vote = Literal["knn", "energy", "knn_energy"]
TITLES: dict[str, str] = {"knn": "kNN", "energy": "Energy", "knn_energy": "kNN_Energy"}


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

    Wang, Karami et al., arXiv 2210.10272 (paper 002), Algorithm 1 without its training. The encoder should not have
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
    if method not in TITLES:
        raise ValueError(f"method is one of {', '.join(TITLES)}, not {method!r}")
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
    device = embedding.device
    found, score = judge(embedding[judged.to(device)], label[judged].to(device), method, k, temperature, percentile)
    return as_verdict(name_of, label, judged, Relabeling(*(column.cpu() for column in found)), score.cpu(), names)


def judge(
    embedding: Tensor, label: Tensor, method: Vote, k: int | None, temperature: float, percentile: float
) -> tuple[Relabeling, Tensor]:
    """What becomes of n labeled images, and how suspicious each is (n,)."""
    count = label.bincount()
    count = count[count > 0]
    if count.max() > 2 * count.min():
        log.warning(
            "classes have %d to %d images: votes and energies then favor the large ones", count.min(), count.max()
        )
    results, scores = [], []
    if method in ("knn", "knn_energy"):
        voted, share = knn_scores(embedding, label, k)
        confidence = share.gather(1, voted[:, None])[:, 0]
        results.append(relabel_confident(label, voted, confidence, percentile))
        scores.append(margin(share, label))
    if method in ("energy", "knn_energy"):
        energy = energy_scores(embedding, label, temperature)
        results.append(relabel_confident(label, energy.argmax(1), energy.amax(1).float(), percentile))
        scores.append(margin(energy, label))
    found = results[0] if len(results) == 1 else combine(*results)
    log.info(
        "%s accepts %d of %d images; of the others, %d are certain enough to be relabeled",
        TITLES[method], int(found.accepted.sum()), len(label), int(found.relabeled.sum()),
    )  # fmt: skip
    return found, scores[0] if len(scores) == 1 else torch.stack([_rank(s) for s in scores]).mean(0)


def as_verdict(
    id: Sequence[str],
    label: Tensor,
    judged: Tensor,
    found: Relabeling,
    score: Tensor,
    classes: Sequence[str],
    filter: bool = True,
    relabel: bool = True,
) -> Verdict:
    """The partition of the judged images as a verdict on all, with the ablations of Table 3."""
    relabeled = found.relabeled & relabel
    new_label = torch.where(relabeled, found.label, label[judged])
    if filter:
        new_label = torch.where(found.accepted | relabeled, new_label, -1)
    reasons = [
        "" if accepted else f"looks like {classes[new]!a}" if moved else "does not look like its class"
        for accepted, moved, new in zip(found.accepted.tolist(), relabeled.tolist(), new_label.tolist(), strict=True)
    ]
    return Verdict.of_labeled(id, label, judged, new_label, score, reasons)


def _rank(score: Tensor) -> Tensor:
    """(n,) places from 0 to 1, ties sharing one."""
    _, place, count = torch.unique(score, return_inverse=True, return_counts=True)
    middle: Tensor = count.cumsum(0) - (count - 1) / 2 - 1
    return (middle / max(1, len(score) - 1)).float()[place]
