"""What several config files say together, and which files are refused before anything is made of them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cleanse.utils.configs import CONFIGS, Layer, Merged, find_config, merge, read_config, shipped


def together(*names: str, stays: tuple[str, ...] = ("attack", "batch_size", "augment", "labeled")) -> Merged:
    """Shipped configs, or yaml texts, on top of one another."""
    layers = [
        Layer(name, read_config(CONFIGS / name)) if name.endswith(".yaml") else Layer(f"text {i}", yaml.safe_load(name))
        for i, name in enumerate(names)
    ]
    return merge(layers, lambda _: stays)


def model(*names: str) -> dict[str, Any]:
    return together(*names).config["model"]  # type: ignore[no-any-return]


def attack(*names: str) -> Any:
    return together(*names).config["data"]["init_args"]["attack"]


def test_later_values_win_and_dictionaries_are_merged() -> None:
    made = together("trainer: {devices: 1, precision: 32-true}", "trainer: {devices: 2}").config
    assert made == {"trainer": {"devices": 2, "precision": "32-true"}}


def test_lists_are_replaced() -> None:
    assert together("data: {augment: [1, 2]}", "data: {augment: [3]}").config == {"data": {"augment": [3]}}


STRIPE = "data: {init_args: {attack: {class_path: mine.Stripe, init_args: {target: 0, class_rate: 0.05}}}}"


@pytest.mark.parametrize("recipe", ["none.yaml", "knn.yaml", "ispl.yaml", "self_training.yaml"])
def test_an_attack_of_another_class_inherits_nothing(recipe: str) -> None:
    expected = {"class_path": "mine.Stripe", "init_args": {"target": 0, "class_rate": 0.05}}
    assert attack(recipe, STRIPE) == expected
    assert attack(recipe, "quick.yaml", STRIPE) == expected


def test_arguments_without_a_class_are_for_whatever_class_comes() -> None:
    over = "data: {init_args: {attack: {init_args: {target: 3}}}}"
    assert attack(over, "knn.yaml")["init_args"]["target"] == 0  # later wins
    assert attack("knn.yaml", over, "attacks/wanet.yaml")["init_args"]["target"] == 0
    assert attack("knn.yaml", over, STRIPE.replace("target: 0, ", ""))["init_args"] == {"target": 3, "class_rate": 0.05}


def test_other_data_keep_what_all_data_take_and_lose_the_rest() -> None:
    made = together("knn.yaml", "data: {init_args: {root: cifar}}", "quick.yaml", "data/folder.yaml").config["data"]
    assert made["class_path"] == "cleanse.data.ImageFolder"
    assert made["init_args"] == {"root": "photos", "size": 32, "attack": None, "batch_size": 32, "augment": []}
    back = together("data/folder.yaml", "data: cleanse.data.Digits").config["data"]
    assert back == {"class_path": "cleanse.data.Digits", "init_args": {"attack": None}}


def test_a_network_of_another_class_loses_the_old_ones_arguments() -> None:
    made = model("none.yaml", "quick.yaml", "model: {init_args: {network: cleanse.networks.ResNet18}}")
    assert made["init_args"]["network"] == {"class_path": "cleanse.networks.ResNet18"}


def test_null_and_a_class_again_starts_afresh() -> None:
    assert attack("knn.yaml", "data/folder.yaml", STRIPE)["init_args"] == {"target": 0, "class_rate": 0.05}


QUICK_KNN = {"pretrain_epochs": 200, "epochs": 50}


@pytest.mark.parametrize(
    "names",
    [
        ("knn.yaml", "quick.yaml"),
        ("quick.yaml", "knn.yaml"),
        ("ispl.yaml", "quick.yaml", "knn.yaml"),
        ("knn.yaml", "quick.yaml", "attacks/wanet.yaml"),
        ("model: ContrastiveFilter", "quick.yaml"),
        ("quick.yaml", "model: {class_path: cleanse.defenses.ContrastiveFilter}"),
    ],
    ids=" ".join,
)
def test_quick_brings_what_the_model_needs_whatever_the_order(names: tuple[str, ...]) -> None:
    made = model(*names)["init_args"]
    assert made["network"] == {"class_path": "cleanse.networks.SmallCNN", "init_args": {"width": 32}}
    assert {k: made[k] for k in QUICK_KNN} == QUICK_KNN


def test_without_quick_nothing_is_added() -> None:
    assert model("knn.yaml") == {"class_path": "cleanse.defenses.ContrastiveFilter", "init_args": {"method": "knn"}}


def test_what_belongs_to_a_model_that_is_replaced_is_gone() -> None:
    assert model("knn.yaml", "quick.yaml", "ispl.yaml") == model("ispl.yaml", "quick.yaml")
    assert "trainer" not in together("simclr.yaml", "knn.yaml", "trainer: {}").config["model"]
    assert together("simclr.yaml", "quick.yaml").config["trainer"]["max_epochs"] == 200
    assert "max_epochs" not in together("quick.yaml", "ispl.yaml").config["trainer"]


@pytest.mark.parametrize("order", [("quick.yaml", "attacks/issba.yaml"), ("attacks/issba.yaml", "quick.yaml")])
def test_quick_brings_what_the_attack_needs_whatever_the_order(order: tuple[str, str]) -> None:
    assert attack("none.yaml", *order)["init_args"]["bits"] == 4


def test_a_later_file_wins_over_what_quick_brings_for_a_class() -> None:
    own = "model: {class_path: cleanse.defenses.ContrastiveFilter, init_args: {pretrain_epochs: 7}}"
    assert model("knn.yaml", "quick.yaml", own)["init_args"]["pretrain_epochs"] == 7


def test_a_config_of_ones_own_may_have_a_section_for_a_class() -> None:
    own = "for_class: {Stripe: {data: {init_args: {attack: {init_args: {class_rate: 0.2}}}}}}"
    assert attack(STRIPE, own)["init_args"]["class_rate"] == 0.2
    assert attack("knn.yaml", own)["init_args"]["poison_rate"] == 0.02


def test_it_is_known_which_file_a_value_comes_from() -> None:
    made = together("knn.yaml", "quick.yaml")
    at = ("model", "init_args")
    assert made.origin_of((*at, "method")) == "knn.yaml"
    assert made.origin_of((*at, "network", "init_args", "width")) == "quick.yaml (for_class: ContrastiveFilter)"
    assert made.origin_of(at) == ""  # several


@pytest.mark.parametrize(
    ("names", "lost"),
    [
        (("knn.yaml", "data/folder.yaml", "quick.yaml"), ("data/folder.yaml", "ImageFolder", "quick.yaml")),
        (("attacks/wanet.yaml", "knn.yaml"), ("attacks/wanet.yaml", "WaNet", "knn.yaml")),
        (("knn.yaml", "attacks/wanet.yaml", "data/folder.yaml"), ("attacks/wanet.yaml", "WaNet", "data/folder.yaml")),
    ],
)
def test_a_file_that_a_later_one_undoes_is_told(names: tuple[str, ...], lost: tuple[str, str, str]) -> None:
    assert together(*names).lost == [lost]


@pytest.mark.parametrize("names", [("knn.yaml", "quick.yaml", "data/folder.yaml", "attacks/wanet.yaml")])
def test_the_usual_order_loses_nothing(names: tuple[str, ...]) -> None:
    assert together(*names).lost == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("knn", "did you mean knn.yaml"),
        ("isp.yaml", "did you mean ispl.yaml"),
        ("badnets", "did you mean attacks/badnets.yaml"),
        ("folder.yaml", "did you mean data/folder.yaml"),
        ("nothing like it", "cleanse configs lists them"),
    ],
)
def test_a_config_that_is_not_there_leads_to_the_one_that_is_meant(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=meant):
        find_config(name)


def test_a_folder_as_config_leads_to_the_folder_config(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"named with --config data/folder\.yaml"):
        find_config(str(tmp_path))


def bomb() -> str:
    rows = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(["a0: &a0 [1]", *rows])


HOSTILE = {
    "aliases that multiply": (bomb(), "unfolds to more than"),
    "20,000 brackets": ("model: " + "[" * 20_000, "nest"),
    "20,000 mappings": ("{a: " * 20_000, "nested more than 50 levels"),
    "levels by aliases": (
        "\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 3000))]),
        "50 levels",
    ),
    "an alias inside itself": ("a: &a [*a]", "inside itself"),
    "a Python object": ("a: !!python/object/apply:os.system [echo]", "not valid yaml"),
    "a list as model": ("model: [a, b]", "model is a list"),
    "a list as file": ("- a\n- b", "is a list, not a config"),
    "a word": ("hello", "is a str, not a config"),
    "torn": ("model: [not, a, mapping", "not valid yaml"),
    "too long": ("a: '" + "x" * (1 << 20) + "'", "bytes: a config has at most"),
    "no text": (b"\xff\xfe\x00", "no text in UTF-8"),
    "control characters": ("a: \x00", "not valid yaml"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_files_are_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    content, sentence = HOSTILE[name]
    path = tmp_path / "given.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=sentence) as refused:
        read_config(path, "given.yaml")
    assert str(refused.value).startswith("given.yaml")
    assert "\n" not in str(refused.value)


def test_anchors_that_do_no_harm_are_read(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("a: &one {x: 1e-3}\nb: {<<: *one, y: 2020-01-01}\n")
    assert read_config(tmp_path / "own.yaml")["b"] == {"x": 0.001, "y": "2020-01-01"}


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").touch()
    assert read_config(tmp_path / "empty.yaml") == {}


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_config_is_read(name: str) -> None:
    assert read_config(CONFIGS / name)
