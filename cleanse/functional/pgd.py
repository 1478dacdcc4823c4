"""Projected gradient descent against a classifier, on its input."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def pgd(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    norm: Literal["inf", "2"] = "inf",
    eps: float = 16 / 255,
    step: float = 1.5 / 255,
    steps: int = 30,
    start: Tensor | None = None,
    batch_size: int = 256,
) -> Tensor:
    """Move images uphill on the cross-entropy of their own labels, within a ball (untargeted PGD).

    Madry et al., ICLR 2018, arXiv 1706.06083. A step is ``step`` times the gradient's sign (``inf``), or its direction
    (``2``); then the change is projected into the ball of radius ``eps`` and the image into [0, 1]. Only the gradient
    for the image is asked for: the model's parameters get none. Its batch statistics stay if it is in eval mode.

    Args:
        model: (B, C, H, W) float in [0, 1] to (B, classes) logits.
        image: (N, C, H, W) float in [0, 1].
        label: (N,) int64.
        norm: of the ball.
        eps: its radius, of images in [0, 1]; with ``2``, of a whole image.
        step: length of a step, in the same unit.
        steps: how many.
        start: (N, C, H, W) float, the change to begin with, such as `random_start`'s; None begins at the image.
        batch_size: images at a time.

    Returns:
        (N, C, H, W) float in [0, 1].

    Raises:
        ValueError: an argument out of range.

    >>> weight = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])  # class 0 is a bright first pixel
    >>> image = torch.full((1, 1, 1, 2), 0.5)
    >>> pgd(lambda x: x.flatten(1) @ weight, image, torch.tensor([0]), eps=0.1, step=0.1, steps=3).flatten()
    tensor([0.4000, 0.6000])
    """
    if norm not in ("inf", "2"):
        raise ValueError(f"norm is 'inf' or '2', not {norm!r}")
    if not (eps >= 0 and math.isfinite(eps)) or not step > 0:
        raise ValueError(f"eps is 0 or more and step above 0, not {eps} and {step}")
    if steps < 0 or batch_size < 1:
        raise ValueError(f"steps is 0 or more and batch_size 1 or more, not {steps} and {batch_size}")
    if len(image) != len(label):
        raise ValueError(f"{len(image)} images but {len(label)} labels")
    parts, begin = [], torch.zeros_like(image) if start is None else start.to(image)
    for clean, change, y in zip(*(torch.split(t, batch_size) for t in (image, begin, label)), strict=True):
        for _ in range(steps):
            x = (clean + change).clamp(0, 1).requires_grad_()
            with torch.enable_grad():
                loss = cross_entropy(model(x), y, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, x)
            direction = gradient.sign() if norm == "inf" else gradient / _length(gradient).clamp(min=1e-12)
            change = _project(x.detach() + step * direction - clean, norm, eps)
        parts.append((clean + change).clamp(0, 1))
    return torch.cat(parts) if parts else image.clone()


def random_start(
    shape: Sequence[int], norm: Literal["inf", "2"], eps: float, generator: torch.Generator, batch_size: int = 256
) -> Tensor:
    """Changes to begin with: uniform in the cube of side 2 eps (``inf``) or in the ball (``2``).

    Args:
        shape: (N, C, H, W) of the images.
        norm: of the ball.
        eps: its radius.
        generator: the changes come from it.
        batch_size: images that are drawn at a time.

    Returns:
        (N, C, H, W) float32.

    >>> random_start((1, 1, 1, 2), "2", 0.1, torch.Generator().manual_seed(0)).norm() <= 0.1
    tensor(True)
    """
    parts = []
    for rows in torch.arange(shape[0]).split(batch_size):  # type: ignore[no-untyped-call]
        size = (len(rows), *shape[1:])
        if norm == "inf":
            parts.append(eps * (torch.rand(size, generator=generator) * 2 - 1))
        else:
            direction = torch.randn(size, generator=generator)
            radius = torch.rand(len(rows), 1, 1, 1, generator=generator) ** (1 / math.prod(shape[1:]))
            parts.append(eps * radius * direction / _length(direction))
    return torch.cat(parts) if parts else torch.zeros(tuple(shape))


def _project(change: Tensor, norm: str, eps: float) -> Tensor:
    if norm == "inf":
        return change.clamp(-eps, eps)
    return change * (eps / _length(change).clamp(min=1e-12)).clamp(max=1)


def _length(change: Tensor) -> Tensor:
    """(N, 1, 1, 1) Euclidean length of each."""
    length: Tensor = change.flatten(1).norm(dim=1)
    return length[:, None, None, None]
