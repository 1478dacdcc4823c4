"""InputAware: a trigger of its own for each image, covers with another's, frozen with its networks' weights."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from read_back import assert_its_trigger_is_read_back

from cleanse.attacks import COVER, POISON, InputAware
from cleanse.attacks.input_aware import LearnTriggers, diversity, put_trigger, sharpen
from cleanse.data import Digits
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.networks.pattern_net import PatternNet
from cleanse.utils.image_spec import ImageSpec

SURROGATE = partial(Classifier, partial(SmallCNN, width=8), lr=0.02)
SMALL: dict[str, Any] = {"epochs": 2, "mask_epochs": 1, "batch_size": 50, "width": 4, "target": 3, "count": 20}


def digits(runner: Runner, **more: Any) -> Digits:
    data = Digits(attack=InputAware(SURROGATE, **{**SMALL, **more}), limit_train=200, limit_test=60, seed=0)
    data.learn_attack(runner)
    return data


def test_rows_labels_and_covers(runner: Runner) -> None:
    data, clean = digits(runner), Digits(limit_train=200, seed=0).training_view()
    view, poison, cover = data.training_view(), data.truth.role == POISON, data.truth.role == COVER
    assert (int(poison.sum()), int(cover.sum())) == (20, 20)
    assert set(view.label[poison].tolist()) == {3}
    assert torch.equal(view.label[~poison], clean.label[~poison])
    assert data.attack is not None
    assert torch.equal(view.source.image[poison], data.attack.trigger(clean.source.image[poison]))
    others = view.source.image[cover]
    assert not torch.equal(others, data.attack.trigger(clean.source.image[cover]))
    untouched = ~(poison | cover)
    assert torch.equal(view.source.image[untouched], clean.source.image[untouched])


def test_an_image_gets_the_same_trigger_in_any_batch(runner: Runner) -> None:
    data = digits(runner)
    data.setup()
    image = data.training_view().source.image
    assert data.attack is not None
    assert torch.equal(data.attack.trigger(image)[7:8], data.attack.trigger(image[7:8]))
    assert len(data.attack.trigger(image[:0])) == 0


def test_the_mask_says_where_the_pattern_shows() -> None:
    left = torch.tensor([1.0, 0.0]).expand(2, 1, 1, 2)
    out = put_trigger(lambda x: 1 - x, lambda x: left, torch.full((2, 1, 1, 2), 0.2), torch.full((2, 1, 1, 2), 0.9))  # type: ignore[arg-type]
    torch.testing.assert_close(out, torch.tensor([0.1, 0.2]).expand(2, 1, 1, 2))


def test_a_level_becomes_nearly_all_or_nothing() -> None:
    torch.testing.assert_close(sharpen(torch.tensor([0.4, 0.6])), torch.tensor([0.018, 0.982]), atol=1e-3, rtol=0)


def test_answers_that_are_alike_for_unlike_images_cost() -> None:
    first, second = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    alike, unlike = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.5)
    assert diversity(first, second, alike, unlike).item() == pytest.approx(2, abs=0.01)
    assert diversity(first, second, alike, alike) > 100


def test_the_second_loss_is_that_of_three_kinds_of_images() -> None:
    """A tenth with its own trigger and the target's label, a tenth with another image's and its own, and the rest."""
    torch.manual_seed(0)
    classifier = partial(Classifier, partial(SmallCNN, width=4), ImageSpec(1, 10, (0.3,), (0.3,), (8, 8)))
    module = LearnTriggers(classifier, 1, 3, 0, 0.01, 0.1, 0.032, 4)
    image, label = torch.rand(50, 1, 8, 8), torch.arange(50) % 10
    logged: dict[str, torch.Tensor] = {}
    module.log_dict = lambda found, **_: logged.update(found)  # type: ignore[method-assign, assignment]
    loss = module.training_step({"image": image, "label": label, "index": torch.arange(50)}, 0)
    with torch.no_grad():
        made, meant = image.clone(), label.clone()
        for i in range(10):
            donor = image[i : i + 1] if i < 5 else image[i - 1 : i]
            made[i] = put_trigger(module.generator, module.mask, image[i : i + 1], donor)[0]
        meant[:5] = 3
        logits = module.classifier(made)
        expected = torch.nn.functional.cross_entropy(logits, meant)
        others = torch.cat([image[49:], image[:4]])
        alike = diversity(image[:5], others, module.generator(image[:5]), module.generator(others))
    assert loss.item() == pytest.approx((expected + alike).item(), rel=1e-4)
    assert logged["input_aware/loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert logged["input_aware/hit"].item() == pytest.approx((logits[:5].argmax(1) == 3).double().mean().item())


@pytest.mark.parametrize(("mask_epochs", "trained"), [(1, {"mask"}), (0, {"generator", "classifier"})])
def test_the_mask_is_trained_first_and_then_the_others(mask_epochs: int, trained: set[str]) -> None:
    classifier = partial(Classifier, partial(SmallCNN, width=4), ImageSpec(1, 10, (0.3,), (0.3,), (8, 8)))
    module = LearnTriggers(classifier, 1, 3, mask_epochs, 0.01, 0.1, 0.032, 4)
    batch = {"image": torch.rand(50, 1, 8, 8), "label": torch.arange(50) % 10, "index": torch.arange(50)}
    module.training_step(batch, 0).backward()
    assert {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None} == trained


def test_its_files_are_read_back(runner: Runner, tmp_path: Path) -> None:
    data = digits(runner)
    assert_its_trigger_is_read_back(data, tmp_path / "out")


def test_any_size_and_any_channels() -> None:
    for shape in ((3, 32, 32), (1, 8, 8), (3, 9, 7)):
        out = PatternNet(shape[0], 1, 4)(torch.rand(2, *shape))
        assert out.shape == (2, 1, *shape[1:])


def test_without_training_it_poisons_nothing() -> None:
    with pytest.raises(ValueError, match="trains a generator before it poisons"):
        Digits(attack=InputAware(SURROGATE, count=3), limit_train=50).training_view()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs is at least 1, not 0"),
        ({"lr": 0.0}, "lr is a number above 0"),
        ({"share": 0.6}, "share is a fraction between 0 and 0.5"),
        ({"cover_rate": 2.0}, "cover_rate is a fraction between 0 and 1"),
    ],
)
def test_refuses(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InputAware(SURROGATE, count=3, **wrong)
