"""SupCon: an encoder trained so that images of one class lie close together."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from cleanse.functional import supcon_loss
from cleanse.modules.base import NetworkFactory
from cleanse.modules.simclr import SimCLR


class SupCon(SimCLR):
    """Encoder and projector, trained with the supervised contrastive loss; `LinearProbe` then makes a classifier of it.

    Khosla et al., NeurIPS 2020, arXiv 2004.11362, with the settings of their repository: the first stage of the final
    training of paper 002 (SPEC C.2).

    Args:
        network: builds the encoder from (in_channels, num_classes); a `cleanse.networks.Network`.
        channels, num_classes, mean, std: of the data; None for those of the data that it is fitted on.
        augment: makes a view from a batch of images in [0, 1]; None for the data set's own.
        projector, dimension, projector_bias: see `SimCLR`.
        temperature: tau.
        base_temperature: see `SimCLR`.
        optimizer, lr, momentum, weight_decay, schedule, warmup_epochs, warmup_lr: see `SimCLR`.

    Raises:
        ValueError: as `SimCLR`, and when trained on images without a label.
    """

    name = "supcon"

    def __init__(
        self,
        network: NetworkFactory,
        channels: int | None = None,
        num_classes: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augment: nn.Module | None = None,
        projector: Literal["mlp", "linear"] = "mlp",
        dimension: int = 128,
        projector_bias: bool = True,
        temperature: float = 0.1,
        base_temperature: float | None = 0.07,
        optimizer: Literal["sgd", "adam"] = "sgd",
        lr: float = 0.5,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        schedule: Literal["cosine", "constant"] = "cosine",
        warmup_epochs: int = 10,
        warmup_lr: float = 0.01,
    ) -> None:
        super().__init__(
            network, channels, num_classes, mean, std, augment, projector, dimension, projector_bias, temperature,
            base_temperature, optimizer, lr, momentum, weight_decay, schedule, warmup_epochs, warmup_lr,
        )  # fmt: skip

    def contrast(self, first: Tensor, second: Tensor, label: Tensor) -> Tensor:
        """L_out of two views (B, dimension) each, against the images of all processes."""
        if (label < 0).any():
            raise ValueError("SupCon learns from labels, but some images have none")
        views, labels = torch.cat([first, second]), torch.cat([label, label])
        if self.trainer.world_size == 1:
            return supcon_loss(views, labels, self.temperature)
        from lightly.utils.dist import gather, rank

        everyone, all_labels = torch.cat(gather(views)), torch.cat(gather(labels))
        return supcon_loss(views, labels, self.temperature, everyone, all_labels, first=rank() * len(views))
