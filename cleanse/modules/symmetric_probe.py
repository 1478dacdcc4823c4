"""A linear classifier on a frozen encoder that is less misled by wrong labels."""

from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Adam

from cleanse.functional import symmetric_cross_entropy
from cleanse.modules.base import NetworkFactory
from cleanse.modules.linear_probe import LinearProbe
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch


class SymmetricProbe(LinearProbe):
    """The second stage of Huang et al. 2022 (arXiv 2202.03423): a head, trained with symmetric cross-entropy and Adam.

    Args:
        network: builds the same network as the encoder's from (in_channels, num_classes).
        images: what the images are like; None for those of the data that it is fitted on.
        encoder: a module with a ``network`` whose features are taken over; None for the network's own start.
        lr: of Adam, constant; the 0.002 of the published code.

    Raises:
        ValueError: as for `LinearProbe`.
    """

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec | None = None,
        encoder: LightningModule | None = None,
        lr: float = 0.002,
    ) -> None:
        super().__init__(network, images, encoder, lr=lr)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.network.eval()
        loss = symmetric_cross_entropy(self(batch["image"]), batch["label"]).mean()
        rows = len(batch["label"])
        self.log("train/loss", loss.detach(), on_epoch=True, on_step=False, batch_size=rows, sync_dist=True)
        return loss

    def configure_optimizers(self) -> Any:
        return Adam(self.network.head.parameters(), self.lr)
