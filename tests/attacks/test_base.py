"""Counts, roles and labels, the log line, and a trigger that travels by its state dict."""

import logging
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

import cleanse.attacks
from cleanse.attacks import (
    CLEAN,
    COVER,
    POISON,
    SIG,
    AdaptivePatch,
    AdversarialEmbedding,
    Attack,
    DirtyLabel,
    FromFile,
    Imported,
    InputAware,
    LabelConsistent,
    Narcissus,
    Poisoned,
    Several,
    TaCT,
)
from cleanse.attacks.base import fraction, match_channels, stamp
from cleanse.engine.fingerprint import hash_of
from cleanse.networks import SmallCNN


class Dot(Attack):
    """One pixel of a drawn level in the first row and column."""

    level: Tensor

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        self.register_buffer("level", torch.randint(1, 256, (shape[0],), generator=generator, dtype=torch.uint8))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        out = image.clone()
        out[:, :, 0, 0] = self.level
        return out


class CoveredDot(Dot):
    def _add_covers(self, role: Tensor, true_label: Tensor, labeled: Tensor, generator: torch.Generator) -> None:
        role[(role == CLEAN).nonzero().flatten()[:5]] = COVER


def images(label: Tensor, channels: int = 1, size: int = 2) -> Tensor:
    return torch.zeros(len(label), channels, size, size, dtype=torch.uint8)


def poison(attack: Attack, label: Tensor, labeled: Tensor | None = None, seed: int = 0, classes: int = 10) -> Poisoned:
    labeled = torch.ones(len(label), dtype=torch.bool) if labeled is None else labeled
    return attack.poison(images(label), label, labeled, classes, seed)


CIFAR_LABELS = torch.arange(50_000) % 10
LABELS = torch.arange(1000) % 10


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"class_rate": 0.1}, 4500),  # 10 % of the 45000 non-target images, as Sabolic et al.
        ({"poison_rate": 0.1}, 5000),
        ({"count": 1000}, 1000),  # Wang et al.
        ({"source": 7, "class_rate": 0.05}, 250),  # Jin, Sun, Rinard: 250, 500, 1000
        ({"source": 7, "class_rate": 0.1}, 500),
        ({"source": 7, "class_rate": 0.2}, 1000),
        ({"count": 0}, 0),
        ({"count": 45_000}, 45_000),
    ],
)
def test_counts_on_cifar_labels(arguments: dict[str, Any], expected: int) -> None:
    attack = Dot(target=4, **arguments)
    result = poison(attack, CIFAR_LABELS)
    chosen = result.role == POISON
    assert int(chosen.sum()) == expected
    assert bool(attack.eligible(CIFAR_LABELS)[chosen].all())
    assert attack.counts(result)["poisoned"] == expected


def test_roles_labels_and_images_agree() -> None:
    result = poison(Dot(target=3, class_rate=0.2), LABELS)
    changed = (result.image != 0).flatten(1).any(1)
    assert torch.equal(changed, result.role == POISON)
    assert torch.equal(result.label, torch.where(changed, 3, LABELS))
    assert torch.equal(result.true_label, LABELS)
    assert (result.image.dtype, result.label.dtype, result.role.dtype) == (torch.uint8, torch.int64, torch.int8)


def test_inputs_stay_as_they_are() -> None:
    image, label = images(LABELS), LABELS.clone()
    Dot(class_rate=0.5).poison(image, label, torch.ones(1000, dtype=torch.bool), 10, 0)
    assert not image.any()
    assert torch.equal(label, LABELS)


