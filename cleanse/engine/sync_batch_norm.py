"""Batch norm over the rows of all processes on CPU, where torch's SyncBatchNorm does not exist."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


def synchronize(module: nn.Module) -> None:
    """Let every batch norm in ``module`` take mean and variance over all processes while it trains.

    Parameters, buffers and their names stay.
    """
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = partial(_forward, layer, layer.forward)  # type: ignore[method-assign]


def _forward(layer: _BatchNorm, alone: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(B, C, ...) to the same; sums, and the gradients of sums, are taken over all processes."""
    if not layer.training:
        return alone(x)
    across = [0, *range(2, x.ndim)]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    rows = x.float()
    sums: Tensor = _sum(torch.cat([rows.sum(across), rows.new_tensor([x.numel() / x.shape[1]])]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centered = rows - mean.view(shape)
    squares: Tensor = _sum(centered.square().sum(across))
    variance = squares / count  # in two passes: a difference of squares would lose digits
    if layer.track_running_stats and layer.running_mean is not None and layer.running_var is not None:
        with torch.no_grad():
            assert layer.num_batches_tracked is not None
            layer.num_batches_tracked.add_(1)
            rate = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
            layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), rate)
            layer.running_var.lerp_((squares / (count - 1).clamp_min(1)).to(layer.running_var.dtype), rate)
    out = centered * torch.rsqrt(variance + layer.eps).view(shape)
    if layer.affine:
        out = out * layer.weight.view(shape) + layer.bias.view(shape)
    return out.to(x.dtype)


def _sum(values: Tensor) -> Tensor:
    """Over all processes, with a gradient."""
    return all_reduce(values)  # type: ignore[no-any-return,no-untyped-call]
