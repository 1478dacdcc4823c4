"""Own classes in the working directory are for `cleanse fit`; the run of a stranger imports nothing of his."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

Cleanse = Callable[..., "CompletedProcess[str]"]

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "your_own_attack_and_defense.ipynb"
IMPORTS = """\
import torch
from cleanse.attacks import Attack
from cleanse.defenses import Defense, Outcome
from cleanse.networks import SmallCNN
from cleanse.verdict import Verdict


"""


def printed(start: str, kind: str) -> str:
    """The notebook's cell that begins like this, verbatim."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    (found,) = (c for c in cells if c["cell_type"] == kind and start in "".join(c["source"]))
    return "".join(found["source"])


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """mine.py and mine.yaml as the notebook prints them, in the working directory of the command."""
    code = [printed("class Stripe", "code"), printed("class KeepAgreed", "code")]
    (tmp_path / "mine.py").write_text(IMPORTS + "\n\n".join(code))
    text = printed("```yaml", "markdown")
    (tmp_path / "mine.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    return tmp_path


SHORT = ("--data.limit_train", "150", "--data.limit_test", "50", "--model.epochs", "1", "--compare", "[]")


@pytest.mark.parametrize("quick", [(), ("--config", "quick.yaml")], ids=["alone", "with quick"])
def test_the_printed_attack_and_defense_run(mine: Path, cleanse: Cleanse, quick: tuple[str, ...]) -> None:
    done = cleanse("fit", "--config", "mine.yaml", *quick, *SHORT)
    run = mine / done.stdout.splitlines()[-1]
    results = json.loads((run / "results.json").read_text())
    assert results["recipe"] == "KeepAgreed"
    assert results["attack"] == "Stripe"
    config = yaml.safe_load((run / "config.yaml").read_text())
    network = config["model"]["init_args"]["network"]
    assert network["class_path"] == "cleanse.networks.SmallCNN"  # an argument without a type in the printed text
    assert network["init_args"]["width"] == (64 if quick else 32)


DOCUMENT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
COMMANDS = re.findall(r"^cleanse (fit --config .*)$", DOCUMENT, re.M)
TINY = {
    "knn.yaml": ("--model.pretrain_epochs", "1", "--model.probe_epochs", "1", "--model.pretrain_batch_size", "50"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_documentation_run_as_printed(tmp_path: Path, cleanse: Cleanse, command: str) -> None:
    for name, text in re.findall(r'```\w+ title="([\w.]+)"\n(.*?)```', DOCUMENT, re.S):
        (tmp_path / name).write_text(text)
    words = command.split("#")[0].split()
    short = [word for config in words for word in TINY.get(config, ())]
    done = cleanse(*words, *SHORT, *short)
    assert (tmp_path / done.stdout.splitlines()[-1] / "results.json").is_file()


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A run directory whose config names a package that is beside it and writes a file when it is imported."""
    (tmp_path / "evilpkg").mkdir()
    (tmp_path / "evilpkg" / "__init__.py").write_text("open('imported', 'w')\nfrom cleanse.data import Digits as M\n")
    run = tmp_path / "runs" / "theirs"
    run.mkdir(parents=True)
    config = {"data": {"class_path": "evilpkg.M"}, "model": {"class_path": "cleanse.defenses.NoDefense"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "results.json").write_text("{}")
    (run / "model.ckpt").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("export", "runs/theirs", "--out", "out"),
        ("test", "runs/theirs"),
        ("predict", "runs/theirs"),
        ("poison", "--config", "runs/theirs/config.yaml", "--out", "out"),
    ],
    ids=lambda c: c[0],
)
def test_only_fit_imports_from_the_working_directory(
    stranger: Path, cleanse: Cleanse, command: tuple[str, ...]
) -> None:
    done = cleanse(*command, check=False)
    assert done.returncode in (1, 2)
    assert "evilpkg.M does not come with cleanse: it is not imported; add --trust" in done.stderr.splitlines()[-1]
    assert not (stranger / "imported").exists()
    assert not (stranger / "out").exists()


def test_a_config_cannot_trust_itself(stranger: Path, cleanse: Cleanse) -> None:
    config = {"data": {"class_path": "cleanse.data.Frozen", "init_args": {"root": "frozen", "trust": True}}}
    (stranger / "runs" / "theirs" / "config.yaml").write_text(yaml.safe_dump(config))
    done = cleanse("export", "runs/theirs", "--out", "out", check=False)
    assert "add --trust if they are yours" in done.stderr.splitlines()[-1]


def test_trust_imports_it(stranger: Path, cleanse: Cleanse) -> None:
    cleanse("poison", "--config", "runs/theirs/config.yaml", "--out", "out", "--trust", check=False)
    assert (stranger / "imported").exists()


HARMFUL = {
    "a function as network": ("--model.network", "os.system", "os.system"),
    "a function that is no danger": ("--model.network", "json.dumps", "json.dumps is not a class"),
    "another class as network": ("--model.network", "subprocess.Popen", "subprocess.Popen"),
    "a function as model": ("--model", "os.system", "os.system is not a class"),
    "a class that is no model": ("--model", "collections.OrderedDict", "OrderedDict"),
    "a function as callback": ("--trainer.callbacks", "os.getcwd", "os.getcwd"),
    "a class that is no attack": ("--data.attack", "cleanse.networks.ResNet18", "ResNet18"),
    "a function as augmentation": ("--data.augment", "[torch.save]", "torch.save"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_what_is_no_class_of_the_kind_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from cleanse.cli.main import main

    *argument, sentence = HARMFUL[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", "none.yaml", "--config", "quick.yaml", *argument])
    out, err = capfd.readouterr()
    assert stopped.value.code == 2, err
    assert sentence in err.splitlines()[-1]
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.iterdir())
