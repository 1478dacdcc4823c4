"""LabelConsistent: whose images it changes and how far, its trigger pixel by pixel, and that it is frozen."""

from functools import partial
from pathlib import Path

import pytest
import torch

from cleanse.attacks import POISON, LabelConsistent
from cleanse.attacks.base import build_for
from cleanse.attacks.label_consistent import HardImages
from cleanse.cli.poison import freeze
from cleanse.data import Digits, Frozen
from cleanse.engine.runner import Runner
from cleanse.functional.pgd import pgd, random_start
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN

SURROGATE = partial(Classifier, partial(SmallCNN, width=8), lr=0.02)
# Turner's repository, all corners at full amplitude: 1 white, 0 black, . untouched (8x8)
CORNERS = ["100..001", "010..010", "101..101", "........", "........", "100..001", "010..010", "101..101"]


def attack(**arguments: object) -> LabelConsistent:
    small = {"surrogate_epochs": 3, "surrogate_batch_size": 32, "class_rate": 0.5, "target": 3, "steps": 5}
    return LabelConsistent(SURROGATE, **{**small, **arguments})  # type: ignore[arg-type]


def digits(runner: Runner, **arguments: object) -> Digits:
    data = Digits(attack=attack(**arguments), limit_train=200, limit_test=60, batch_size=32, seed=0)
    data.learn_attack(runner)
    return data


def test_the_four_corners_pixel_by_pixel() -> None:
    made = attack()
    made.draw((2, 8, 8), torch.Generator())
    out = made.trigger(torch.full((1, 2, 8, 8), 77, dtype=torch.uint8))[0]
    want = torch.tensor([[{"1": 255, "0": 0, ".": 77}[c] for c in row] for row in CORNERS], dtype=torch.uint8)
    assert torch.equal(out, want.expand(2, 8, 8))
    faint = attack(amplitude=16, pattern="corner")
    faint.draw((1, 8, 8), torch.Generator())
    difference = faint.trigger(torch.full((1, 1, 8, 8), 250, dtype=torch.uint8))[0, 0].int() - 250
    assert difference[5:, 5:].tolist() == [[-16, -16, 5], [-16, 5, -16], [5, -16, 5]]  # clipped at 255
    assert difference.count_nonzero() == 9


@pytest.mark.parametrize(("inset", "last"), [(None, 28), (0, 31), (5, 26)])
def test_where_the_gray_patch_lies(inset: int | None, last: int) -> None:
    """In the corner, as Pal et al. 2023 say, or inset by 3 of 32 pixels, as in the public code."""
    made = attack(pattern="gray", inset=inset)
    made.draw((1, 32, 32), torch.Generator())
    changed = (made.trigger(torch.full((1, 1, 32, 32), 77, dtype=torch.uint8))[0, 0] != 77).nonzero()
    assert changed.min().item() == last - 4
    assert changed.max().item() == last


def test_only_the_target_class_changes_and_keeps_its_label(runner: Runner) -> None:
    data = digits(runner, eps=0.1, step=0.03)
    view, clean = data.training_view(), Digits(limit_train=200, seed=0).training_view()
    changed = (view.source.image != clean.source.image).flatten(1).any(1)
    assert torch.equal(changed, data.truth.poisoned)
    assert torch.equal(view.label, clean.label)
    assert (view.label[changed] == 3).all()
    assert int(changed.sum()) == int((clean.label == 3).sum()) // 2
    moved = (view.source.image.int() - clean.source.image.int())[changed][:, :, 3:5]  # between the corners
    assert 0 < moved.abs().max() <= round(0.1 * 255)


def test_the_hard_images_are_a_stage_that_is_made_once(runner: Runner) -> None:
    data = digits(runner, random_start=True)
    assert [name for name, _ in runner.stages] == ["surrogate", "pgd"]
    again = Runner(runner.root, arguments=runner.arguments)
    same = digits(again, random_start=True)
    assert again.computed == 0
    assert torch.equal(same.training_view().source.image, data.training_view().source.image)


def test_its_plan_counts_the_steps_of_every_image() -> None:
    clean = Digits(limit_train=60, seed=0).training_view()
    role = torch.zeros(60, dtype=torch.int8)
    role[:7] = POISON
    _, search = attack(steps=9).plan_learn(clean, role)
    assert (search.name, search.rows) == ("pgd", 7)
    assert search.work == pytest.approx(9 * 7)


def test_a_start_at_another_place_is_another_stage(runner: Runner) -> None:
    changed = [digits(runner, random_start=r, eps=0.3, step=0.1).training_view().source.image for r in (False, True)]
    assert runner.computed == 3  # one classifier, two searches
    assert not torch.equal(*changed)


