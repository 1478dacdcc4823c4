"""SimCLR, SupCon, the linear probe and the autoencoder."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightly.loss import NTXentLoss
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from cleanse.augment import SimCLRAugment
from cleanse.engine.runner import Runner
from cleanse.functional import supcon_loss
from cleanse.modules import Autoencoder, Classifier, Embedding, ImageModule, LinearProbe, SimCLR, SupCon
from cleanse.modules.simclr import learning_rate_factor
from cleanse.networks import Decoder, SmallCNN, SmallResNet
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import TrainingView

DIGITS = ImageSpec(1, 10, (0.3,), (0.4,), (8, 8))
AUGMENT = SimCLRAugment(flip=0, rotation=10, jitter=0, gray=0)


def views(n: int = 12, d: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


# --- losses ---
def test_nt_xent_is_cross_entropy_with_the_other_view_as_label() -> None:
    first, second = views()
    z = normalize(torch.cat([first, second]), dim=1)
    logits = (z @ z.T / 0.5).masked_fill(torch.eye(24, dtype=torch.bool), -torch.inf)
    expected = cross_entropy(logits, torch.cat([torch.arange(12) + 12, torch.arange(12)]))
    assert NTXentLoss(0.5)(first, second).item() == pytest.approx(expected.item(), abs=1e-6)


def test_nt_xent_is_symmetric_in_the_views() -> None:
    first, second = views()
    assert NTXentLoss(0.5)(first, second).item() == pytest.approx(NTXentLoss(0.5)(second, first).item())


def test_supcon_with_distinct_labels_is_nt_xent() -> None:
    first, second = views()
    label = torch.arange(12).repeat(2)
    expected = NTXentLoss(0.5)(first.float(), second.float())
    assert supcon_loss(torch.cat([first, second]), label, 0.5).item() == pytest.approx(expected.item(), abs=1e-6)


def test_supcon_against_a_double_loop() -> None:
    """Khosla et al., Eq. 2: mean over positives of the log probability, averaged over anchors."""
    first, second = views(5)
    z, label = normalize(torch.cat([first, second]).float(), dim=1), torch.tensor([0, 1, 0, 2, 1]).repeat(2)
    total = 0.0
    for i in range(10):
        others = [j for j in range(10) if j != i]
        below = sum(float((z[i] @ z[a] / 0.1).exp()) for a in others)
        positives = [j for j in others if label[j] == label[i]]
        total -= sum(float((z[i] @ z[p] / 0.1).exp().div(below).log()) for p in positives) / len(positives)
    assert supcon_loss(torch.cat([first, second]), label, 0.1).item() == pytest.approx(total / 10, rel=1e-4)


@pytest.mark.parametrize("loss", ["nt_xent", "supcon"])
def test_the_gradient_along_the_length_is_zero(loss: str) -> None:
    first, second = views()
    value = (
        NTXentLoss(0.5)(first, second)
        if loss == "nt_xent"
        else supcon_loss(torch.cat([first, second]), torch.tensor([0, 1, 2] * 8), 0.1)
    )
    value.backward()
    for z in (first, second):
        assert z.grad is not None
        assert (z.grad * z).sum(1).abs().max() < 1e-6 < z.grad.abs().max()


def test_supcon_in_two_halves_is_the_whole() -> None:
    """What two processes compute with everybody's rows, averaged, is what one computes."""
    first, second = views(8)
    z, label = torch.cat([first, second]).detach(), torch.tensor([0, 0, 1, 2, 1, 2, 3, 3]).repeat(2)
    halves = [
        supcon_loss(z[start : start + 8], label[start : start + 8], 0.1, z, label, first=start) for start in (0, 8)
    ]
    assert (sum(halves) / 2).item() == pytest.approx(supcon_loss(z, label, 0.1).item(), rel=1e-6)


@pytest.mark.parametrize("rows", [1, 0])
def test_supcon_needs_two_rows(rows: int) -> None:
    with pytest.raises(ValueError, match="two rows"):
        supcon_loss(torch.ones(rows, 3), torch.zeros(rows, dtype=torch.int64))


# --- training ---
def test_simclr_does_not_learn_from_labels(view: TrainingView, tmp_path: Path) -> None:
    """Other labels, or none: the same weights, bit for bit, when everything is drawn alike."""
    weights = []
    for label in (view.label, view.label.flip(0), torch.full_like(view.label, -1)):
        torch.manual_seed(0)
        module = SimCLR(SmallCNN, DIGITS, augment=AUGMENT)
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, datamodule=view.plain().with_labels(label))
        assert ("simclr/knn" in trainer.callback_metrics) is bool((label >= 0).any())
        weights.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("projector", ["mlp", "linear"])
def test_a_projector_has_biases_or_none(bias: bool, projector: Any, view: TrainingView) -> None:
    module = SimCLR(partial(SmallCNN, width=4), view.image_spec, projector=projector, projector_bias=bias)
    layers = [layer for layer in module.network.head.modules() if isinstance(layer, torch.nn.Linear)]
    assert [layer.bias is not None for layer in layers] == [bias] * (2 if projector == "mlp" else 1)


