"""A linear classifier on an encoder that does not change any more."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.modules.base import NetworkFactory, split_network
from cleanse.modules.classifier import Classifier
from cleanse.networks.base import Network
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch


class LinearProbe(Classifier):
    """The second stage of SupCon: a linear layer on the frozen encoder's features, not on the projection.

    Khosla et al. 2020, arXiv 2004.11362; the settings of their repository.

    Args:
        network: builds the same network as the encoder's from (in_channels, num_classes).
        images: what the images are like; None for those of the data that it is fitted on.
        encoder: a module with a ``network`` whose features are taken over; None for the network's own start, such as
            when a checkpoint is about to be loaded.
        lr, weight_decay: of SGD.
        milestones: epochs (from 0) at which the learning rate is multiplied by ``gamma``.
        gamma: see ``milestones``.
        **kwargs: the other arguments of `Classifier`.

    Raises:
        ValueError: the encoder has another network, or none.
    """

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec | None = None,
        encoder: LightningModule | None = None,
        lr: float = 5.0,
        weight_decay: float = 0.0,
        milestones: Sequence[int] = (60, 75, 90),
        gamma: float = 0.2,
        **kwargs: Any,
    ) -> None:
        self._weights = {} if encoder is None else _features_of(encoder)
        super().__init__(
            network, images, lr=lr, weight_decay=weight_decay, milestones=milestones, gamma=gamma, **kwargs
        )

    def build(self, images: ImageSpec) -> None:
        network = split_network(self.make_network, images)
        if self._weights:
            try:
                found = network.load_state_dict(self._weights, strict=False)
            except RuntimeError:
                found = None
            if found is None or found.unexpected_keys or any(not k.startswith("head.") for k in found.missing_keys):
                raise ValueError("the encoder was trained with another network than the probe's: give both the same")
        for parameter in network.parameters():
            parameter.requires_grad = False
        network.head.requires_grad_(True)
        self.network: Network = network.to(memory_format=torch.channels_last)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.network.eval()  # its batch statistics are frozen too; Lightning puts every module into training mode
        return super().training_step(batch, batch_idx)

    def forward(self, image: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.network.features(self.normalize(image))
        logits: Tensor = self.network.head(features)
        return logits


def _features_of(encoder: LightningModule) -> dict[str, Tensor]:
    network = getattr(encoder, "network", None)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{type(encoder).__name__} has no network whose features could be probed")
    return {k: v for k, v in network.state_dict().items() if not k.startswith("head.")}
