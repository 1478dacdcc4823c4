import torch
from torch import Tensor


def principal(centered: Tensor, count: int, steps: int = 4) -> Tensor:
    """(n, count) projections on the principal directions, largest first, from a fixed start: always the same."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(centered.shape[1], min(count, len(centered)), generator=generator, dtype=centered.dtype)
    basis = basis.to(centered.device)
    for _ in range(steps):
        basis = torch.linalg.qr(centered.T @ (centered @ basis)).Q
    projected = centered @ basis
    axes: Tensor = torch.linalg.eigh(projected.T @ projected).eigenvectors
    return projected @ axes.flip(1)


def tails(projected: Tensor, fractions: tuple[float, ...]) -> list[Tensor]:
    """Each end of each column, (n,) of 0 and 1: so large a part of the images, at least 5."""
    ends = []
    for fraction in fractions:
        size = min(len(projected), max(5, int(fraction * len(projected))))
        for column in projected.T:
            for sign in (1, -1):
                ends.append(torch.zeros_like(column).scatter_(0, (sign * column).topk(size).indices, 1.0))
    return ends
