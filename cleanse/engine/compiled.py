"""torch.compile for the network of a stage, where it is asked for and the machine can."""

import logging
from functools import cache

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

log = logging.getLogger("cleanse")


def compile_network(module: LightningModule, trainer: Trainer) -> bool:
    """Let ``module.network`` be compiled at its first batch; the names of its weights stay.

    Only on a GPU (D224). Compiled kernels round differently, as another number of threads or devices does, so no
    stage's key knows of it.

    Args:
        module: of a stage; one without a ``network`` is left alone.
        trainer: that will fit it.

    Returns:
        Whether it will be compiled. If not, the log says why in a sentence.
    """
    network = getattr(module, "network", None)
    if not isinstance(network, nn.Module):
        return False
    device = trainer.strategy.root_device.type
    if device == "cpu":
        log.warning("--compile: nothing is compiled, since on CPUs it was slower than what torch does by itself (D224)")
        return False
    if (why := why_not(device)) is not None:
        log.warning("--compile: nothing is compiled, since torch.compile does not work on this machine (%s)", why)
        return False
    network.compile()
    return True


@cache
def why_not(device: str) -> str | None:
    """Why torch.compile does not work on a kind of device; None if it does. Tried once, on two numbers."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.compile(_one_more, dynamic=False)(torch.ones(2, device=device))
    except Exception as error:  # no compiler, no headers, no Triton: each library has its own
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None


def _one_more(x: torch.Tensor) -> torch.Tensor:
    return x + 1
