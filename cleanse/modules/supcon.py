"""SupCon: an encoder trained so that images of one class lie close together."""

from typing import Any

import torch
from torch import Tensor

from cleanse.functional import supcon_loss
from cleanse.modules.base import NetworkFactory
from cleanse.modules.simclr import SimCLR
from cleanse.utils.image_spec import ImageSpec


class SupCon(SimCLR):
    """Encoder and projector, trained with the supervised contrastive loss; `LinearProbe` then makes a classifier of it.

    Khosla et al. 2020, arXiv 2004.11362, with the settings of their repository: the first stage of the final training
    of Wang et al. 2022 (arXiv 2210.10272).

    Args:
        network: builds the encoder from (in_channels, num_classes); a `cleanse.networks.Network`.
        images: what the images are like; None for those of the data that it is fitted on.
        temperature: tau.
        **kwargs: the other arguments of `SimCLR`.

    Raises:
        ValueError: as `SimCLR`, and when trained on images without a label.
    """

    name = "supcon"

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec | None = None,
        temperature: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, images, temperature=temperature, **kwargs)

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
