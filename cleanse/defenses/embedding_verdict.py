"""The verdict of ``knn``, ``energy`` and ``knn_energy`` on an embedding that one has already."""

import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from cleanse.defenses.contrastive_filter import ContrastiveFilter
from cleanse.defenses.lost_classes import warn_of_lost_classes
from cleanse.utils.labels import class_names, plain_labels
from cleanse.verdict import Verdict

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
        labels: (n,) the class of each image, in the order of the rows: whole numbers, or names; -1, None, NaN or what
            pandas has for it where an image has none (it is dropped, with "no label"). Any tensor, array, series or
            list; an index that a series has is not looked at.
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
        ValueError: an argument out of range, rows that do not match, an embedding with NaN or zero rows or with all
            rows equal, or nothing to compare.

    >>> features = torch.tensor([[4.0, 1.0], [5.0, 1.0], [4.0, 2.0], [5.0, 2.0], [1.0, 5.0], [2.0, 5.0], [1.0, 4.0]])
    >>> labels = ["cat", "cat", "cat", "dog", "dog", "dog", "dog"]
    >>> verdict = verdict_from_embedding(features, labels, k=2)
    >>> verdict, verdict.reason[3]
    (Verdict(7 images: 5 kept, 1 relabeled, 1 dropped), "looks like 'cat'")
    """
    if method not in get_args(Vote):
        raise ValueError(f"method is one of {', '.join(get_args(Vote))}, not {method!r}")
    for argument, number in (("temperature", temperature), ("percentile", percentile)):
        if isinstance(number, bool) or not isinstance(number, Real):
            raise ValueError(f"{argument} is a number, not {number!r}")
    embedding = _rows(features)
    label, value, name = _classes(labels, classes)
    if label.shape != embedding.shape[:1]:
        raise ValueError(f"labels are (n,), one for each row, not {len(label)} for {len(embedding)} rows of features")
    if not (label >= 0).any():
        raise ValueError("labels: no image has one, so that there is nothing to judge")
    if len(present := torch.unique(label[label >= 0])) < 2:
        raise ValueError(f"labels: all images are of class {name[int(present[0])]!r}, so that there is none to compare")
    if (labeled := int((label >= 0).sum())) < 3:
        raise ValueError(f"labels: {labeled} images have one, and it takes three to compare two of them with another")
    if bool((embedding == embedding[0]).all()):
        raise ValueError(f"features: all {len(embedding)} rows are equal, so that nothing tells the images apart")
    if isinstance(ids, str) or not (ids is None or hasattr(ids, "__iter__")):
        raise ValueError(f"ids are (n,), a name for each image, not {type(ids).__name__}")
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

    if isinstance(features, (list, tuple)) and features and all(isinstance(row, Tensor) for row in features):
        features = _stacked(features)
    if isinstance(features, Tensor):
        rows = features.detach()
        if rows.is_complex() or rows.is_meta:
            raise ValueError(f"features are real numbers, not {'without values' if rows.is_meta else rows.dtype}")
        rows = rows.to_dense() if rows.layout != torch.strided else rows
        rows = rows.float() if rows.element_size() == 1 else rows  # 8-bit floats cannot be computed with
    else:
        try:
            array = features.filled(np.nan) if isinstance(features, np.ma.MaskedArray) else np.asarray(features)
            array = array.astype(np.float64 if array.dtype.kind == "f" and array.itemsize > 4 else np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"features are an (n, d) array of numbers, which {type(features).__name__} is not"
            ) from error
        rows = torch.from_numpy(np.ascontiguousarray(array))
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(f"features are (n, d), a row for each image, not {tuple(rows.shape)}")
    return rows if rows.is_floating_point() else rows.float()


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    try:
        return torch.stack([row.detach() for row in rows])
    except RuntimeError as error:
        raise ValueError("features are (n, d), rows of one length, which these tensors are not") from error


def _classes(labels: Any, classes: Sequence[str] | None) -> tuple[Tensor, Tensor, list[str]]:
    """Labels (n,) as classes from 0 without gaps, -1 for none; the value (C,) and the name of each class."""
    values = [None if value == -1 else value for value in plain_labels(labels)]
    names = None if classes is None else class_names(classes)
    known = [value for value in values if value is not None]
    if all(isinstance(value, int) for value in known):
        return _numbered(values, known, names)
    if not all(isinstance(value, str) for value in known):
        odd = next(value for value in known if not isinstance(value, int))
        raise ValueError(f"labels are whole numbers, -1 where there is none, or names, not {odd!r} among others")
    ordered = tuple(sorted(set(known))) if names is None else names
    if unknown := [value for value in known if value not in set(ordered)]:
        raise ValueError(f"classes has no {unknown[0]!r}, which is the label of an image")
    place = {name: i for i, name in enumerate(ordered)}
    label = torch.tensor([-1 if value is None else place[value] for value in values], dtype=torch.int64)
    return label, torch.arange(len(ordered)), list(ordered)


def _numbered(
    values: Sequence[Any], known: Sequence[int], names: tuple[str, ...] | None
) -> tuple[Tensor, Tensor, list[str]]:
    """As `_classes`, of whole numbers."""
    present = sorted(set(known))
    if present and not (present[0] >= 0 and present[-1] < 2**63):
        raise ValueError(f"labels are whole numbers from -1 (none) to 2^63 - 1, not {present[0]}..{present[-1]}")
    if names is not None and present and present[-1] >= len(names):
        raise ValueError(f"classes has {len(names)} names, but labels go up to {present[-1]}")
    place = {value: i for i, value in enumerate(present)}
    label = torch.tensor([-1 if value is None else place[value] for value in values], dtype=torch.int64)
    return label, torch.tensor(present, dtype=torch.int64), [str(v) if names is None else names[v] for v in present]


def _whole(k: Any) -> int | None:
    try:
        if isinstance(k, bool):
            raise TypeError
        return None if k is None else operator.index(k)
    except TypeError as error:
        raise ValueError(f"k is a number of neighbors, a whole one such as 5, not {k!r}") from error
