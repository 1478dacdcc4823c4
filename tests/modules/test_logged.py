"""What a training logs, by name: what dashboards and the pages about W&B refer to."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from cleanse.attacks.issba import HideSecrets
from cleanse.modules import (
    AttentionDistillation,
    Autoencoder,
    Classifier,
    ISPLRound,
    MixMatch,
    SimCLR,
    SupCon,
    SymmetricProbe,
    Unlearner,
)
from cleanse.networks import SmallResNet
from cleanse.views import TrainingView

NETWORK = partial(SmallResNet, width=4)
MODULES: dict[str, tuple[Callable[[TrainingView], LightningModule], set[str]]] = {
    "Classifier": (lambda view: Classifier(NETWORK, view.image_spec), {"train/loss"}),
    "Unlearner": (lambda view: Unlearner(NETWORK, view.image_spec), {"train/loss"}),
    "AttentionDistillation": (
        lambda view: AttentionDistillation(NETWORK, view.image_spec, Classifier(NETWORK, view.image_spec)),
        {"train/loss", "train/attention"},
    ),
    "Autoencoder": (lambda view: Autoencoder(NETWORK, view.image_spec, width=4), {"autoencoder/loss"}),
    "SymmetricProbe": (lambda view: SymmetricProbe(NETWORK, view.image_spec), {"train/loss"}),
    "MixMatch": (lambda view: MixMatch(NETWORK, view.image_spec, 200, iterations=2), {"train/loss"}),
    "ISPLRound": (lambda view: ISPLRound(NETWORK, view.image_spec, torch.ones(200).bool(), 0.5), {"train/loss"}),
    "HideSecrets": (
        lambda view: HideSecrets(4, (1, 8, 8), base=4, secret_epochs=0),
        {"issba/loss", "issba/secret", "issba/image", "issba/bit_accuracy"},
    ),
    "SimCLR": (lambda view: SimCLR(NETWORK, view.image_spec, augment=view.contrastive_augment), {"simclr/loss"}),
    "SupCon": (lambda view: SupCon(NETWORK, view.image_spec, augment=view.contrastive_augment), {"supcon/loss"}),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_training_logs_its_loss(name: str, view: TrainingView) -> None:
    build, expected = MODULES[name]
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=1, reload_dataloaders_every_n_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(build(view), datamodule=view)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert expected <= logged.keys()
    assert not [name for name in logged if name.endswith("_step")], "one point an epoch"
    assert all(0 <= logged[name] < 100 for name in expected)
