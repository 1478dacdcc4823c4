"""ISSBA: a short real training hides bits and spares the images; the loss, the poison, the state and the messages."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cleanse.attacks import ISSBA, POISON
from cleanse.attacks.issba import HideSecrets, hide, measure
from cleanse.cli.poison import freeze
from cleanse.data import Digits, Frozen
from cleanse.engine.runner import Runner
from cleanse.views import TrainingView


class Distance(nn.Module):
    """A perceptual distance of the shape that LPIPS gives."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        assert float(x.min()) >= -1
        assert float(x.max()) <= 1
        assert y.min() == -1
        return self.scale * (x - y).abs().mean((1, 2, 3), keepdim=True)


def attack(**arguments: Any) -> ISSBA:
    return ISSBA(**{"bits": 4, "epochs": 2, "secret_epochs": 1, "base": 4, "class_rate": 0.1, **arguments})


def digits(**arguments: Any) -> Digits:
    return Digits(attack=attack(**arguments), limit_train=200, limit_test=50, seed=0)


def random_images(number: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(256, (number, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_loss_is_the_weighted_sum_and_the_first_epochs_know_no_image() -> None:
    torch.manual_seed(0)
    module = HideSecrets(4, (1, 8, 8), 2.0, 1.5, 3.0, partial(Distance, 0.5), secret_epochs=1, base=4)
    image, bits = torch.rand(6, 1, 8, 8).round(), torch.randint(2, (6, 4))
    residual = module.encoder(image, bits)
    hidden = (image + residual).clamp(0, 1)
    p = module.decoder(hidden).sigmoid()
    secret = -torch.where(bits > 0, p.log(), (1 - p).log()).mean()
    image_loss, distance = (residual**2).mean(), 0.5 * (2 * hidden - 2 * image).abs().mean()
    early, late = module.loss(image, bits, secret_only=True), module.loss(image, bits, secret_only=False)
    torch.testing.assert_close(early["loss"], 3 * secret)
    torch.testing.assert_close(late["loss"], 3 * secret + 2 * image_loss + 1.5 * distance)
    given = [*module.encoder.parameters(), *module.decoder.parameters()]
    trained = module.configure_optimizers().param_groups[0]["params"]
    assert [id(p) for p in trained] == [id(p) for p in given]  # the perceptual module's stay as they are


def test_secret_epochs_are_the_first_ones(runner: Runner, view: TrainingView) -> None:
    """Without image loss the training is the same whatever the image's weight."""
    found = {}
    for weight in (0.0, 50.0):
        for epochs, secret_epochs in ((1, 1), (2, 1)):
            build = partial(HideSecrets, 4, (1, 8, 8), weight, secret_epochs=secret_epochs, lr=1e-3, base=4)
            with torch.random.fork_rng():
                module = trained(build, view, epochs, runner.root / f"{weight}{epochs}")
            found[weight, epochs] = torch.cat([p.flatten() for p in module.parameters()])
    assert torch.equal(found[0.0, 1], found[50.0, 1])
    assert not torch.equal(found[0.0, 2], found[50.0, 2])


def trained(build: Any, view: TrainingView, epochs: int, root: Path) -> HideSecrets:
    """Fitted with one seed, whatever is built: a stage's own seed comes from all its arguments."""
    from lightning.pytorch import Trainer

    torch.manual_seed(0)
    view.seed, module = 0, build()
    Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=root,
    ).fit(module, datamodule=view)  # fmt: skip
    return module  # type: ignore[no-any-return]


@pytest.mark.slow
def test_it_hides_bits_and_spares_the_image(runner: Runner, caplog: pytest.LogCaptureFixture) -> None:
    """A real training, a few seconds of it: digits, 4 bits."""
    data = Digits(attack=attack(epochs=8, secret_epochs=3, batch_size=64, base=8, lr=3e-3), seed=0)
    with caplog.at_level(logging.INFO, "cleanse"):
        data.learn_attack(runner)
    left_out, said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("ISSBA: ")]
    assert left_out.endswith("the perceptual loss (LPIPS) is left out")
    accuracy, change = float(said.split()[1]) / 100, float(said.split()[-2])
    assert accuracy > 0.9
    assert change < 40
    clean, poisoned = Digits(seed=0).training_view(), data.training_view()
    rows = data.truth.poisoned
    assert int(rows.sum()) == int(0.1 * int((clean.label != 0).sum()))
    assert torch.equal(clean.source.image[~rows], poisoned.source.image[~rows])
    assert torch.equal(clean.label[~rows], poisoned.label[~rows])
    assert bool((poisoned.label[rows] == 0).all())
    difference = poisoned.source.image[rows].float() - clean.source.image[rows].float()
    assert bool(difference.flatten(1).any(1).all())
    assert len(difference.unique(dim=0)) > 0.9 * len(difference)  # sample-specific


def test_poison_freezes_with_the_encoder(runner: Runner, tmp_path: Path) -> None:
    data = digits(perceptual=partial(Distance, 0.1))
    data.learn_attack(runner)
    stages = list(runner.stages)
    assert [name for name, _ in stages] == ["issba"]
    freeze(data, tmp_path / "out")
    frozen, triggered = Frozen(str(tmp_path / "out")), data.triggered_test()
    assert torch.equal(frozen.training_view().source.image, data.training_view().source.image)
    thawed, clean = frozen.attack, frozen.clean_test()
    assert isinstance(thawed, ISSBA)
    assert triggered is not None
    assert set(thawed.state_dict()) == {"secret", "encoder_weights", "image_shape"}
    image = clean.source.image[thawed.measured(clean.label)]
    assert torch.equal(thawed.trigger(image), triggered.source.image)
    assert torch.equal(torch.cat([thawed.trigger(one[None]) for one in image]), triggered.source.image)
    again = digits(perceptual=partial(Distance, 0.1))
    computed = runner.computed
    again.learn_attack(runner)
    assert runner.computed == computed
    assert again.training_view().source.spec == data.training_view().source.spec
    other = digits(perceptual=partial(Distance, 0.1), lr=1e-3)
    other.learn_attack(runner)
    assert other.training_view().source.spec != data.training_view().source.spec
    assert torch.equal(other.attack.secret, data.attack.secret)  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 5, 9)])
