"""Where a network looks: the energy of its feature maps at each place.

Li et al. 2021, "Neural Attention Distillation: Erasing Backdoor Triggers from Deep Neural Networks" (arXiv 2101.05930).
"""

from torch import Tensor


def attention_map(features: Tensor) -> Tensor:
    """Sum of squares over channels, as a vector of length 1.

    Args:
        features: (B, K, H, W) float.

    Returns:
        (B, H * W); zero where all features are.

    >>> import torch
    >>> attention_map(torch.tensor([[[[3.0, 0.0]], [[0.0, 0.0]]]])).tolist()
    [[1.0, 0.0]]
    """
    energy = features.float().square().sum(1).flatten(1)
    found: Tensor = energy / energy.norm(dim=1, keepdim=True).clamp_min(1e-6)
    return found


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the batch of the squared distance of two attention maps; between 0 and 2.

    Released code averages over the H x W places too; its weights of 500, 1000 and 1000 on maps of 32, 16 and 8 pixels
    are 500 / 1024, 1000 / 256 and 1000 / 64 of this one, whatever the size of the maps (D251).

    Args:
        student: (B, K, H, W) float.
        teacher: (B, L, H, W) float.

    Raises:
        ValueError: maps of different sizes.

    >>> import torch
    >>> one = torch.tensor([[[[3.0, 0.0]]]])
    >>> attention_distance(one, 5 * one).item(), attention_distance(one, one.flip(3)).item()
    (0.0, 2.0)
    """
    if student.shape[2:] != teacher.shape[2:] or len(student) != len(teacher):
        raise ValueError(f"maps to compare have one size, not {tuple(student.shape)} and {tuple(teacher.shape)}")
    return (attention_map(student) - attention_map(teacher)).square().sum(1).mean()
