"""Losses that keep what is learned slowly from being learned, so that quickly learned images stand out.

Li et al. 2021, "Anti-Backdoor Learning: Training Clean Models on Poisoned Data" (arXiv 2110.11571).
"""

from torch import Tensor


def local_gradient_ascent(loss: Tensor, gamma: float) -> Tensor:
    """Mean of sign(l - gamma) l: images whose loss is below gamma are unlearned until it is not.

    Each image by itself, as we read the paper's formula; its released code takes the sign of the batch's mean (D248).

    Args:
        loss: (B,) of each image.
        gamma: where the loss is held.

    >>> import torch
    >>> local_gradient_ascent(torch.tensor([0.25, 2.0]), gamma=0.5).item()
    0.875
    """
    return ((loss.detach() - gamma).sign() * loss).mean()


def flooding(loss: Tensor, level: float, mean: Tensor | None = None) -> Tensor:
    """|l - b| + b of the batch's mean loss l, which is held at the level b.

    Args:
        loss: (B,) of each image.
        level: b.
        mean: of the whole batch, where these images are one process's part of it: it decides whether all of them
            descend or ascend. None for the mean of these.

    >>> import torch
    >>> round(flooding(torch.tensor([0.25, 0.35]), level=0.5).item(), 4)
    0.7
    """
    own = loss.mean()
    return (own.detach() if mean is None else mean).sub(level).sign() * (own - level) + level