def test_one_secret_for_all_at_any_size(shape: tuple[int, int, int], runner: Runner) -> None:
    image, label = random_images(40, shape), torch.arange(40) % 4
    one, untouched = attack(bits=20), image.clone()
    torch.manual_seed(0)
    module = HideSecrets(20, shape, base=4)
    one._found = torch.nn.utils.parameters_to_vector(module.encoder.parameters()).detach()
    before = torch.random.get_rng_state()
    result = one.poison(image, label, torch.ones(40, dtype=torch.bool), 4, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())  # building the encoder again draws nothing
    rows = result.role == POISON
    assert one.secret.shape == (20,)
    assert set(one.secret.tolist()) == {0, 1}
    assert int(rows.sum()) == 3
    bits = one.secret.expand(40, -1)
    expected = (image / 255 + module.encoder(image / 255, bits)).clamp(0, 1) * 255
    triggered = one.trigger(image)
    assert float((triggered - expected).abs().max()) <= 0.5 + 1e-2
    assert torch.equal(result.image[rows], triggered[rows])
    assert torch.equal(image, untouched)
    assert torch.equal(hide(module.encoder.double(), image, bits), triggered)
    fresh = attack(bits=20)
    fresh.load_state_dict(one.state_dict())
    assert torch.equal(fresh.trigger(image), triggered)


def test_measure_is_the_decoder_on_stored_images() -> None:
    module = HideSecrets(3, (1, 8, 8), base=4)
    nn.init.zeros_(module.encoder.residual.weight)
    weights = [p.clone() for p in module.parameters()]
    accuracy, change = measure(module, random_images(300, (1, 8, 8)), 3)
    assert change == 0
    assert 0.4 < accuracy < 0.6  # nothing is hidden: guesses
    assert all(torch.equal(p, q) and p.dtype == q.dtype for p, q in zip(weights, module.parameters(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 0}, "bits is at least 1, not 0"),
        ({"epochs": 0}, "epochs is at least 1, not 0"),
        ({"base": 0}, "base is at least 1, not 0"),
        ({"secret_epochs": 3}, "secret_epochs is a part of the 2 epochs, 0 to 2, not 3"),
        ({"image_weight": -1.0}, "image_weight is a weight in the loss, 0 or more, not -1.0"),
        ({"perceptual_weight": float("nan")}, "perceptual_weight is a finite number"),
        ({"secret_weight": 0.0}, "secret_weight is a number above 0, not 0.0: nothing would be hidden"),
        ({"lr": 0.0}, "lr is a number above 0"),
        ({"count": 3}, "ISSBA takes exactly one of count=3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(**arguments)


def test_no_trigger_without_a_training_and_none_of_another_shape() -> None:
    with pytest.raises(ValueError, match="ISSBA trains an encoder before it poisons"):
        digits().training_view()
    one = attack()
    with pytest.raises(ValueError, match="ISSBA has no trigger yet"):
        one.trigger(random_images(1, (1, 8, 8)))
    one._found = torch.zeros(7)
    one.draw((1, 8, 8), torch.Generator())
    with pytest.raises(ValueError, match="the encoder of 7 weights is none for 4 bits and images of"):
        one.trigger(random_images(1, (1, 8, 8)))
    with pytest.raises(ValueError, match=r"drawn for images of \(1, 8, 8\) .*, not of \(3, 8, 8\)"):
        one.trigger(random_images(1, (3, 8, 8)))
