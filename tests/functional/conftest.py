"""Features that the tests of the check share."""

import torch
from torch import Tensor


def scene(n: int = 1500, classes: int = 5, seed: int = 0, noise: float = 0.4) -> tuple[Tensor, Tensor, Tensor]:
    """(n, 60) content features with one label in ten unclear, early features without any content, true labels."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.arange(n) % classes
    other = torch.randint(classes, (n,), generator=generator)
    unclear = (torch.rand(n, generator=generator) < 0.1)[:, None]
    content = 3 * torch.eye(60)[true] + noise * torch.randn(n, 60, generator=generator)
    content = torch.where(unclear, content / 2 + 1.5 * torch.eye(60)[other], content)
    return content, torch.randn(n, 64, generator=generator), true
