"""How much more often a class's images look like another class, surely, than the images of the other classes do."""

import torch
from torch import Tensor


def foreign_excess(margin: Tensor, label: Tensor, quantile: float = 0.99) -> tuple[Tensor, Tensor]:
    """Per class, the share of its margins above a quantile of the other classes' margins, over 1 - quantile.

    1 where a class is like the others, whatever the encoder's error, whatever the class's size, and also where labels
    are wrong at random in all classes. Images from elsewhere, under the label of one class, raise its ratio alone.

    Args:
        margin: (n,) float, the best other class's share of the votes minus that of the given one.
        label: (n,) int64.
        quantile: of the other classes' margins, in (0, 1).

    Returns:
        ratio: (C,) float, 0 for a class without images.
        count: (C,) int64, the images above the quantile.

    Raises:
        ValueError: other shapes, fewer than two classes, or a quantile out of range.

    >>> margin = torch.tensor([0.9, 0.9, -1.0, -1.0, 0.1, -0.9, -0.9, -0.9])
    >>> foreign_excess(margin, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), quantile=0.75)[0].tolist()
    [2.0, 0.0]
    """
    if margin.ndim != 1 or margin.shape != label.shape:
        raise ValueError(f"margin and label are both (n,), not {tuple(margin.shape)} and {tuple(label.shape)}")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is between 0 and 1, not {quantile}")
    size = label.bincount()
    if (size > 0).sum() < 2:
        raise ValueError("one class alone has no others to be compared with")
    ascending, order = margin.sort()
    by_label = label[order]
    ratio, count = torch.zeros(len(size), dtype=margin.dtype, device=margin.device), torch.zeros_like(size)
    for c in size.nonzero().flatten().tolist():
        others = ascending[by_label != c]
        limit = others[min(len(others) - 1, int(quantile * len(others)))]
        count[c] = ((margin > limit) & (label == c)).sum()
        ratio[c] = count[c] / size[c] / (1 - quantile)
    return ratio, count
