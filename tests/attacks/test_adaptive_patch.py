"""The adaptive patch of Wang et al. 2022: it learns, changes its own pixels only, and is frozen."""

from functools import partial
from pathlib import Path

import pytest
import torch

from cleanse.attacks import AdaptivePatch
from cleanse.attacks.adaptive_patch import PatchSearch, _mean_embedding
from cleanse.augment import SimCLRAugment
from cleanse.cli.poison import freeze
from cleanse.data import Digits, Frozen
from cleanse.engine.runner import Runner
from cleanse.modules import SimCLR
from cleanse.networks import SmallCNN

SURROGATE = partial(SimCLR, partial(SmallCNN, width=8), augment=SimCLRAugment(flip=0, jitter=0, gray=0), lr=0.1)


def attack(**arguments: object) -> AdaptivePatch:
    small = {"surrogate_epochs": 2, "surrogate_batch_size": 100, "size": 3, "epochs": 20, "batch_size": 50, "count": 15}
    return AdaptivePatch(SURROGATE, **{**small, **arguments})  # type: ignore[arg-type]


def digits(**arguments: object) -> Digits:
    return Digits(attack=attack(**arguments), limit_train=200, limit_test=50, batch_size=32, seed=0)


def test_the_objective_falls_and_it_is_the_mean_distance(runner: Runner) -> None:
    data = digits()
    data.learn_attack(runner)
    directory = dict(runner.stages)
    view = data._view(data._clean(), None).plain()
    encoder = runner.fit("surrogate", partial(SURROGATE, view.image_spec), view, max_epochs=1)
    goal = _mean_embedding(encoder, view.subset(view.label == 0))
    rows = view.label == 0
    expected = torch.nn.functional.normalize(encoder(view.batch(rows.nonzero()[:, 0], False)["image"]), dim=1).mean(0)
    assert torch.allclose(goal, expected.detach(), atol=1e-5)
    assert goal.norm() < 1
    others = view.subset(~rows).with_batch_size(50)

    def distance(search: PatchSearch) -> float:
        image = others.batch(torch.arange(len(others)), augmented=False)["image"]
        with torch.no_grad():
            z = torch.nn.functional.normalize(encoder(search.patched(image)), dim=1)
        return float((z - goal).norm(dim=1).mean())

    build = partial(PatchSearch, encoder, goal, 1, 3, 0.1)
    assert distance(runner.fit("patch", build, others, max_epochs=20)) < distance(build()) - 1e-3
    assert set(directory) == {"surrogate", "patch"}  # cached stages like any other


def test_a_patch_of_half_its_levels_begins_and_is_rounded() -> None:
    search = PatchSearch(torch.nn.Flatten(), torch.zeros(4), 1, 2, 0.1)  # type: ignore[arg-type]
    with torch.no_grad():
        search.logit.copy_(torch.tensor([[[-9.0, -1.0], [0.0, 3.0]]]).expand_as(search.logit))
    expected = [[0, 69], [128, 243]]
    assert search.rounded()[0].tolist() == expected


def test_it_fits_images_that_are_as_high_or_as_wide_and_no_smaller() -> None:
    made = attack(size=5)
    made.register_buffer("patch", torch.full((1, 5, 5), 9, dtype=torch.uint8))
    assert int((made.trigger(torch.zeros(1, 1, 5, 8, dtype=torch.uint8)) == 9).sum()) == 25
    for height, width in ((4, 8), (8, 4)):
        with pytest.raises(ValueError, match=f"size=5 is larger than the image, {height}x{width} pixels"):
            made.trigger(torch.zeros(1, 1, height, width, dtype=torch.uint8))


def test_only_the_corner_changes_and_the_count_is_met(runner: Runner, tmp_path: Path) -> None:
    data = digits()
    data.learn_attack(runner)
    view, clean = data.training_view(), Digits(limit_train=200, seed=0).training_view()
    changed = view.source.image != clean.source.image
    assert not changed[:, :, 3:].any()
    assert not changed[:, :, :, 3:].any()
    assert data.truth.poisoned.sum() == 15
    assert (view.label[data.truth.poisoned] == 0).all()
    patch = data.attack.patch  # type: ignore[union-attr]
    assert patch.dtype == torch.uint8
    assert (view.source.image[data.truth.poisoned][:, :, :3, :3] == patch).all()
    triggered = data.triggered_test()
    assert triggered is not None
    assert (triggered.source.image[:, :, :3, :3] == patch).all()
    freeze(data, tmp_path / "out")  # as files: nothing has to be trained again
    thawed = Frozen(str(tmp_path / "out"))
    assert torch.equal(thawed.training_view().source.image, view.source.image)
    assert torch.equal(thawed.triggered_test().source.image, triggered.source.image)  # type: ignore[union-attr]


def test_the_same_patch_again_and_another_with_other_arguments(tmp_path: Path) -> None:
    found = []
    for root, size in (("a", 3), ("b", 3), ("c", 2)):
        data = digits(size=size)
        data.learn_attack(Runner(tmp_path / root, arguments={"accelerator": "cpu", "devices": 1}))
        found.append((data.attack.learned, data.training_view().source.spec))  # type: ignore[union-attr]
    (one, first), (two, second), (other, third) = found
    assert torch.equal(one, two)
    assert first == second
    assert third != first
    assert other.shape == (1, 2, 2)


def test_bad_input(runner: Runner) -> None:
    with pytest.raises(ValueError, match="size=9 is larger than the image, 8x8"):
        digits(size=9).learn_attack(runner)
    with pytest.raises(ValueError, match="trains an encoder before"):
        digits().training_view()
    with pytest.raises(ValueError, match="epochs is at least 1"):
        attack(epochs=0)