@pytest.mark.parametrize("asked", [{"count": 9}, {"poison_rate": 0.009}, {"class_rate": 0.01}])
def test_too_few_to_teach_a_trigger_are_said_however_they_were_asked_for(
    asked: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    poison(Dot(**asked), LABELS)
    assert "Dot: only 9 of 900 labeled images that may be poisoned are; fewer than 10" in caplog.text
    caplog.clear()
    poison(Dot(**{name: 2 * value for name, value in asked.items()}), LABELS)
    poison(Dot(count=0), LABELS)
    assert "teach no model" not in caplog.text


def test_a_seed_decides_everything() -> None:
    first, again, other = (poison(Dot(class_rate=0.1), LABELS, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(again).values(), strict=True))
    assert not torch.equal(first.role, other.role)
    levels = set()
    for seed in range(5):
        attack = Dot(class_rate=0.1)
        poison(attack, LABELS, seed=seed)
        levels.add(int(attack.level))
    assert len(levels) > 1


def test_the_trigger_does_not_depend_on_the_rate_nor_the_rows_on_the_trigger() -> None:
    few, many = Dot(count=1), Dot(count=300)
    poison(few, LABELS), poison(many, LABELS)
    assert torch.equal(few.level, many.level)

    class Drawn(Dot):
        def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
            torch.rand(77, generator=generator)
            super().draw(shape, generator)

    assert torch.equal(poison(Dot(count=50), LABELS).role, poison(Drawn(count=50), LABELS).role)


GIVEN = torch.arange(1000) % 4 < 1  # 250 labeled: half of each even class, nothing of the odd ones


@pytest.mark.parametrize(
    ("arguments", "given", "withheld"),
    [
        ({"class_rate": 0.1}, 20, 70),
        ({"poison_rate": 0.1}, 25, 75),
        ({"count": 12}, 12, 0),
        ({"count": 12, "unlabeled_count": 34}, 12, 34),
        ({"class_rate": 0.1, "unlabeled_rate": 0.01}, 20, 7),
        ({"class_rate": 0.1, "unlabeled_rate": 0.0}, 20, 0),
        ({"count": 0, "unlabeled_count": 3}, 0, 3),
    ],
)
def test_labeled_and_unlabeled_counts(arguments: dict[str, Any], given: int, withheld: int) -> None:
    result = poison(Dot(**arguments), LABELS, GIVEN)
    chosen = result.role == POISON
    assert (int((chosen & GIVEN).sum()), int((chosen & ~GIVEN).sum())) == (given, withheld)
    assert bool((result.label[~GIVEN] == -1).all())
    assert bool((result.label[chosen & GIVEN] == 0).all())
    assert bool((result.image[chosen, 0, 0, 0] > 0).all())


def test_covers_carry_the_trigger_and_their_own_label() -> None:
    attack = CoveredDot(class_rate=0.1)
    result = poison(attack, LABELS)
    cover = result.role == COVER
    assert int(cover.sum()) == 5
    assert bool((result.image[cover, 0, 0, 0] > 0).all())
    assert torch.equal(result.label[cover], LABELS[cover])
    assert attack.describe_counts(result).endswith("of 900 eligible (class rate 10.00%), 5 cover images")


def test_the_log_says_both_rates(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cleanse"):
        poison(Dot(class_rate=0.1), CIFAR_LABELS)
    expected = "4500 of 50000 images poisoned (poison rate 9.00%), of 45000 eligible (class rate 10.00%)"
    assert caplog.messages == [f"Dot (not of class 0 -> 0): {expected}"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "Dot (not of class 'ten' -> 'ten'): "),
        (4, "Dot (class '40' -> 'ten'): "),
        (3, "Dot (class 3 -> 'ten'): "),
    ],
)
def test_the_log_names_classes(source: int | None, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    """A folder called 40 is not class 40; a class without a name, or called by its number, is its number."""
    with caplog.at_level(logging.INFO, logger="cleanse"):
        everything = torch.ones(1000, dtype=torch.bool)
        Dot(target=1, source=source, class_rate=0.5).poison(
            images(LABELS), LABELS, everything, 10, 0, classes=("zero", "ten", "two", "3", "40")
        )
    assert caplog.messages[0].startswith(expected)


def test_a_class_out_of_range_is_told_the_names() -> None:
    with pytest.raises(
        ValueError, match=r"target class 2 is out of range: the data has classes 0 to 1 \('cat', 'dog'\)"
    ):
        Dot(target=2, count=1).poison(
            images(LABELS % 2), LABELS % 2, torch.ones(1000, dtype=torch.bool), 2, 0, classes=("cat", "dog")
        )


@pytest.mark.parametrize(
    ("arguments", "images_there", "warned"),
    [
        ({"count": 9}, 1000, True),
        ({"count": 10}, 1000, False),
        ({"poison_rate": 0.0001}, 1000, True),  # rounds down to none
        ({"count": 44}, 50_000, True),  # 0.098 % of 45,000
        ({"count": 45}, 50_000, False),
        ({"count": 0}, 1000, False),  # none was asked for
    ],
)
def test_a_handful_of_poisoned_images_is_warned_about(
    arguments: dict[str, Any], images_there: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    poison(Dot(**arguments), CIFAR_LABELS[:images_there])
    found = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert bool(found) is warned


def test_the_counts_of_both_parts_are_described() -> None:
    attack = Dot(source=2, count=2, unlabeled_count=3)
    assert attack.describe_counts(poison(attack, LABELS, GIVEN)) == (
        "Dot (class 2 -> 0): 5 of 1000 images poisoned (poison rate 0.50%), of 100 eligible (class rate 5.00%); "
        "labeled: 2 of 250 images poisoned (poison rate 0.80%), of 50 eligible (class rate 4.00%); "
        "unlabeled: 3 of 750 images poisoned (poison rate 0.40%), of 50 eligible (class rate 6.00%)"
    )


def test_a_new_instance_loads_the_trigger() -> None:
    attack, fresh = Dot(class_rate=0.1), Dot(class_rate=0.1)
    poison(attack, LABELS, seed=3)
    fresh.load_state_dict(attack.state_dict())
    assert torch.equal(fresh.trigger(images(LABELS)), attack.trigger(images(LABELS)))
    fresh.level += 1
    assert not torch.equal(fresh.level, attack.level)  # a copy, not the same memory


def test_a_drawn_instance_loads_a_trigger_of_another_shape_and_refuses_a_foreign_one() -> None:
    attack, other = Dot(class_rate=0.1), Dot(class_rate=0.1)
    attack.draw((3, 8, 8), torch.Generator().manual_seed(1))
    other.draw((1, 4, 4), torch.Generator().manual_seed(2))
    other.load_state_dict(attack.state_dict())
    assert torch.equal(other.level, attack.level)
    with pytest.raises(RuntimeError, match="secret"):
        other.load_state_dict({**attack.state_dict(), "secret": torch.zeros(1)})


def test_an_attack_inside_a_module_loads_too() -> None:
    attack = Dot(class_rate=0.1)
    attack.draw((1, 2, 2), torch.Generator().manual_seed(1))
    holder = torch.nn.ModuleDict({"attack": Dot(class_rate=0.1), "other": torch.nn.Linear(2, 2)})
    state = {**holder.state_dict(), "attack.level": attack.level}
    holder.load_state_dict(state)
    assert torch.equal(holder["attack"].level, attack.level)


def test_no_trigger_yet() -> None:
    with pytest.raises(ValueError, match="Dot has no trigger yet: poison a training set first"):
        Dot(count=1).trigger(images(LABELS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Dot takes exactly one of count=None, poison_rate=None, class_rate=None"),
        ({"count": 3, "class_rate": 0.1}, "exactly one of count=3, poison_rate=None, class_rate=0.1"),
        ({"count": -1}, "count is a number of images, 0 or more, not -1"),
        ({"count": 1, "unlabeled_count": -2}, "unlabeled_count is a number of images, 0 or more, not -2"),
        ({"class_rate": 10.0}, "class_rate is a fraction above 0 and at most 1, not 10.0$"),
        ({"poison_rate": -0.1}, "poison_rate is a fraction above 0 and at most 1, not -0.1$"),
        ({"class_rate": 0.0}, "class_rate is .* above 0 and at most 1, not 0.0: no attack is --data.attack null$"),
        ({"poison_rate": 0.0}, "poison_rate is .* above 0 and at most 1, not 0.0: no attack is --data.attack null$"),
        ({"count": 1, "unlabeled_rate": 1.5}, "unlabeled_rate is a fraction between 0 and 1, not 1.5"),
        ({"count": 1, "unlabeled_rate": 0.5, "unlabeled_count": 4}, r"\(4\) or unlabeled_rate \(0.5\), not both"),
        ({"count": 1, "source": 2, "target": 2}, "source and target are both class 2"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Dot(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 10, "count": 1}, "target class 10 is out of range: the data has classes 0 to 9"),
        ({"target": -1, "count": 1}, "target is at least 0, not -1"),
        ({"source": 12, "count": 1}, "source class 12 is out of range: the data has classes 0 to 9"),
        ({"count": 901}, r"asks for 901 poisoned labeled images, but only 900 are eligible \(not of class 0\)"),
        ({"source": 3, "poison_rate": 0.2}, r"poison_rate=0.2 asks for 200 .* only 100 are eligible \(class 3\)"),
    ],
)
def test_wrong_for_this_data(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        poison(Dot(**arguments), LABELS)


def test_more_unlabeled_poison_than_eligible() -> None:
    with pytest.raises(ValueError, match="unlabeled_count=701 asks for 701 poisoned unlabeled images, but only 700"):
        poison(Dot(count=1, unlabeled_count=701), LABELS, GIVEN)


def test_fraction_is_that_of_the_decimal_number() -> None:
    for hundredths in range(101):
        for total in (100, 5000, 45_000, 50_000):
            assert fraction(hundredths / 100, total) == hundredths * total // 100
    assert fraction(0.999, 1000) == 999
    assert fraction(0.1, 19) == 1


def test_stamp_is_a_loop_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (2, 3, 4, 5), generator=generator, dtype=torch.uint8)
    pattern = torch.randint(256, (3, 4, 5), generator=generator, dtype=torch.uint8)
    mask = torch.rand(4, 5, generator=generator) < 0.5
    before, out = image.clone(), stamp(image, pattern, mask)
    for b, c, y, x in torch.cartesian_prod(*(torch.arange(n) for n in image.shape)).tolist():
        assert out[b, c, y, x] == (pattern[c, y, x] if mask[y, x] else before[b, c, y, x])
    assert torch.equal(image, before)
    with pytest.raises(ValueError, match=r"images of \(3, 4, 5\) \(channels, height, width\), not of \(3, 5, 5\)"):
        stamp(torch.zeros(1, 3, 5, 5, dtype=torch.uint8), pattern, mask)


def test_match_channels_is_pillow_luminance() -> None:
    from PIL import Image

    color = torch.randint(256, (3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pillow = Image.fromarray(color.permute(1, 2, 0).numpy()).convert("L")
    gray = torch.tensor(list(pillow.tobytes())).view(1, 16, 16)
    assert int((match_channels(color, 1).long() - gray).abs().max()) <= 1
    assert torch.equal(match_channels(color, 3), color)
    level = torch.arange(256).expand(3, -1)
    assert torch.equal(match_channels(level, 1)[0].long(), torch.arange(256))
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        match_channels(color, 4)


def test_all_to_all_gives_the_next_class_and_the_last_one_the_first() -> None:
    attack = Dot(labels="next", class_rate=0.5)
    result = poison(attack, LABELS)
    chosen = result.role == POISON
    assert torch.equal(result.label[chosen], (LABELS[chosen] + 1) % 10)
    assert torch.equal(result.label[~chosen], LABELS[~chosen])
    assert (result.label[chosen & (LABELS == 9)] == 0).all()


@pytest.mark.parametrize("labels", ["next", "random"])
def test_without_one_target_every_image_may_be_poisoned_and_is_measured(labels: Any) -> None:
    attack = Dot(labels=labels, class_rate=0.1)
    assert int((poison(attack, LABELS).role == POISON).sum()) == 100
    assert bool(attack.measured(LABELS).all())


def test_untargeted_labels_are_other_classes_evenly_and_frozen() -> None:
    attack = Dot(labels="random", class_rate=1.0)
    result = poison(attack, CIFAR_LABELS)
    assert not (result.label == CIFAR_LABELS).any()
    away = ((result.label - CIFAR_LABELS) % 10).bincount(minlength=10)[1:]
    assert away.min() > 5556 - 5 * 70
    assert away.max() < 5556 + 5 * 70
    assert torch.equal(poison(Dot(labels="random", class_rate=1.0), CIFAR_LABELS).label, result.label)


def test_the_label_mode_changes_neither_the_trigger_nor_the_withheld_labels() -> None:
    one, every = Dot(poison_rate=0.1), Dot(poison_rate=0.1, labels="random")
    poison(one, LABELS, GIVEN)
    assert bool((poison(every, LABELS, GIVEN).label[~GIVEN] == -1).all())
    assert torch.equal(one.level, every.level)


@pytest.mark.parametrize(("labels", "expected"), [("target", [4, 4, 4]), ("next", [1, 9, 0]), ("random", None)])
def test_what_a_triggered_image_stands_for(labels: Any, expected: list[int] | None) -> None:
    aim = Dot(target=4, labels=labels, count=1).aim(torch.tensor([0, 8, 9]), 10)
    assert (None if aim is None else aim.tolist()) == expected


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("target", "not of class 0 -> 0"),
        ("next", "any class -> the next class"),
        ("random", "any class -> a random other class"),
    ],
)
def test_the_log_says_the_label_mode(labels: Any, words: str) -> None:
    attack = Dot(labels=labels, class_rate=0.1)
    assert f"({words})" in attack.describe_counts(poison(attack, LABELS))


EVERY = [getattr(cleanse.attacks, name) for name in cleanse.attacks.__all__]
EVERY = [a for a in EVERY if isinstance(a, type) and issubclass(a, Attack) and a not in (Attack, Several)]
SHARED = {
    "target": 3, "count": 7, "poison_rate": 0.01, "class_rate": 0.02, "unlabeled_count": 5, "unlabeled_rate": 0.3,
}  # fmt: skip


def least(attack: type[Attack], **arguments: Any) -> dict[str, Any]:
    """What the attack needs, and these arguments."""
    trains = (AdaptivePatch, AdversarialEmbedding, InputAware, LabelConsistent, Narcissus)
    needs: dict[str, Any] = {"surrogate": SmallCNN} if attack in trains else {}
    if attack is FromFile:
        needs = {"poison_from": __file__}
    if attack is Imported:
        needs = {"origin": "another tool"}
    rate = {} if {"poison_rate", "class_rate"} & set(arguments) else {"count": 1}
    return {**needs, **rate, **arguments}


@pytest.mark.parametrize("attack", [SIG, AdaptivePatch, DirtyLabel, LabelConsistent, TaCT], ids=lambda a: a.__name__)
def test_attacks_on_one_class_refuse_other_label_modes(attack: type[Attack]) -> None:
    with pytest.raises(ValueError, match=f"labels of {attack.__name__} is one of target, not 'next'"):
        attack(**least(attack, labels="next"))


def test_a_source_class_has_one_target() -> None:
    with pytest.raises(ValueError, match="labels=next is about images of every class, not of source 3"):
        Dot(count=1, source=3, labels="next")


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("attack", EVERY, ids=lambda a: a.__name__)
def test_the_key_has_every_argument_that_is_handed_to_the_base(attack: type[Attack], name: str) -> None:
    assert hash_of(attack(**least(attack))) != hash_of(attack(**least(attack, **{name: SHARED[name]})))


@pytest.mark.parametrize("attack", EVERY, ids=lambda a: a.__name__)
def test_the_help_lists_every_argument_with_its_text(attack: type[Attack]) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(attack, "it")
    told = {a.dest.removeprefix("it."): a.help for a in parser._actions if a.dest.startswith("it.")}
    assert {*SHARED, "source", "labels"} <= set(told)
    assert [name for name, text in told.items() if not text] == []


@pytest.mark.parametrize("attack", EVERY, ids=lambda a: a.__name__)
def test_its_arguments_make_it_again(attack: type[Attack]) -> None:
    made = attack(**least(attack))
    assert hash_of(attack(**made.arguments)) == hash_of(made)


DEFAULTS = {
    "LabelConsistent": {
        "eps": 16 / 255, "step": 1.5 / 255, "steps": 30, "norm": "inf", "random_start": False, "amplitude": 255,
        "surrogate_epochs": 200, "surrogate_batch_size": 128, "pattern": "corners",
    },
    "WaNet": {"strength": 0.5, "grid": 4, "scale": 1.0, "cover_rate": 0.0, "noise": "per_sample"},
    "SIG": {"amplitude": 40 / 255, "frequency": 6},
    "TaCT": {"cover_classes": (5, 7), "cover_rate": 0.003, "source": 1, "target": 0},
    "QiAdaptiveBlend": {"alpha": 0.2, "test_alpha": 0.2, "grid": 4, "kept": 8, "cover_rate": 0.01},
    "QiAdaptivePatch": {"alphas": (0.5, 0.5, 0.2, 0.3), "test": "half", "test_alpha": 1.0, "cover_rate": 0.01},
    "ISSBA": {"bits": 20, "epochs": 20, "secret_epochs": 2, "batch_size": 32, "lr": 1e-4, "image_weight": 2.0,
              "perceptual_weight": 1.5, "secret_weight": 1.5, "base": 32},
    "AdaptivePatch": {"surrogate_epochs": 1000, "surrogate_batch_size": 1024, "size": 7, "epochs": 10,
                      "batch_size": 256, "lr": 0.1},
    "DirtyLabel": {"source": 7, "target": 4, "shape": "pixel"},
    "CTRL": {"magnitude": 100.0},
    "Bpp": {"levels": 8, "cover_rate": 0.1},
    "LowFrequency": {"amplitude": 0.2, "kept": None},
    "Additive": {"amplitude": 3 / 255},
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_defaults_are_those_that_the_docstring_tells(name: str) -> None:
    attack = getattr(cleanse.attacks, name)
    arguments = attack(**least(attack)).arguments
    assert {k: arguments[k] for k in DEFAULTS[name]} == DEFAULTS[name]
