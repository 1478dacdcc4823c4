"""Projected gradient descent against a classifier, on its input."""

import math
from collections.abc import Callable
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
    generator: torch.Generator | None = None,
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
        generator: draws a start, uniform in the cube of side 2 eps (``inf``) or in the ball (``2``); None starts at the
            image.
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
    parts = []
    for clean, y in zip(torch.split(image, batch_size), torch.split(label, batch_size), strict=True):
        change = torch.zeros_like(clean) if generator is None else _start(clean, norm, eps, generator)
        for _ in range(steps):
            x = (clean + change).clamp(0, 1).requires_grad_()
            with torch.enable_grad():
                loss = cross_entropy(model(x), y, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, x)
            direction = gradient.sign() if norm == "inf" else gradient / _length(gradient).clamp(min=1e-12)
            change = _project(x.detach() + step * direction - clean, norm, eps)
        parts.append((clean + change).clamp(0, 1))
    return torch.cat(parts) if parts else image.clone()


def _start(clean: Tensor, norm: str, eps: float, generator: torch.Generator) -> Tensor:
    if norm == "inf":
        uniform = torch.rand(clean.shape, generator=generator) * 2 - 1
        return (eps * uniform).to(clean)
    direction = torch.randn(clean.shape, generator=generator)
    radius = torch.rand(len(clean), 1, 1, 1, generator=generator) ** (1 / clean[0].numel())
    return (eps * radius * direction / _length(direction)).to(clean)


def _project(change: Tensor, norm: str, eps: float) -> Tensor:
    if norm == "inf":
        return change.clamp(-eps, eps)
    return change * (eps / _length(change).clamp(min=1e-12)).clamp(max=1)


def _length(change: Tensor) -> Tensor:
    """(N, 1, 1, 1) Euclidean length of each."""
    length: Tensor = change.flatten(1).norm(dim=1)
    return length[:, None, None, None]
