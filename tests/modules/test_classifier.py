"""The classifier: the schedules of its learning rate, its smoothed labels, and networks that begin from images."""

import logging
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cleanse.engine.runner import Runner
from cleanse.functional import one_cycle_factor
from cleanse.modules import Classifier, ISPLRound, LinearProbe
from cleanse.networks import FastNet, SmallCNN
from cleanse.views import ImageSource, TrainingView

TINY = partial(FastNet, widths=(4, 4, 4))


def pictures(n: int = 96, size: int = 16, seed: int = 0) -> TrainingView:
    """Two kinds of noise."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    image = (torch.rand(n, 3, size, size, generator=generator) * 100 + 100 * label.view(-1, 1, 1, 1)).byte()
    source = ImageSource(image, tuple(map(str, range(n))), ("a", "b"), (0.5,) * 3, (0.25,) * 3, f"pictures {n} {seed}")
    return TrainingView(source, torch.arange(n), label, (), 16)


class Rates(Callback):
    """The learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(module: LightningModule, view: TrainingView, epochs: int = 2, *callbacks: Callback) -> None:
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(module, datamodule=view)


def test_one_cycle_sets_the_rate_of_every_step() -> None:
    view, rates = pictures(), Rates()
    small = partial(SmallCNN, width=4)
    fit(Classifier(small, view.image_spec, lr=0.5, schedule="one_cycle"), view, 2, rates)
    assert rates.seen == pytest.approx([0.5 * one_cycle_factor(step, 12) for step in range(12)])


def test_steps_keep_the_rate_until_a_milestone() -> None:
    view, rates = pictures(), Rates()
    fit(Classifier(partial(SmallCNN, width=4), view.image_spec, lr=0.5, milestones=[1]), view, 2, rates)
    assert rates.seen == pytest.approx([0.5] * 6 + [0.05] * 6)


def test_one_cycle_rises_to_one_and_falls_to_zero() -> None:
    factor = [one_cycle_factor(step, 200) for step in range(201)]
    assert max(range(201), key=factor.__getitem__) == 46
    assert factor[46] == pytest.approx(1)
    assert factor[0] == 0.2
    assert factor[200] == 0


@pytest.mark.parametrize(("steps", "peak"), [(0, 0.5), (10, 0.0), (10, 1.0)])
def test_one_cycle_refuses(steps: int, peak: float) -> None:
    with pytest.raises(ValueError, match=r"(steps|peak) is a (number|share)"):
        one_cycle_factor(0, steps, peak=peak)


class Says(nn.Module):
    """Always the same logits."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([2.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), 2)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    view = pictures()
    module = Classifier(Says, view.image_spec, label_smoothing=0.2)
    module.log = lambda *a, **k: None  # type: ignore[method-assign]
    batch = view.batch(torch.tensor([0]), augmented=False)
    log_probability = torch.tensor([2.0, 0.0]).log_softmax(0)
    assert module.training_step(batch, 0).item() == pytest.approx(-float(log_probability @ torch.tensor([0.9, 0.1])))


def test_nesterov_is_an_argument_of_the_optimizer() -> None:
    module = Classifier(Says, pictures().image_spec, nesterov=True)
    assert module.configure_optimizers()["optimizer"].param_groups[0]["nesterov"]


@pytest.mark.parametrize("wrong", [{"schedule": "cosine"}, {"label_smoothing": 1.0}, {"label_smoothing": -0.1}])
def test_wrong_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Classifier(Says, pictures().image_spec, **wrong)


# --- networks that begin from images ---
def test_the_first_layer_is_made_of_the_training_images(runner: Runner) -> None:
    view = pictures()
    model = runner.fit("classifier", partial(Classifier, TINY, view.image_spec), view, max_epochs=1)
    expected = TINY(3, 2)
    expected.initialize((view.images(torch.arange(96)).float() / 255 - 0.5) / 0.25)
    torch.testing.assert_close(model.network.weight, expected.weight)


def test_a_stage_that_is_read_back_has_the_same_first_layer(runner: Runner) -> None:
    view = pictures()
    build = partial(Classifier, TINY, view.image_spec)
    first = runner.fit("classifier", build, view, max_epochs=1)
    again = Runner(runner.root, arguments=runner.arguments)
    second = again.fit("classifier", build, view, max_epochs=1)
    assert again.computed == 0
    assert second.network.weight.equal(first.network.weight)


def test_a_voter_begins_from_images_too(runner: Runner) -> None:
    view = pictures()
    build = partial(ISPLRound, TINY, view.image_spec, torch.ones(96, dtype=torch.bool), 0.5, voter_epochs=1)
    found = runner.fit("round", build, view, max_epochs=9, reload_dataloaders_every_n_epochs=1)
    assert bool(found.network.initialized)


def test_a_probe_keeps_the_first_layer_of_its_encoder() -> None:
    one, other = pictures(), pictures(seed=1)
    encoder = Classifier(TINY, one.image_spec)
    fit(encoder, one, 1)
    probe = LinearProbe(TINY, other.image_spec, encoder)
    fit(probe, other, 1)
    assert probe.network.weight.equal(encoder.network.weight)


def test_with_a_plain_loader_it_begins_at_random_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    view = pictures(16)
    module = Classifier(TINY, view.image_spec)
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "cleanse"):
        trainer.fit(module, DataLoader([view.batch(torch.arange(16), augmented=False)], batch_size=None))
    assert not module.network.initialized  # type: ignore[operator]
    assert "FastNet begins at random" in caplog.text


def test_a_module_without_a_network_cannot_be_probed(view: TrainingView) -> None:
    with pytest.raises(ValueError, match="Flatten has no network whose features could be probed"):
        LinearProbe(TINY, view.image_spec, torch.nn.Flatten())  # type: ignore[arg-type]
