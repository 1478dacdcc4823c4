"""What a fitted module says of each image in numbers: its features and its embedding."""

from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.modules.base import ImageModule
from cleanse.networks.base import Network
from cleanse.views import Batch


class Embedding(LightningModule):
    """A fitted module as a table of features; it is not trained.

    Images are not augmented and batch statistics not updated: the only deterministic choice (D72).

    Args:
        module: with a `cleanse.networks.Network` as ``network``, fitted by a runner.

    Raises:
        ValueError: the network is none whose features and head can be used apart.

    Columns of the table, float32:
        features (n, D): of the network before its head.
        embedding (n, E): what its head makes of them (a projection, a latent code, logits).
    """

    def __init__(self, module: ImageModule) -> None:
        super().__init__()
        if not isinstance(module.network, Network):
            raise ValueError(
                f"{type(module.network).__name__} has no features() and head: derive it from cleanse.networks.Network, "
                "so that its features can be read"
            )
        self.module = module
        self.stage_key = getattr(module, "stage_key", None)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        network = self.module.network
        assert isinstance(network, Network)  # checked in the constructor
        features = network.features(self.module.normalize(batch["image"]))
        return {"index": batch["index"], "features": features.float(), "embedding": network.head(features).float()}
