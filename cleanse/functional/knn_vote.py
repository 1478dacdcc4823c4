"""k nearest neighbors in an embedding: which class the images around each image belong to."""

import torch
from torch import Tensor

from cleanse.functional._unit import unit_rows

SMALLEST = 10
"""What is added to the size of a class when votes are divided by it, so that a handful of images attracts nobody."""


def knn_scores(
    features: Tensor, label: Tensor, k: int | None = None, block: int = 1024, by_size: bool = False
) -> tuple[Tensor, Tensor]:
    """The class that the k most similar other images vote for, by cosine similarity, and each class's share of it.

    Wang et al. 2022 (arXiv 2210.10272), section 3.3. An image is not its own neighbor, so that its label has no say in
    its own result; the only image of a class can therefore never be given that class.

    Left open by the paper: a tied vote goes to the class of larger summed similarity, then to the smaller class (D74);
    of images equally similar at the k-th place, those of smaller classes are taken, whatever their order.

    Args:
        features: (n, d) float embeddings of any length; half precision is computed in float32.
        label: (n,) int64, as given.
        k: neighbors; None for half the mean size of the classes that occur, floor(n / 2C), and at least 1 (D73).
        block: rows compared at a time; memory is a few times block * n numbers.
        by_size: divide the votes for a class by how many others it has and `SMALLEST` more, where classes differ in
            size (D84, ours): plurality favors large classes, and no class of k images or fewer could win it. The only
            image of a class is then nobody's neighbor, and k at most the number of those that can be.

    Returns:
        label: (n,) int64, the class voted for.
        share: (n, C) float32, each class's share of the (divided) votes, C the largest label + 1.

    Raises:
        ValueError: k beyond the n - 1 other images, fewer than two images, NaN or zero vectors, another number of
            labels, or a negative one.

    >>> features = torch.tensor([[4.0, 0.0], [3.0, 1.0], [5.0, 2.0], [0.0, 1.0]])
    >>> knn_scores(features, torch.tensor([1, 0, 0, 1]), k=2)[1].tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]
    """
    unit, n = unit_rows(features, label, block), len(features)
    classes, column, size = torch.unique(label.to(unit.device), return_inverse=True, return_counts=True)
    if k is None:
        k = max(1, n // (2 * len(classes)))
    if not 1 <= k < n:
        raise ValueError(f"k is between 1 and {n - 1}, the number of other images, not {k}")
    alone = (size == 1)[column] & (by_size and int(size.max()) > 1)
    k = min(k, int((~alone).sum()) - 1)
    member = torch.nn.functional.one_hot(column).to(unit)  # (n, C)
    voted = torch.empty(n, dtype=torch.int64, device=unit.device)
    share = torch.zeros(n, int(classes[-1]) + 1, dtype=torch.float32, device=unit.device)
    for start in range(0, n, block):
        rows = slice(start, start + block)
        similarity = unit[rows] @ unit.T
        similarity.diagonal(start).fill_(-torch.inf)
        similarity[:, alone] = -torch.inf
        last = similarity.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
        nearer = similarity > last
        votes = nearer.to(unit) @ member
        total = similarity.where(nearer, 0) @ member
        level = (similarity == last).to(unit) @ member  # at the k-th place: as many as there is room for, by class
        room = k - votes.sum(1, keepdim=True) - (level.cumsum(1) - level)
        taken = level.minimum(room.clamp(min=0))
        votes += taken
        total += taken * last
        if by_size:
            votes = votes / (size - member[rows] + SMALLEST)
        most = votes.amax(1, keepdim=True)
        voted[rows] = classes[total.where(votes == most, -torch.inf).argmax(1)]  # argmax: the first of equals
        share[rows, classes] = (
            (votes / votes.sum(1, keepdim=True).clamp(min=1e-9)).float() if by_size else votes.float() / k
        )
    return voted, share


def knn_vote(features: Tensor, label: Tensor, k: int | None = None, block: int = 1024) -> tuple[Tensor, Tensor]:
    """The plurality class of `knn_scores`, and its share of the votes.

    Args:
        features: (n, d) float embeddings of any length.
        label: (n,) int64, as given.
        k: neighbors; None for half the mean size of the classes.
        block: rows compared at a time.

    Returns:
        label: (n,) int64, the class voted for.
        confidence: (n,) float32, its share of the k votes.

    Raises:
        ValueError: as `knn_scores`.

    >>> features = torch.tensor([[4.0, 0.0], [3.0, 1.0], [5.0, 2.0], [0.0, 1.0]])
    >>> label, confidence = knn_vote(features, torch.tensor([1, 0, 0, 1]), k=2)
    >>> label.tolist(), confidence.tolist()
    ([0, 0, 0, 0], [1.0, 0.5, 0.5, 1.0])
    """
    voted, share = knn_scores(features, label, k, block)
    return voted, share.gather(1, voted[:, None])[:, 0]
