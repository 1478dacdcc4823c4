"""A classifier that is fine-tuned on clean images so that it looks where its teacher does."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cleanse.functional import attention_distance
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import Classifier
from cleanse.networks.base import Network
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch

BETA = (500 / 32**2, 1000 / 16**2, 1000 / 8**2)
"""500, 1000 and 1000 of the released code, for maps of 32, 16 and 8 pixels a side (D251)."""


class AttentionDistillation(Classifier):
    """Li et al. 2021 (arXiv 2101.05930): cross-entropy, and the distance of three attention maps from a teacher's.

    Without a teacher it is plain fine-tuning. The teacher is in evaluation mode, has
    no gradient, and is not part of the state dict, which is that of `Classifier`.

    Args:
        network: builds the network from (in_channels, num_classes); one with three ``map_layers``.
        images: what the images are like; None for those of the data that it is fitted on.
        teacher: a fitted classifier with the same network; None for none.
        beta: weights of the three maps, of the squared distance of maps of length 1.
        **kwargs: the other arguments of `Classifier`.

    Raises:
        ValueError: not three weights, or a network without three feature maps.
    """

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec | None = None,
        teacher: LightningModule | None = None,
        beta: Sequence[float] = BETA,
        **kwargs: Any,
    ) -> None:
        if len(beta) != 3 or min(beta) < 0:
            raise ValueError(f"beta are the weights of three maps, 0 or more, not {tuple(beta)}")
        self.beta = tuple(beta)
        super().__init__(network, images, **kwargs)
        self._teacher = (teacher,)  # in a tuple, so that it is no part of this module

    def build(self, images: ImageSpec) -> None:
        super().build(images)
        three_map_layers(self.network)

    def on_fit_start(self) -> None:
        if (teacher := self._teacher[0]) is not None:
            teacher.to(self.device).eval().requires_grad_(False)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        teacher = self._teacher[0]
        if teacher is None or not any(self.beta):
            return super().training_step(batch, batch_idx)
        logits, maps = with_maps(self, batch["image"])
        with torch.no_grad():
            wanted = with_maps(teacher, batch["image"])[1]
        distances = [attention_distance(ours, theirs) for ours, theirs in zip(maps, wanted, strict=True)]
        loss = cross_entropy(logits, batch["label"])
        shown = {"on_epoch": True, "on_step": False, "batch_size": len(logits), "sync_dist": True}
        self.log("train/loss", loss.detach(), **shown)  # type: ignore[arg-type]
        self.log("train/attention", torch.stack(distances).detach().sum(), **shown)  # type: ignore[arg-type]
        weighted: Tensor = sum((b * d for b, d in zip(self.beta, distances, strict=True)), start=loss)
        return weighted


def three_map_layers(network: nn.Module) -> tuple[nn.Module, ...]:
    """The layers of a network whose outputs are its three feature maps.

    Raises:
        ValueError: it has none.
    """
    layers = network.map_layers if isinstance(network, Network) else ()
    if len(layers) != 3:
        raise ValueError(
            f"{type(network).__name__} has no three feature maps to compare: take a network with three map_layers, such"
            " as cleanse.networks.SmallResNet, ResNet18 or PreActResNet18"
        )
    return layers


def with_maps(module: LightningModule, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits (B, C) and three feature maps (B, K, H, W) of images (B, C, H, W)."""
    maps: list[Tensor] = []
    layers = three_map_layers(module.network)  # type: ignore[arg-type]
    hooks = [layer.register_forward_hook(lambda _layer, _input, output: maps.append(output)) for layer in layers]
    try:
        logits: Tensor = module(image)
    finally:
        for hook in hooks:
            hook.remove()
    return logits, maps
