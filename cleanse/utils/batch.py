"""The one shape of a batch between data and modules."""

from torch import Tensor

Batch = dict[str, Tensor]
"""``image`` (B, C, H, W) float32 in [0, 1]; ``label`` (B,) int64, -1 where withheld; ``index`` (B,) int64, the position
in the view."""