@pytest.mark.parametrize("started", [False, True])
def test_the_hard_images_are_those_of_pgd(started: bool, runner: Runner) -> None:
    view = Digits(limit_train=40, seed=0).training_view()
    model = runner.fit("model", partial(build_for, SURROGATE, view), view, max_epochs=1)
    begin = random_start((40, 1, 8, 8), "inf", 0.2, torch.Generator().manual_seed(1)) if started else None
    found = runner.predict("pgd", HardImages(model, "inf", 0.2, 0.05, 4, begin), view).image
    expected = pgd(model, view.images(torch.arange(40)).float() / 255, view.label, "inf", 0.2, 0.05, 4, begin)
    assert torch.equal(found, (expected * 255).round().to(torch.uint8))


def test_test_images_get_the_trigger_alone(runner: Runner) -> None:
    data = digits(runner)
    clean, triggered = data.clean_test(), data.triggered_test()
    assert triggered is not None
    assert (triggered.label != 3).all()
    assert len(triggered) == int((clean.label != 3).sum())
    difference = triggered.source.image != clean.source.image[clean.label != 3]
    outside = torch.tensor([[c == "." for c in row] for row in CORNERS])
    assert not difference[:, :, outside].any()
    assert difference.any()


def test_hard_images_are_hard(runner: Runner) -> None:
    """The attacker's classifier no longer knows them."""
    data = digits(runner, eps=0.3, step=0.1, amplitude=1, surrogate_epochs=20)
    view, clean = data.training_view(), Digits(limit_train=200, seed=0).training_view()
    model, rows = build_for(SURROGATE, clean).eval(), data.truth.poisoned
    model.load_state_dict(torch.load(dict(runner.stages)["surrogate"] / "model.ckpt", weights_only=True)["state_dict"])
    right = [(model(v.source.image[rows].float() / 255).argmax(1) == 3).float().mean() for v in (clean, view)]
    assert right[0] > 0.6
    assert right[1] < right[0] / 2


def test_the_same_again_and_another_with_another_classifier(tmp_path: Path) -> None:
    specs, pixels = [], []
    for root, arguments in (("a", {}), ("b", {}), ("c", {"surrogate_epochs": 2}), ("d", {"random_start": True})):
        data = digits(Runner(tmp_path / root, arguments={"accelerator": "cpu", "devices": 1}), **arguments)
        specs.append(data.training_view().source.spec)
        pixels.append(data.training_view().source.image)
    assert specs[0] == specs[1]
    assert torch.equal(pixels[0], pixels[1])
    for i in (2, 3):
        assert specs[0] != specs[i]
        assert not torch.equal(pixels[0], pixels[i])


@pytest.mark.parametrize("pattern", ["corners", "gray", "rgb"])
def test_frozen_without_its_classifier(pattern: str, runner: Runner, tmp_path: Path) -> None:
    """Pal et al.'s gray patch too; the state holds the trigger only."""
    data = digits(runner, pattern=pattern)
    freeze(data, tmp_path / "out")
    thawed, triggered = Frozen(str(tmp_path / "out")), data.triggered_test()
    assert torch.equal(thawed.training_view().source.image, data.training_view().source.image)
    assert triggered is not None
    assert thawed.attack is not None
    assert torch.equal(thawed.triggered_test().source.image, triggered.source.image)  # type: ignore[union-attr]
    names = {"added"} if pattern == "corners" else {"patch.trigger_image", "patch.trigger_mask"}
    assert set(thawed.attack.state_dict()) == names
    clean = data.clean_test()
    again = thawed.attack.trigger(clean.source.image[thawed.attack.measured(clean.label)])
    assert torch.equal(again, triggered.source.image)


def test_the_unlabeled_part_counts_within_the_target_class(runner: Runner) -> None:
    data = Digits(attack=attack(unlabeled_rate=1.0), limit_train=200, labeled=0.5, batch_size=32, seed=0)
    data.learn_attack(runner)
    view, truth = data.training_view(), data.truth
    assert (truth.true_label[truth.poisoned] == 3).all()
    assert torch.equal(truth.poisoned[~view.labeled], (truth.true_label == 3)[~view.labeled])


def test_refusals(runner: Runner) -> None:
    for arguments, message in (
        ({"norm": "1"}, "norm is one of inf, 2"), ({"eps": -1.0}, "eps is 0 or more"),
        ({"pattern": "left"}, "pattern is one of corners, corner, gray, rgb"), ({"amplitude": 0}, "1 to 255, not 0"),
        ({"size": 2}, "for the gray and rgb patches"), ({"inset": 2}, "inset=2 is for the gray and rgb"),
        ({"surrogate_epochs": 0}, "at least 1"),
        ({"source": 3}, "needs two different classes"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            attack(**arguments)
    with pytest.raises(ValueError, match="6x6 pixels or more, not 5x9"):
        attack().draw((1, 5, 9), torch.Generator())
    with pytest.raises(ValueError, match="trains a classifier before it poisons"):
        Digits(attack=attack(), limit_train=200, seed=0).training_view()
