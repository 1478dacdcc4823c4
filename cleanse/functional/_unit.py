"""What the methods on cosine similarity share: checked embeddings of length one."""

import torch
from torch import Tensor


def unit_rows(features: Tensor, label: Tensor, block: int) -> Tensor:
    """(n, d) float: the embeddings on the unit sphere, detached, float64 if they were that and float32 otherwise.

    Rows are divided by their largest entry first, so that no square overflows or vanishes.

    Raises:
        ValueError: fewer than two embeddings, NaN, an infinity or a zero vector among them, another number of labels,
            labels that are not classes, or a block of no rows.
    """
    if features.ndim != 2 or len(features) < 2 or label.shape != features.shape[:1]:
        raise ValueError(
            f"features is (n, d) and label (n,) with n > 1, not {tuple(features.shape)} and {tuple(label.shape)}"
        )
    if label.is_floating_point() or label.min() < 0:
        raise ValueError(f"label holds classes, whole numbers from 0, not {label.min().item()} of type {label.dtype}")
    if block < 1:
        raise ValueError(f"block is the number of rows compared at a time, 1 or more, not {block}")
    rows = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    largest = rows.abs().amax(1, keepdim=True)
    for wrong, name in ((~largest.isfinite(), "NaN or infinite"), (largest == 0, "zero vectors")):
        if wrong.any():
            first = int(wrong.flatten().nonzero()[0])
            raise ValueError(f"{int(wrong.sum())} of {len(rows)} rows of features are {name}, the first is row {first}")
    rows = rows / largest
    return rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True))
