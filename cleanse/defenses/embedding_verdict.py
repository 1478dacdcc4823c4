"""The verdict of ``knn``, ``energy`` and ``knn_energy`` on an embedding that one has already."""

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from cleanse.defenses.contrastive_filter import ContrastiveFilter
from cleanse.defenses.lost_classes import warn_of_lost_classes
from cleanse.verdict import Verdict

if TYPE_CHECKING:
    import numpy as np

Vote = Literal["knn", "energy", "knn_energy"]


def verdict_from_embedding(
    features: Any,
    labels: Any,
    method: Vote = "knn",
    ids: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    k: int | None = None,
    temperature: float = 0.5,
    percentile: float = 80.0,
) -> Verdict:
    """What the recipes ``knn``, ``energy`` and ``knn_energy`` make of an embedding that one has already.

    Wang et al. 2022, arXiv 2210.10272, Algorithm 1 without its training. The encoder should not have seen the labels:
    one that was trained with them has learned the attack, too.

    Args:
        features: (n, d) embeddings, one row per image: a tensor on any device, an array or a data frame of numbers.
        labels: (n,) the class of each image, in the order of the rows: whole numbers, -1 where an image has none (it is
            dropped, with "no label"); or names, None where an image has none. Any tensor, array, series or list; an
            index that a series has is not looked at.
        method: ``knn``, ``energy``, or ``knn_energy`` for what both agree on.
        ids: a name for each image; None for the index as text.
        classes: class names, for the reasons; a label that is a number is a place in them. None for the labels.
        k: neighbors; None for half the mean class size.
        temperature: of the energies.
        percentile: lambda; rejected images more certain than this percentile of the accepted ones are relabeled.

    Returns:
        One row per image; the score is the margin of the best other class over the given one, in votes or in energy
        (``knn_energy``: the mean of both ranks). Labels are the numbers that were given; of names, their places in
        ``classes``, or among the sorted names.

    Raises:
        ValueError: an argument out of range, rows that do not match, an embedding with NaN or zero rows, or nothing to
            compare.

    >>> features = torch.tensor([[4.0, 1.0], [5.0, 1.0], [4.0, 2.0], [5.0, 2.0], [1.0, 5.0], [2.0, 5.0], [1.0, 4.0]])
    >>> labels = ["cat", "cat", "cat", "dog", "dog", "dog", "dog"]
    >>> verdict = verdict_from_embedding(features, labels, k=2)
    >>> verdict, verdict.reason[3]
    (Verdict(7 images: 5 kept, 1 relabeled, 1 dropped), "looks like 'cat'")
    """
    if method not in get_args(Vote):
        raise ValueError(f"method is one of {', '.join(get_args(Vote))}, not {method!r}")
    embedding = _rows(features)
    label, value, name = _classes(labels, classes)
    if label.shape != embedding.shape[:1]:
        raise ValueError(f"labels are (n,), one for each row, not {len(label)} for {len(embedding)} rows of features")
    if not (label >= 0).any():
        raise ValueError("labels: no image has one, so that there is nothing to judge")
    if len(present := torch.unique(label[label >= 0])) < 2:
        raise ValueError(f"labels: all images are of class {name[int(present[0])]!a}, so that there is none to compare")
    if (labeled := int((label >= 0).sum())) < 3:
        raise ValueError(f"labels: {labeled} images have one, and it takes three to compare two of them with another")
    name_of = [str(i) for i in range(len(label))] if ids is None else [str(i) for i in ids]
    if len(name_of) != len(label):
        raise ValueError(f"ids has {len(name_of)} names for {len(label)} images: give one for each")
    recipe = ContrastiveFilter(method=method, k=_whole(k), temperature=temperature, percentile=percentile)
    found = recipe.verdict(embedding, label, name_of, name)
    warn_of_lost_classes(found, name)
    back = torch.cat([value, torch.tensor([-1])])  # its last entry stands for no label
    return Verdict(found.id, back[found.label], found.action, back[found.new_label], found.score, found.reason)


def _rows(features: Any) -> Tensor:
    """(n, d) float, on the device where a tensor is."""
    import numpy as np

    if isinstance(features, Tensor):
        rows = features.detach()
        if rows.is_complex():
            raise ValueError(f"features are real numbers, not {rows.dtype}")
    else:
        try:
            array = np.asarray(features)
            array = array.astype(np.float64 if array.dtype.kind == "f" and array.itemsize > 4 else np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"features are an (n, d) array of numbers, which {type(features).__name__} is not"
            ) from error
        rows = torch.from_numpy(np.ascontiguousarray(array))
    if rows.ndim != 2:
        raise ValueError(f"features are (n, d), a row for each image, not {tuple(rows.shape)}")
    return rows if rows.is_floating_point() else rows.float()


def _classes(labels: Any, classes: Sequence[str] | None) -> tuple[Tensor, Tensor, list[str]]:
    """Labels (n,) as classes from 0 without gaps, -1 for none; the value (C,) and the name of each class."""
    import numpy as np

    try:
        given = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except (TypeError, ValueError) as error:
        raise ValueError("labels are (n,), a whole number or a name for each image") from error
    if given.ndim != 1:
        raise ValueError(f"labels are (n,), one for each row, not {given.shape}")
    if given.dtype.kind not in "iu":
        return _named_classes(given, classes)
    if len(given) and (int(given.min()) < -1 or int(given.max()) >= 2**63):
        raise ValueError(
            f"labels are whole numbers from -1 (none) to 2^63 - 1, not {int(given.min())}..{int(given.max())}"
        )
    there = given != -1 if given.dtype.kind == "i" else np.ones(len(given), dtype=bool)
    values, place = np.unique(given[there].astype(np.int64), return_inverse=True)
    if classes is not None and len(values) and int(values[-1]) >= len(classes):
        raise ValueError(f"classes has {len(classes)} names, but labels go up to {int(values[-1])}")
    names = [str(v) if classes is None else str(classes[v]) for v in values.tolist()]
    return _placed(there, place), torch.from_numpy(values), names


def _named_classes(given: "np.ndarray", classes: Sequence[str] | None) -> tuple[Tensor, Tensor, list[str]]:
    """As `_classes`, for names; None, and what pandas has for it, is none."""
    import numpy as np

    there = np.array([not (v is None or v != v or type(v).__name__ == "NAType") for v in given.tolist()], dtype=bool)
    texts = [v for v in given[there].tolist() if isinstance(v, str)]
    if len(texts) != int(there.sum()):
        raise ValueError(f"labels are whole numbers, -1 where there is none, or names, not {given.dtype}")
    names = sorted(set(texts)) if classes is None else [str(c) for c in classes]
    number = {name: i for i, name in enumerate(names)}
    if unknown := [v for v in texts if v not in number]:
        raise ValueError(f"classes has no {unknown[0]!r}, which is the label of an image")
    place = np.array([number[v] for v in texts], dtype=np.int64)
    return _placed(there, place), torch.arange(len(names)), names


def _placed(there: "np.ndarray", place: "np.ndarray") -> Tensor:
    label = torch.full((len(there),), -1)
    label[torch.from_numpy(there)] = torch.from_numpy(place.reshape(-1))
    return label


def _whole(k: Any) -> int | None:
    try:
        return None if k is None else operator.index(k)
    except TypeError as error:
        raise ValueError(f"k is a number of neighbors, a whole one such as 5, not {k!r}") from error
