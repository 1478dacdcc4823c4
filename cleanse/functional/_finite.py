"""What the rules on a frozen encoder's features share: a check that makes no table of its own."""

import torch
from torch import Tensor


def check_finite(features: Tensor, block: int = 4096) -> None:
    """Look at ``features`` (n, d), ``block`` rows at a time.

    Raises:
        ValueError: a number among them is NaN or infinite.
    """
    if not all(part.isfinite().all() for part in torch.split(features, block)):
        raise ValueError("features that are not finite: the encoder overflowed, or an image is damaged")
