"""From the words of a command to one config and what is left for the parser."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cleanse.experiments.arguments import read_arguments
from cleanse.experiments.build import parse
from cleanse.experiments.messages import UsageError

KNN = ("fit", "--config", "knn.yaml", "--config", "quick.yaml")


def config(*words: str) -> dict[str, Any]:
    """What the files and the arguments that name classes say together."""
    (text,) = [w for w in read_arguments(words).words if w.startswith("--config=")]
    made: dict[str, Any] = yaml.safe_load(text.removeprefix("--config="))
    return made


def left(*words: str) -> list[str]:
    """What is left for the parser."""
    return [w for w in read_arguments(words).words[1:] if not w.startswith("--config=")]


def test_plain_arguments_are_the_parsers() -> None:
    assert left(*KNN, "--model.epochs", "3", "--data.attack.target=2") == [
        "--model.epochs",
        "3",
        "--data.attack.target=2",
    ]


def test_a_number_below_zero_is_a_value() -> None:
    assert left(*KNN, "--model.epochs", "-5") == ["--model.epochs", "-5"]


def test_an_argument_before_a_file_still_wins() -> None:
    assert left("fit", "--model.epochs", "3", *KNN[1:]) == ["--model.epochs", "3"]


def test_a_class_on_the_command_line_inherits_nothing() -> None:
    made = config(*KNN, "--model.network", "cleanse.networks.ResNet18", "--data.attack=cleanse.attacks.WaNet")
    assert made["model"]["init_args"]["network"] == {"class_path": "cleanse.networks.ResNet18"}
    assert made["data"]["init_args"]["attack"] == {"class_path": "cleanse.attacks.WaNet"}


def test_a_class_with_its_arguments_in_one_word_inherits_nothing_either() -> None:
    spec = "{class_path: cleanse.attacks.WaNet, init_args: {target: 3}}"
    made = config(*KNN, f"--data.attack={spec}")
    assert made["data"]["init_args"]["attack"] == yaml.safe_load(spec)


def test_a_model_on_the_command_line_gets_what_quick_has_for_it() -> None:
    made = config("fit", "--config=quick.yaml", "--model", "cleanse.defenses.ContrastiveFilter")
    assert made["model"]["init_args"]["pretrain_epochs"] == 200


@pytest.mark.parametrize("null", ["null", "~"])
def test_null_takes_back_an_argument_deep_inside(null: str) -> None:
    made = config(*KNN, "--data.attack.poison_rate", null)
    assert made["data"]["init_args"]["attack"]["init_args"]["poison_rate"] is None
    assert config(*KNN, f"--data.attack={null}")["data"]["init_args"]["attack"] is None


def test_a_run_stands_for_its_config_and_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: {class_path: cleanse.defenses.NoDefense}")
    assert config("test", str(tmp_path))["model"]["class_path"] == "cleanse.defenses.NoDefense"
    assert left("test", str(tmp_path)) == [f"--ckpt_path={tmp_path / 'model.ckpt'}"]


def test_the_origin_of_a_value_is_the_file_that_has_it() -> None:
    made = read_arguments(KNN)
    assert made.origin(["model", "pretrain_lr"]) == "quick.yaml (for_class: ContrastiveFilter)"
    assert made.origin(["data", "attack", "poison_rate"]) == "knn.yaml"
    assert made.origin(["data", "attack"]) == "knn.yaml"
    assert made.origin(["model"]) == ""  # several
    assert made.origin(["model", "nothing"]) == ""


def test_a_value_on_the_command_line_is_from_no_file() -> None:
    assert read_arguments([*KNN, "--model.pretrain_lr", "x"]).origin(["model", "pretrain_lr"]) == ""
    error = read_arguments([*KNN, "--data.attack.poison_rate=2"]).with_origin(UsageError("poison_rate=2 is too much"))
    assert str(error) == "poison_rate=2 is too much"


def test_a_constructor_that_names_a_value_gets_its_file() -> None:
    error = read_arguments(KNN).with_origin(UsageError("exactly one of count=None, poison_rate=0.02: set one"))
    assert str(error).endswith("(poison_rate is from knn.yaml)")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("knn.yaml", "'knn.yaml' stands alone: a config file is named with --config knn.yaml"),
        ("knn", "'knn' stands alone: a config file is named with --config knn.yaml"),
        (".", ". is a folder: cleanse check . looks for a backdoor in its images"),
        ("photos", "'photos' stands alone: arguments are written as --NAME VALUE"),
    ],
)
def test_a_lone_word_says_what_it_may_mean(word: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_arguments(["fit", word])
    assert str(refused.value).startswith(sentence)


ODD = ("null", "12", "1e3", "true", "a: b", "[x]", "{a: b}", "- a", "#x", "'q'")


def test_a_run_given_to_fit_leads_to_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UsageError, match=r"is a run: name its config, with --config .*config\.yaml"):
        read_arguments(["fit", str(tmp_path)])


@pytest.mark.parametrize("root", ODD)
def test_a_path_is_taken_as_it_is_written(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / root).mkdir()
    monkeypatch.chdir(tmp_path)
    given = ["--data.root", root] if ODD.index(root) % 2 else [f"--data.root={root}"]
    cli = parse(["fit", "--config", "none.yaml", "--config", "quick.yaml", "--config", "data/folder.yaml", *given])
    assert cli.images().root == root  # type: ignore[attr-defined]
