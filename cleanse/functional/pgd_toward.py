"""Projected gradient descent toward given features, on an encoder's input."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def pgd_toward(
    features: Callable[[Tensor], Tensor],
    image: Tensor,
    goal: Tensor,
    fixed: Tensor,
    eps: float = 16 / 255,
    step: float = 2 / 255,
    steps: int = 40,
    batch_size: int = 256,
) -> Tensor:
    """Move images downhill on the squared distance between their features and a goal, each within eps of each pixel.

    Only the gradient for the image is asked for, as in `cleanse.functional.pgd`.

    Args:
        features: (B, C, H, W) float in [0, 1] to (B, D).
        image: (N, C, H, W) float in [0, 1].
        goal: (N, D) float.
        fixed: (H, W) bool, pixels that stay as they are.
        eps: the largest change of a value.
        step: length of a step.
        steps: how many.
        batch_size: images at a time.

    Returns:
        (N, C, H, W) float in [0, 1].

    Raises:
        ValueError: an argument out of range.

    >>> image, fixed = torch.full((1, 1, 1, 3), 0.5), torch.tensor([[False, False, True]])
    >>> pgd_toward(lambda x: x.flatten(1), image, torch.tensor([[1.0, 0.0, 0.0]]), fixed, 0.1, 0.1, 3).flatten()
    tensor([0.6000, 0.4000, 0.5000])
    """
    if not (eps >= 0 and math.isfinite(eps)) or not step > 0:
        raise ValueError(f"eps is 0 or more and step above 0, not {eps} and {step}")
    if steps < 0 or batch_size < 1:
        raise ValueError(f"steps is 0 or more and batch_size 1 or more, not {steps} and {batch_size}")
    if len(image) != len(goal):
        raise ValueError(f"{len(image)} images but {len(goal)} goals")
    parts = []
    for clean, wanted in zip(torch.split(image, batch_size), torch.split(goal, batch_size), strict=True):
        moved = clean
        for _ in range(steps):
            x = moved.detach().requires_grad_()
            with torch.enable_grad():
                distance = (features(x) - wanted).square().sum()
                (gradient,) = torch.autograd.grad(distance, x)
            moved = (x.detach() - step * gradient.sign()).clamp(clean - eps, clean + eps).clamp(0, 1)
            moved = torch.where(fixed, clean, moved)
        parts.append(moved.detach())
    return torch.cat(parts) if parts else image.clone()
