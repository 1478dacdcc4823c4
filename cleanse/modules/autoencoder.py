"""An autoencoder: an encoder that learns from images alone by giving them back."""

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Adam

from cleanse.modules.base import ImageModule, NetworkFactory, split_network
from cleanse.networks.decoder import Decoder
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch


class Autoencoder(ImageModule):
    """The encoder of an ablation: network to a code, mirrored decoder, mean squared error.

    Wang et al. 2022 (arXiv 2210.10272), Table 3, where it stands for SimCLR and is not described (D82). ``forward``
    gives the code.

    Args:
        network: builds the encoder from (in_channels, num_classes); a `cleanse.networks.Network`.
        images: what the images are like; None for those of the data that it is fitted on.
        dimension: of the code.
        width: channels of the decoder's last stage.
        lr: of Adam.

    Raises:
        ValueError: a network without features.
    """

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec | None = None,
        dimension: int = 128,
        width: int = 64,
        lr: float = 1e-3,
    ) -> None:
        super().__init__(network, images)
        self.dimension = dimension
        self.width = width
        self.lr = lr
        self.make_layers()

    def build(self, images: ImageSpec) -> None:
        network = split_network(self.make_network, images)
        network.head = nn.Linear(network.num_features, self.dimension)
        self.network = network.to(memory_format=torch.channels_last)
        self.decoder = Decoder(self.dimension, images.channels, *images.size, base=self.width)

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
