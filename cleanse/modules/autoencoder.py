"""An autoencoder: an encoder that learns from images alone by giving them back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Adam

from cleanse.modules.base import ImageModule, NetworkFactory, split_network
from cleanse.networks.decoder import Decoder
from cleanse.views import Batch


class Autoencoder(ImageModule):
    """The encoder of paper 002's ablation (Table 3): network to a code, mirrored decoder, mean squared error.

    The paper does not describe it (SPEC C.3.14). ``forward`` gives the code.

    Args:
        network: builds the encoder from (in_channels, num_classes); a `cleanse.networks.Network`.
        channels, num_classes, mean, std: of the data; None for those of the data that it is fitted on.
        size: (height, width) of the images; None as above.
        dimension: of the code.
        width: channels of the decoder's last stage.
        lr: of Adam.

    Raises:
        ValueError: a network without features.
    """

    def __init__(
        self,
        network: NetworkFactory,
        channels: int | None = None,
        num_classes: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size: tuple[int, int] | None = None,
        dimension: int = 128,
        width: int = 64,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.make, self.size, self.dimension, self.width, self.lr = network, size, dimension, width, lr
        self.build_layers(channels, num_classes, mean, std)

    def take_from(self, view: Any) -> None:
        self.size = self.size or view.size

    def build(self, channels: int, num_classes: int) -> None:
        if self.size is None:
            raise ValueError("size=(height, width) of the images belongs to channels, num_classes, mean and std")
        network = split_network(self.make, channels, num_classes)
        network.head = nn.Linear(network.num_features, self.dimension)
        self.network = network.to(memory_format=torch.channels_last)
        self.decoder = Decoder(self.dimension, channels, *self.size, base=self.width)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float images in [0, 1] to their code (B, dimension)."""
        return self.network(self.normalize(image))  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = mse_loss(self.decoder(self(batch["image"])), batch["image"])
        shown = {"on_epoch": True, "on_step": False, "batch_size": len(batch["image"]), "sync_dist": True}
        self.log("autoencoder/loss", loss.detach(), **shown)  # type: ignore[arg-type]
        return loss

    def configure_optimizers(self) -> Adam:
        return Adam(self.parameters(), self.lr)
