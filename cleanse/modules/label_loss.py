"""What a fitted classifier says of the label that each image is given."""

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy

from cleanse.views import Batch


class LabelLoss(LightningModule):
    """A fitted classifier as a table about given labels; it is not trained, and images are not augmented.

    Args:
        module: (B, C, H, W) images to (B, classes) logits, fitted by a runner.

    Columns of the table, float32:
        loss (n,): cross-entropy of the given label.
        probability (n,): of the given label.
    """

    def __init__(self, module: LightningModule) -> None:
        super().__init__()
        self.module = module
        key = getattr(module, "stage_key", None)
        self.stage_key = None if key is None else f"label loss of {key}"

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        loss = cross_entropy(self.module(batch["image"]).float(), batch["label"], reduction="none")
        return {"index": batch["index"], "loss": loss, "probability": (-loss).exp()}
