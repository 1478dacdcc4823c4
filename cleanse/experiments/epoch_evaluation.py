"""SA and ASR after every epoch of every classifier stage, for curves; outside the recipe, which never sees them."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from cleanse.data.base import ImageDataModule
from cleanse.experiments.evaluation import attack_figures, of_all_triggers
from cleanse.metrics import standard_accuracy
from cleanse.modules.classifier import Classifier
from cleanse.views import ImageView


class EpochEvaluation(Callback):
    """Log ``sa`` and, with an attack, ``asr`` of a `Classifier` at the end of each of its epochs.

    Of several triggers the mean, the highest and each one's.

    Nothing of the training changes: the module is in evaluation mode meanwhile, no gradient is made, nothing is drawn,
    and the test images are read through views of their own. The stage's seconds include it. A stage that is read back
    from disk has no new curve. Every process measures on all images.

    Args:
        data: with its attack.
    """

    def __init__(self, data: ImageDataModule) -> None:
        self.clean, self.triggered = data.clean_test(), data.triggered_tests()
        self.attack = data.attack

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Classifier) or self.clean is None:
            return
        plain = _predictions(trainer, pl_module, self.clean)
        sa = standard_accuracy(plain, self.clean.label)
        pl_module.log("sa", float(sa), on_epoch=True)
        if self.attack is None or not self.triggered:
            return
        each = []
        for part, triggered in zip(self.attack.parts, self.triggered, strict=True):
            fooled = _predictions(trainer, pl_module, triggered)
            before = plain[part.measured(self.clean.label)]
            each.append(attack_figures(before, fooled, triggered.label, part, self.clean.num_classes))
        for name, value in of_all_triggers(each).items():
            if name.startswith("asr"):
                pl_module.log(name, float("nan") if value is None else value, on_epoch=True)


def _predictions(trainer: Trainer, module: Classifier, view: ImageView, batch_size: int = 512) -> Tensor:
    """(n,) int64 classes of a view's images, on the CPU; the module and all random states are left as they were."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    found = []
    try:
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            torch.no_grad(),
            trainer.precision_plugin.predict_step_context(),
        ):
            for rows in torch.split(torch.arange(len(view), device=module.device), batch_size):
                found.append(module.predict_step(view.batch(rows, augmented=False), 0)["prediction"].cpu())
    finally:
        for part, training in modes:
            part.training = training
    return torch.cat(found)
