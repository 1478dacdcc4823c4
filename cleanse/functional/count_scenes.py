"""How many different pictures there are among images: those that look nearly alike count once."""

import math

import torch
from torch import Tensor


def likeness_of_twins(content: Tensor, label: Tensor, twin: float = 0.4) -> float:
    """The cosine above which two images are nearly alike, for this encoder and these classes.

    One less the cosine is then below ``twin`` times what it is on average within the classes (their median, which one
    class's poison does not move). Frames of one video and crops of one photograph lie above it; of CIFAR-10's images,
    one pair in some thousands.

    Args:
        content: (n, d) float, final features.
        label: (n,) int64.
        twin: share of the usual distance, in (0, 1).

    Returns:
        A cosine.

    Raises:
        ValueError: other shapes, or ``twin`` out of range.

    >>> round(likeness_of_twins(torch.eye(4), torch.tensor([0, 0, 1, 1])), 3)
    0.8
    """
    if content.ndim != 2 or label.shape != content.shape[:1]:
        raise ValueError(f"content is (n, d) and label (n,), not {tuple(content.shape)} and {tuple(label.shape)}")
    if not 0 < twin < 1:
        raise ValueError(f"twin is a share of a distance, between 0 and 1, not {twin}")
    size = label.bincount()
    center = content.new_zeros(len(size), content.shape[1])
    for some, theirs in zip(torch.split(content, 4096), torch.split(label, 4096), strict=True):
        center.index_add_(0, theirs, torch.nn.functional.normalize(some))
    center /= size.clamp(min=1)[:, None]
    return 1 - twin * (1 - float(center.square().sum(1)[size > 0].median()))


def count_scenes(content: Tensor, alike: float, most: int = 4000) -> int:
    """Count groups of images that are linked by likeness; frames of one video are one group.

    Args:
        content: (n, d) float, final features.
        alike: the cosine of two images that are nearly alike, see `likeness_of_twins`.
        most: images that are compared; of more, evenly spaced ones.

    Returns:
        The number of groups among the (at most ``most``) images.

    >>> count_scenes(torch.eye(4)[[0, 1, 2, 3, 3, 3]], alike=0.9)
    4
    """
    from scipy.sparse.csgraph import connected_components

    some = torch.nn.functional.normalize(content[:: max(1, math.ceil(len(content) / most))])
    return int(connected_components((some @ some.T > alike).cpu().numpy(), directed=False)[0])
