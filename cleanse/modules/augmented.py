"""A fitted module that is shown augmented images."""

from copy import deepcopy

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.engine.fingerprint import hash_of
from cleanse.views import Batch


class Augmented(LightningModule):
    """Predict each image after one random augmentation; it is not trained.

    What is drawn follows the runner's stage, which knows the module, the augmentation and the seed: the same table
    every time, and another draw for another seed.

    Args:
        module: with a ``predict_step``, fitted by a runner.
        augmentation: images (B, C, H, W) in [0, 1] to the same.
        seed: draws anew.
    """

    def __init__(self, module: LightningModule, augmentation: nn.Module, seed: int = 0) -> None:
        super().__init__()
        self.module, self.augmentation = module, deepcopy(augmentation)  # some remember their last draw
        key = getattr(module, "stage_key", None)
        self.stage_key = None if key is None else hash_of({"augmented": key, "by": augmentation, "seed": seed})

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """What the module says of the augmented images."""
        return self.module.predict_step({**batch, "image": self.augmentation(batch["image"])}, batch_idx)  # type: ignore[no-any-return]
