"""Narcissus: its pattern is within eps, lowers the target's loss, is amplified in tests, and is frozen."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from read_back import assert_its_trigger_is_read_back
from torch.nn.functional import cross_entropy

from cleanse.attacks import POISON, Narcissus
from cleanse.attacks.narcissus import PatternSearch, TargetOnly
from cleanse.data import Digits
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.utils.image_spec import ImageSpec

SURROGATE = partial(Classifier, partial(SmallCNN, width=8), lr=0.02)
SMALL: dict[str, Any] = {
    "surrogate_epochs": 3, "surrogate_batch_size": 64, "warmup_epochs": 1, "warmup_lr": 0.01, "rounds": 20, "eps": 0.2,
    "count": 8, "target": 3,
}  # fmt: skip


def digits(runner: Runner, **more: Any) -> Digits:
    data = Digits(attack=Narcissus(SURROGATE, **{**SMALL, **more}), limit_train=200, limit_test=60, seed=0)
    data.learn_attack(runner)
    return data


def test_a_few_images_of_the_target_get_the_pattern_and_keep_their_label(runner: Runner) -> None:
    data, clean = digits(runner), Digits(limit_train=200, seed=0).training_view()
    view, rows = data.training_view(), data.truth.role == POISON
    added = data.attack.added  # type: ignore[union-attr]
    assert int(rows.sum()) == 8
    assert set(clean.label[rows].tolist()) == {3}
    assert torch.equal(view.label, clean.label)
    assert torch.equal(view.source.image[rows], (clean.source.image[rows].short() + added).clamp(0, 255).byte())
    assert torch.equal(view.source.image[~rows], clean.source.image[~rows])
    assert 0 < int(added.abs().max()) <= 51


def test_test_images_get_it_three_times_as_strong(runner: Runner) -> None:
    attack = digits(runner).attack
    assert isinstance(attack, Narcissus)
    attack.draw((1, 8, 8), torch.Generator())
    found = attack.learned
    assert found is not None
    expected = (255 * 3 * found).round()
    gray = torch.full((1, 1, 8, 8), 128, dtype=torch.uint8)
    assert torch.equal(attack.trigger(gray)[0].float(), (128 + expected).clamp(0, 255))


def test_each_training_has_its_epochs(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []
    fit = Runner.fit

    def look(self: Runner, name: str, build: Any, data: Any, **trainer: Any) -> Any:
        asked.append((name, trainer["max_epochs"]))
        return fit(self, name, build, data, **trainer)

    monkeypatch.setattr(Runner, "fit", look)
    digits(runner, rounds=4, warmup_epochs=2)
    assert asked == [("surrogate", 3), ("warm-up", 2), ("pattern", 4)]


def test_the_search_lowers_the_loss_within_eps_and_leaves_the_model(runner: Runner) -> None:
    view = Digits(limit_train=200, seed=0, batch_size=64).training_view()
    model = Classifier(partial(SmallCNN, width=8), view.image_spec)
    model.stage_key = "key"  # type: ignore[assignment]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    own = view.subset(view.label == 3).with_batch_size(16).plain()
    found = runner.fit("pattern", partial(PatternSearch, model, (1, 8, 8), 0.2, 0.05), own, max_epochs=60).pattern
    image = own.images(torch.arange(len(own))).float() / 255
    model.eval()
    plain, changed = model(image), model((image + found).clamp(0, 1))
    assert cross_entropy(changed, own.label) < cross_entropy(plain, own.label) - 0.02
    assert float(found.abs().max()) <= 0.2 + 1e-6
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_the_warm_up_trains_a_copy() -> None:
    model = Classifier(partial(SmallCNN, width=4), ImageSpec(1, 3, (0.5,), (0.5,), (8, 8)))
    copy = TargetOnly(model.requires_grad_(False), 0.1)
    with torch.no_grad():
        next(copy.model.parameters()).add_(1)
    assert not torch.equal(next(copy.model.parameters()), next(model.parameters()))
    assert next(copy.model.parameters()).requires_grad


def test_its_files_are_read_back(runner: Runner, tmp_path: Path) -> None:
    data = digits(runner)
    assert_its_trigger_is_read_back(data, tmp_path / "out")


def test_without_training_it_poisons_nothing() -> None:
    with pytest.raises(ValueError, match="trains a classifier before it poisons"):
        Digits(attack=Narcissus(SURROGATE, count=3), limit_train=50).training_view()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": 0}, "rounds is at least 1, not 0"),
        ({"warmup_lr": 0.0}, "warmup_lr is a number above 0"),
        ({"amplify": -1.0}, "amplify is a number above 0"),
        ({"eps": 0.001}, "eps is a fraction of white, from 1/255 to 1"),
    ],
)
def test_refuses(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Narcissus(SURROGATE, count=3, **wrong)


def test_refuses_images_of_another_size(runner: Runner) -> None:
    attack = digits(runner).attack
    assert attack is not None
    attack.draw((1, 8, 8), torch.Generator())
    with pytest.raises(ValueError, match=r"drawn for images of \(1, 8, 8\)"):
        attack.trigger(torch.zeros(1, 1, 9, 8, dtype=torch.uint8))


def test_a_target_class_without_an_image_is_named(runner: Runner) -> None:
    attack, clean = Narcissus(SURROGATE, **SMALL), Digits(limit_train=60, seed=0).training_view()
    attack.check_classes(10, ["c0", "c1", "c2", "the third", *(f"c{i}" for i in range(4, 10))])
    others = clean.subset(clean.label != 3)
    with pytest.raises(ValueError, match="no image of the target class 'the third' to learn from"):
        attack.learn(others, torch.zeros(len(others), dtype=torch.int8), 0, runner)