def test_the_contrast_gets_better(view: TrainingView, runner: Runner) -> None:
    build = partial(SimCLR, SmallCNN, DIGITS, augment=AUGMENT, lr=0.1)
    losses = []
    for epochs in (1, 40):
        module = runner.fit("simclr", build, view.plain().with_batch_size(100), max_epochs=epochs)
        torch.manual_seed(0)
        image = AUGMENT(view.batch(torch.arange(200), augmented=False)["image"].repeat(2, 1, 1, 1))
        losses.append(NTXentLoss(0.5)(*module(image).chunk(2)).item())
    assert losses[1] < losses[0] - 0.2, losses


def test_the_embedding_table_is_the_network_image_by_image(view: TrainingView, runner: Runner) -> None:
    module = runner.fit("simclr", partial(SimCLR, SmallResNet, DIGITS, augment=AUGMENT), view.plain(), max_epochs=1)
    table = runner.predict("embed", Embedding(module), view)
    image = view.batch(torch.arange(7), augmented=False)["image"]
    with torch.no_grad():
        assert torch.allclose(table.embedding[:7], module(image), atol=1e-5)
        assert torch.allclose(table.features[:7], module.network.features(module.normalize(image)), atol=1e-5)
    assert table.embedding.shape == (200, 128)
    assert table.features.shape == (200, 64)


def test_the_probe_moves_nothing_but_its_layer(view: TrainingView, runner: Runner) -> None:
    encoder = runner.fit("supcon", partial(SupCon, SmallResNet, DIGITS, augment=AUGMENT), view.plain(), max_epochs=3)
    probe = runner.fit("probe", partial(LinearProbe, SmallResNet, DIGITS, encoder=encoder, lr=0.1), view, max_epochs=2)
    before, after = encoder.network.state_dict(), probe.network.state_dict()
    shared = [k for k in before if not k.startswith("head.")]
    assert shared
    assert all(torch.equal(before[k], after[k]) for k in shared)  # batch statistics too
    assert after["head.weight"].shape == (10, 64)
    fresh = LinearProbe(SmallResNet, DIGITS)
    fresh.load_state_dict(probe.state_dict())  # a checkpoint needs no encoder
    image = view.batch(torch.arange(5), augmented=False)["image"]
    assert torch.equal(fresh.eval()(image), probe(image))


def test_the_autoencoder_gives_images_back(view: TrainingView, runner: Runner) -> None:
    build = partial(Autoencoder, SmallCNN, DIGITS, dimension=32, width=8)
    module = runner.fit("autoencoder", build, view.plain(), max_epochs=40)
    image = view.batch(torch.arange(200), augmented=False)["image"]
    with torch.no_grad():
        error = (module.decoder(module(image)) - image).square().mean()
    assert error < 0.5 * (image - image.mean(0)).square().mean()


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 20), (33, 7)])
def test_a_decoder_makes_images_of_any_size(size: tuple[int, int]) -> None:
    image = Decoder(16, 3, *size, base=4)(torch.randn(2, 16))
    assert image.shape == (2, 3, *size)
    assert 0 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize("module", [SimCLR, SupCon, Autoencoder, Classifier])
def test_alone_a_module_takes_the_shape_of_its_data(
    module: type[ImageModule], view: TrainingView, tmp_path: Path
) -> None:
    """``cleanse fit --config simclr.yaml``: nobody tells the module about channels and classes."""
    alone = module(SmallCNN)  # type: ignore[call-arg]
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(alone, datamodule=view.plain())
    assert alone.built
    assert alone.normalize.mean.flatten().tolist() == pytest.approx(list(view.mean))


# --- schedules and bad input ---
def test_the_learning_rate_warms_up_and_follows_a_cosine() -> None:
    rates = [learning_rate_factor(s, 1000, 100, 0.02, cosine=True) for s in range(1001)]
    assert rates[0] == 0.02
    assert rates[1000] == pytest.approx(0.001)
    assert all(a < b for a, b in pairwise(rates[:101]))
    assert all(a > b for a, b in pairwise(rates[100:]))
    assert rates[500] == pytest.approx(0.5005)
    assert learning_rate_factor(700, 1000, 100, 0.02, cosine=False) == 1


class Plain(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()


def test_bad_input(view: TrainingView, runner: Runner) -> None:
    with pytest.raises(ValueError, match="has no features"):
        SimCLR(Plain, DIGITS)
    with pytest.raises(ValueError, match="temperature is a number above 0"):
        SimCLR(SmallCNN, DIGITS, temperature=0)
    with pytest.raises(ValueError, match="optimizer is one of sgd, adam"):
        SimCLR(SmallCNN, DIGITS, optimizer="lars")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two images"):
        runner.fit("one", partial(SimCLR, SmallCNN, DIGITS, augment=AUGMENT), view.with_batch_size(1), max_epochs=1)
    with pytest.raises(ValueError, match="some images have none"):
        runner.fit("none", partial(SupCon, SmallCNN, DIGITS, augment=AUGMENT), view.unlabeled(), max_epochs=1)
    with pytest.raises(ValueError, match="another network"):
        LinearProbe(SmallResNet, DIGITS, encoder=SupCon(SmallCNN, DIGITS, augment=AUGMENT))
