"""AdversarialEmbedding: poisoned images come near the target class's, within eps, and the patch stays."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cleanse.attacks import POISON, AdversarialEmbedding, BadNets
from cleanse.attacks.adversarial_embedding import NearImages, encoded
from cleanse.attacks.base import build_for
from cleanse.cli.poison import freeze
from cleanse.data import Digits, Frozen
from cleanse.engine.runner import Runner
from cleanse.functional.pgd_toward import pgd_toward
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.utils.image_spec import ImageSpec

SURROGATE = partial(Classifier, partial(SmallCNN, width=8), lr=0.02)
ARGUMENTS: dict[str, Any] = {
    "surrogate_epochs": 3, "surrogate_batch_size": 32, "count": 30, "target": 3, "eps": 0.2, "step": 0.02, "steps": 20,
}  # fmt: skip


def digits(runner: Runner, **more: Any) -> Digits:
    data = Digits(
        attack=AdversarialEmbedding(SURROGATE, **{**ARGUMENTS, **more}), limit_train=200, limit_test=60, seed=0
    )
    data.learn_attack(runner)
    return data


def test_it_moves_within_eps_and_leaves_the_patch(runner: Runner) -> None:
    data, clean = digits(runner), Digits(limit_train=200, seed=0).training_view()
    view, rows = data.training_view(), data.truth.role == POISON
    change = (view.source.image[rows].int() - clean.source.image[rows].int()).abs()
    inside = data.attack.patch.trigger_mask  # type: ignore[union-attr, attr-defined]
    assert int(rows.sum()) == 30
    assert int(change[:, :, ~inside].max()) == 51
    stamped = data.attack.trigger(clean.source.image[rows])  # type: ignore[union-attr]
    assert torch.equal(view.source.image[rows][:, :, inside], stamped[:, :, inside])
    assert torch.equal(view.source.image[~rows], clean.source.image[~rows])
    assert set(view.label[rows].tolist()) == {3}
    assert 3 not in data.truth.true_label[rows].tolist()


def test_it_comes_nearer_to_the_target_class(runner: Runner) -> None:
    """Measured with the attacker's own encoder, against the same patch on images that were not moved."""
    data, clean = digits(runner), Digits(limit_train=200, seed=0).training_view()
    view = data.training_view()
    rows = data.truth.role == POISON
    model = runner.fit("surrogate", partial(build_for, SURROGATE, clean), clean.with_batch_size(32), max_epochs=3)
    see = partial(encoded, model)
    target = see(clean.source.image[clean.label == 3].float() / 255)
    stamped = data.attack.trigger(clean.source.image[rows])  # type: ignore[union-attr]
    before = torch.cdist(see(stamped.float() / 255), target).min(1).values.mean()
    after = torch.cdist(see(view.source.image[rows].float() / 255), target).min(1).values.mean()
    assert after < 0.95 * before


def test_each_image_comes_near_to_one_of_the_target_class(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    begin = NearImages.__init__

    def look(self: NearImages, model: Any, other: torch.Tensor, *more: Any) -> None:
        seen.append(other)
        begin(self, model, other, *more)

    monkeypatch.setattr(NearImages, "__init__", look)
    digits(runner)
    clean = Digits(limit_train=200, seed=0).training_view()
    target = clean.source.image[clean.label == 3]
    assert len(seen[0]) == 30
    assert all(bool((one == target).flatten(1).all(1).any()) for one in seen[0])
    assert len(seen[0].unique(dim=0)) > 5


def test_its_plan_counts_the_steps_of_every_image() -> None:
    clean = Digits(limit_train=60, seed=0).training_view()
    role = torch.zeros(60, dtype=torch.int8)
    role[:7] = POISON
    fit, search = AdversarialEmbedding(SURROGATE, **ARGUMENTS).plan_learn(clean, role)
    assert (fit.name, fit.epochs, search.name, search.rows) == ("surrogate", 3, "embedding", 7)
    assert search.work == pytest.approx(20 * 7)  # 20 steps, each as long as one of a training


def test_it_searches_in_single_precision_whatever_the_run_s() -> None:
    patch, seen = BadNets(class_rate=0.1), []
    patch.draw((1, 8, 8), torch.Generator())

    class Look(torch.nn.Flatten):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(image)

    image = torch.rand(2, 1, 8, 8)
    search = NearImages(Look(), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), patch, 0.1, 0.1, 2)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        search.predict_step({"index": torch.arange(2), "image": image}, 0)  # type: ignore[typeddict-item]
    assert seen == [False] * 3


def test_a_network_shows_its_features_and_another_module_what_it_gives() -> None:
    module = Classifier(partial(SmallCNN, width=4), ImageSpec(1, 3, (0.5,), (0.5,), (8, 8)))
    image = torch.rand(2, 1, 8, 8)
    assert encoded(module, image).shape == (2, 64)
    assert torch.equal(encoded(torch.nn.Flatten(), image), image.flatten(1))  # type: ignore[arg-type]


def test_another_seed_pairs_otherwise_and_the_same_repeats(runner: Runner) -> None:
    first, again = digits(runner), digits(runner)
    assert torch.equal(first.training_view().source.image, again.training_view().source.image)
    assert first.spec() == again.spec()
    assert first.attack.learned is not None  # type: ignore[union-attr]


def test_its_files_are_read_back(runner: Runner, tmp_path: Path) -> None:
    data = digits(runner)
    frozen = Frozen(str(freeze(data, tmp_path / "out")))
    assert torch.equal(frozen.training_view().source.image, data.training_view().source.image)
    assert torch.equal(frozen.triggered_test().source.image, data.triggered_test().source.image)  # type: ignore[union-attr]


def test_without_training_it_poisons_nothing() -> None:
    with pytest.raises(ValueError, match="trains an encoder before it poisons"):
        Digits(attack=AdversarialEmbedding(SURROGATE, count=3), limit_train=50).training_view()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"surrogate_epochs": 0}, "at least 1, not 0"),
        ({"eps": -1.0}, "eps is 0 or more"),
        ({"step": 0.0}, "step above 0"),
        ({"steps": -1}, "steps is 0 or more"),
    ],
)
def test_refuses(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdversarialEmbedding(SURROGATE, count=3, **wrong)


def test_the_descent_stops_at_the_goal_and_at_the_edge_of_levels() -> None:
    image, none = torch.tensor([[[[0.95, 0.5]]]]), torch.zeros(1, 2, dtype=torch.bool)
    near = pgd_toward(lambda x: x.flatten(1), image, torch.tensor([[2.0, 0.5]]), none, 0.2, 0.01, 40)
    torch.testing.assert_close(near, torch.tensor([[[[1.0, 0.5]]]]))


def test_goals_and_images_are_as_many() -> None:
    with pytest.raises(ValueError, match="2 images but 1 goals"):
        pgd_toward(torch.flatten, torch.zeros(2, 1, 1, 1), torch.zeros(1, 1), torch.zeros(1, 1).bool())


def test_a_target_class_without_an_image_is_named(runner: Runner) -> None:
    attack, clean = AdversarialEmbedding(SURROGATE, **ARGUMENTS), Digits(limit_train=60, seed=0).training_view()
    attack.check_classes(10, ["c0", "c1", "c2", "the third", *(f"c{i}" for i in range(4, 10))])
    others = clean.subset(clean.label != 3)
    with pytest.raises(ValueError, match="no image of the target class 'the third' to come near to"):
        attack.learn(others, torch.zeros(len(others), dtype=torch.int8), 0, runner)
