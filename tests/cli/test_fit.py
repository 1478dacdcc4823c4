"""The command line as a user meets it: one sentence for every mistake, and nothing computed twice."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pandas as pd
import pytest
import torch
import yaml

from cleanse.cli.poison import OF_A_RUN
from cleanse.engine.plan import Planned
from cleanse.engine.progress import Screen
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView

Cleanse = Callable[..., "CompletedProcess[str]"]
QUICK = ("--config", "quick.yaml", "--data.limit_train", "200", "--data.limit_test", "100", "--model.epochs", "2")
NONE = ("fit", "--config", "none.yaml", *QUICK)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "CompletedProcess[str]"]:
    """A finished run of `none`, with its directory, and what the command printed."""
    import os
    import subprocess
    import sys

    where = tmp_path_factory.mktemp("finished")
    done = subprocess.run(
        [sys.executable, "-m", "cleanse", *NONE],
        cwd=where,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return where / done.stdout.strip().splitlines()[-1], done


def test_a_run_leaves_what_the_design_says(finished: tuple[Path, "CompletedProcess[str]"]) -> None:
    run, _ = finished
    names = {p.name for p in run.iterdir()}
    assert {"config.yaml", "verdict.parquet", "verdict.csv", "results.json", "model.ckpt", "stages"} <= names
    results = json.loads((run / "results.json").read_text())
    keys = "sa asr ra tmr tpr fpr auroc relabel_accuracy kept relabelled dropped seconds seconds_classifier"
    assert set(keys.split()) | {"recipe", "attack", "data", "seed", "oracle", "version"} <= set(results)
    assert results["baseline_flagged"] is None  # nobody asked
    assert all(v is None or isinstance(v, (bool, int, float, str)) for v in results.values())  # flat
    assert results["recipe"] == "none"
    assert results["data"] == "Digits"
    assert results["oracle"] is False
    assert results["tpr"] == 0
    assert results["kept"] == 200
    assert results["relabel_accuracy"] is None
    of_the_data = {"data", "trainer", "seed_everything", "root"}
    assert set(yaml.safe_load((run / "config.yaml").read_text())) == {*OF_A_RUN, *of_the_data}
    verdict = pd.read_parquet(run / "verdict.parquet")
    assert len(verdict) == 200
    assert set(verdict.action) == {"keep"}
    links = sorted((run / "stages").iterdir())
    assert links[0].name.endswith("classifier")
    assert all((link / "stage.json").exists() for link in links)
    assert not any(link.readlink().is_absolute() for link in links)


def test_standard_output_is_the_verdict_in_words_the_table_and_last_the_run(
    finished: tuple[Path, "CompletedProcess[str]"],
) -> None:
    run, done = finished
    words, _, table = done.stdout.rpartition("\n\n")
    assert words.startswith("Of 200 images, 200 are kept")
    assert words + "\n" == (run / "summary.txt").read_text()
    lines = table.splitlines()
    assert lines[0].split()[:4] == ["SA", "ASR", "RA", "TMR"]
    assert [line.split()[0] for line in lines[1:-3]] == ["none", "oracle"]
    assert lines[-1] == f"runs/{run.name}"


def test_the_screen_shows_stages_and_no_third_party_chatter(finished: tuple[Path, "CompletedProcess[str]"]) -> None:
    _, done = finished
    for line in done.stderr.splitlines():
        plan = ("9 stages to do:", "  ", "about ")
        expected = ("[", "Digits: ", "test part: ", "DirtyLabel ", "DirtyLabel: only 4 ", *plan)
        assert line.startswith(expected) or "stages were on disk already" in line, line
    assert "] oracle/classifier " in done.stderr
    assert "] classifier " in done.stderr  # whose training it is


def test_a_second_identical_command_trains_nothing_and_prints_the_same_table(
    cleanse: Cleanse, finished: tuple[Path, "CompletedProcess[str]"]
) -> None:
    run, first = finished
    again = cleanse(*NONE, "--root", str(run.parent))
    assert again.stdout.splitlines()[:-1] == first.stdout.splitlines()[:-1]
    assert "9 of 9 stages were on disk already" in again.stderr
    assert "classifier " not in again.stderr


def test_cleanse_test_loads_the_checkpoint(cleanse: Cleanse, finished: tuple[Path, "CompletedProcess[str]"]) -> None:
    run, _ = finished
    results = json.loads((run / "results.json").read_text())
    for call in (("test", str(run)), ("test", "--config", f"{run}/config.yaml", "--ckpt_path", f"{run}/model.ckpt")):
        out = cleanse(*call).stdout.splitlines()
        assert json.loads(out[-1]) == {k: results[k] for k in ("sa", "asr", "ra", "tmr")}


def test_the_checkpoint_is_a_plain_state_dict(finished: tuple[Path, "CompletedProcess[str]"]) -> None:
    from cleanse.data import Digits
    from cleanse.networks import SmallCNN

    run, _ = finished
    weights = torch.load(run / "model.ckpt", weights_only=True)["state_dict"]
    network = SmallCNN(1, 10, width=64)
    network.load_state_dict({k.removeprefix("model.network."): v for k, v in weights.items() if ".network." in k})
    test = Digits(limit_test=100, seed=0).clean_test()
    image = test.images(torch.arange(100)).float() / 255
    mean, std = weights["model.normalize.mean"], weights["model.normalize.std"]
    with torch.no_grad():
        right = network.eval()((image - mean) / std).argmax(1) == test.label
    assert right.float().mean().item() == pytest.approx(json.loads((run / "results.json").read_text())["sa"])


def test_predict_writes_a_file(cleanse: Cleanse, finished: tuple[Path, "CompletedProcess[str]"]) -> None:
    run, _ = finished
    path = Path(cleanse("predict", str(run)).stdout.strip())
    table = pd.read_csv(path)
    assert list(table.columns) == ["id", "prediction", "confidence"]
    assert len(table) == 100


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_help_is_about_runs_and_not_about_lightning(command: str, cleanse: Cleanse) -> None:
    text = cleanse(command, "--help").stdout
    usage = {"fit": "fit --config FILE", "test": "test RUN", "predict": "predict RUN [--images DIR] [--out FILE]"}
    assert text.startswith(f"usage: cleanse {usage[command]} ")
    about = text.split("\n\n")[1]
    assert about.endswith(".")
    assert "forward" not in about
    assert "optimization" not in about
    assert "--trainer.max_epochs" in text


def test_a_run_ends_with_what_to_do_next(finished: tuple[Path, "CompletedProcess[str]"]) -> None:
    _, done = finished
    *_, table, legend, now, directory = done.stdout.splitlines()
    assert table.startswith("oracle ")
    assert "ASR: triggered test images classified as the target; low is good." in legend
    assert now == "The run's directory (look at its report.html):"  # nothing is flagged, and so nothing to export
    assert Path(directory).name.startswith("none-digits")


def test_help_explains_every_argument_of_a_recipe(cleanse: Cleanse) -> None:
    text = cleanse("fit", "--model.help", "ISPL").stdout
    said = " ".join(text.split())
    for name in ("--model.profile {v1,iclr23}", "alpha, the part of the current subset that an iteration trains on"):
        assert name in said, text
    assert len(text.splitlines()) < 150  # no list of everything that is a Module


def test_without_a_terminal_a_long_training_says_where_it_is(
    tmp_path: Path, view: TrainingView, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    build = partial(Classifier, partial(SmallCNN, width=4), view.image_spec)
    for every, told in ((0.0, True), (1000.0, False)):
        monkeypatch.setattr("cleanse.engine.progress.EVERY", every)
        monkeypatch.setattr("cleanse.engine.progress.FIRST", every)
        runner = Runner(tmp_path / f"{every}", arguments={"accelerator": "cpu", "devices": 1}, screen=Screen())
        runner.expect([Planned("student", build, view, 2)])
        runner.fit("student", build, view, max_epochs=2)
        assert ("[1/1] student: epoch 2 of 2" in capfd.readouterr().err) is told


def test_version_and_configs(cleanse: Cleanse) -> None:
    assert cleanse("--version").stdout.startswith("cleanse 0.")
    assert {"ispl.yaml", "none.yaml", "oracle.yaml", "quick.yaml", "attacks/badnets.yaml"} <= set(
        cleanse("configs").stdout.split()
    )


BAD = {
    "command": (("fly",), "there is no command 'fly'"),
    "config": (("fit", "--config", "nope.yaml"), "there is no config file 'nope.yaml'"),
    "argument": ((*NONE, "--model.nope", "1"), "there is no argument 'nope': --model.help"),
    "misspelt": ((*NONE, "--model.epoch", "1"), "there is no argument 'epoch': did you mean epochs\\?"),
    "misspelt part": ((*NONE, "--modle.epochs", "1"), "no argument --modle.epochs: did you mean --model.epochs\\?"),
    "class misspelt": ((*NONE, "--model", "NoDefens"), "there is no class 'NoDefens': did you mean NoDefense\\?"),
    "network misspelt": ((*NONE, "--model.network", "cleanse.networks.ResNet19"), "did you mean ResNet18\\?"),
    "choice": (
        ("fit", "--config", "ispl.yaml", "--model.profile", "x"),
        "model.profile: give v1 or iclr23, not 'x'",
    ),
    "command misspelt": (("fitt",), "did you mean fit\\? there are check, fit, export, report, table, predict"),
    "threads": ((*NONE, "--threads", "0"), "threads is a number of CPU threads, at least 1, not 0"),
    "seed": ((*NONE, "--seed_everything", "-1"), "seed_everything is a whole number from 0 to 4294967295, not -1"),
    "list as arguments": (
        (*NONE, "--config", "arguments.yaml"),
        "arguments.yaml: model.init_args is \\[1\\]; it takes",
    ),
    "argument beside its class": (
        (*NONE, "--config", "beside.yaml"),
        "beside.yaml: data.limit_train stands beside class_path: arguments are below data.init_args",
    ),
    "epochs": ((*NONE, "--model.epochs", "-5"), "epochs is at least 1, not -5"),
    "no attack": ((*NONE, "--data.attack=null", "--data.attack.target", "1"), "there is no attack: name one"),
    "file": ((*NONE, "--config", "data/folder.yaml", "--data.root", __file__), "data.root: .* is not a folder"),
    "config misspelt": (("fit", "--config", "isp.yaml"), "did you mean ispl.yaml\\?"),
    "class": ((*NONE, "--model", "Nope"), "Nope"),
    "value": ((*NONE, "--data.batch_size", "many"), "many"),
    "class path": ((*NONE, "--model.network", "cleanse.networks.Nope"), "Nope"),
    "target": ((*NONE, "--data.attack.target", "12"), "target class 12 is out of range: the data has classes 0 to 9"),
    "too much poison": (
        (*NONE, "--data.attack.class_rate", "null", "--data.attack.count", "5000"),
        "asks for 5000 poisoned .* only 20 are eligible",
    ),
    "trigger": (
        (*NONE, "--config", "attacks/badnets.yaml", "--data.attack.size", "9"),
        "the trigger has 9 rows, but the images have only 8 rows",
    ),
    "rate": ((*NONE, "--data.attack.class_rate", "1.5"), "class_rate is a fraction"),
    "no data": (("fit", "--model", "NoDefense"), "data is missing: name the data, for example with --config data/"),
    "no model": (
        ("fit", "--config", "data/digits.yaml"),
        "model is missing: name a recipe, for example with --config knn",
    ),
    "abbreviated": ((*NONE, "--trainer.max_epoch", "3"), "--trainer.max_epoch: did you mean --trainer.max_epochs\\?"),
    "abbreviated for the model": (
        ("fit", "--config", "knn.yaml", "--config", "quick.yaml", "--model.pretrain_epoch", "3"),
        "there is no argument 'pretrain_epoch': did you mean pretrain_epochs\\?",
    ),
    "no section": ((*NONE, "--epochs", "5"), "there is no argument --epochs: did you mean --model.epochs"),
    "a lone word": ((*NONE, "photos"), "'photos' stands alone: arguments are written as --NAME VALUE"),
    "max_epochs of a recipe": (
        (*NONE, "--trainer.max_epochs", "3"),
        "of no use to a recipe: each .* such as --model.epochs",
    ),
    "max_epochs from a file": (
        ("fit", "--config", "simclr.yaml", "--config", "quick.yaml", "--config", "none.yaml"),
        "trainer.max_epochs is of no use .* is from simclr.yaml",
    ),
    "quick after the folder": (
        ("fit", "--config", "knn.yaml", "--config", "data/folder.yaml", "--data.root", ".", "--config", "quick.yaml"),
        "data/folder.yaml names ImageFolder, but quick.yaml, which comes after it, .* put --config data/folder",
    ),
    "without .yaml": (("fit", "--config", "knn"), "did you mean knn.yaml\\?"),
    "a folder as config": (("fit", "--config", "."), "with --config data/folder.yaml --data.root ."),
    "list as model": ((*NONE, "--config", "list.yaml"), "list.yaml: model is a list"),
    "20,000 brackets": ((*NONE, "--config", "deep.yaml"), "deep.yaml .*nest"),
    "section misspelt": (
        (*NONE, "--config", "section.yaml"),
        "there is no section 'modle': did you mean model\\? .*modle is from section.yaml",
    ),
    "argument in a file": (
        (*NONE, "--config", "argument.yaml"),
        "there is no argument 'epoch': did you mean epochs.*model.epoch is from argument.yaml",
    ),
    "value in a file": (
        (*NONE, "--config", "value.yaml"),
        "give a whole number, not 'many'.*model.epochs is from value.yaml",
    ),
    "a rate from a recipe": (
        ("fit", "--config", "knn.yaml", "--config", "quick.yaml", "--config", "rate.yaml"),
        "exactly one of .*poison_rate is from knn.yaml, class_rate is from rate.yaml",
    ),
    "a folder for data that have none": (
        (*NONE, "--data.root", "."),
        "there is no argument 'root': these data need no folder; .* --config data/folder.yaml",
    ),
    "a folder as data": ((*NONE, "--data", "./"), "'./' is a folder, not a class; .* data/folder.yaml --data.root ./"),
    "no such module": (
        (*NONE, "--model", "mine_that_is_not_there.Stripe"),
        "there is no module 'mine_that_is_not_there'",
    ),
    "folder": ((*NONE, "--config", "data/folder.yaml", "--data.root", "nowhere"), "nowhere"),
    "oracle": ((*NONE, "--data.attack", "null", "--compare", "[oracle]"), "leave 'oracle' out"),
    "test without run": (("test", "--config", "none.yaml", "--config", "quick.yaml"), "say which run"),
    "devices": ((*NONE, "--trainer.accelerator", "cpu", "--trainer.devices", "many"), "trainer: .*devices"),
    "no number": ((*NONE, "--model.lr", "nan"), "model.lr: .*nan"),
    "a rate below 0": ((*NONE, "--model.lr=-1"), "model.lr: lr is at least 0, not -1"),
    "too many processes": (
        (*NONE, "--trainer.accelerator", "cpu", "--trainer.devices", "5000"),
        "trainer.devices: 5000 processes on this machine's .* ask for at most",
    ),
    "no GPU": ((*NONE, "--trainer.accelerator", "tpu"), "trainer: .*torch_xla"),
    "test of no run": (("test", "."), "is not the directory of a run"),
}


FILES = {
    "list.yaml": "model: [a, b]",
    "arguments.yaml": "model: {init_args: [1]}",
    "beside.yaml": "data: {class_path: cleanse.data.Digits, limit_train: .nan}",
    "deep.yaml": "model: " + "[" * 20_000,
    "section.yaml": "modle: {init_args: {epochs: 3}}",
    "argument.yaml": "model: {init_args: {epoch: 3}}",
    "rate.yaml": "data: {init_args: {attack: {class_path: BadNets, init_args: {class_rate: 0.05}}}}",
    "value.yaml": "model: {init_args: {epochs: many}}",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_no_traceback(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import re

    from cleanse.cli.main import main

    arguments, sentence = BAD[name]
    monkeypatch.chdir(tmp_path)
    for file, text in FILES.items():
        (tmp_path / file).write_text(text)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capfd.readouterr()
    last = err.strip().splitlines()[-1]
    assert stopped.value.code in (1, 2), err
    assert last.startswith("cleanse: "), err
    assert re.search(sentence, last), err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 3, err
    assert out == ""
    assert not list(tmp_path.glob("runs/*")), "nothing may have been trained"


def test_foreign_and_damaged_checkpoints_are_refused(
    cleanse: Cleanse, finished: tuple[Path, "CompletedProcess[str]"], tmp_path: Path
) -> None:
    run, _ = finished

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("this ran",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    (tmp_path / "damaged.ckpt").write_bytes((run / "model.ckpt").read_bytes()[:1000])
    refusals = {
        "evil": "not loaded",
        "foreign": "not written by cleanse",
        "damaged": "damaged",
        "absent": "there is no checkpoint",
    }
    for name, sentence in refusals.items():
        done = cleanse("test", "--config", f"{run}/config.yaml", "--ckpt_path", f"{name}.ckpt", check=False)
        assert done.returncode == 1, done.stderr
        assert sentence in done.stderr.splitlines()[-1], done.stderr
        assert "this ran" not in done.stdout + done.stderr


def test_an_output_folder_that_cannot_be_written_is_a_sentence(cleanse: Cleanse, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cleanse(*NONE, "--root", "file/runs", check=False)
    assert done.returncode == 1
    assert "file" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    import os
    import signal
    import subprocess
    import sys
    import time

    process = subprocess.Popen(
        [sys.executable, "-m", "cleanse", "fit", "--config", "none.yaml", "--config", "quick.yaml"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "CLEANSE_CHECKPOINT_SECONDS": "0"},
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # who runs in the background ignores Ctrl-C
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("runs/*.part/last.ckpt")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.strip().splitlines()[-1].startswith("cleanse: interrupted"), said
    assert list(tmp_path.glob("runs/*.part/last.ckpt"))


def test_runs_that_differ_in_anything_do_not_share_a_directory(
    cleanse: Cleanse, finished: tuple[Path, "CompletedProcess[str]"]
) -> None:
    run, _ = finished
    names = {run.name}
    for change in (("--data.batch_size", "16"), ("--data.limit_test", "90"), ("--seed_everything", "1")):
        names.add(cleanse(*NONE, "--root", str(run.parent), "--compare", "[]", *change).stdout.splitlines()[-1])
    assert len(names) == 4


def test_the_baseline_is_the_recipe_on_the_images_that_it_kept(cleanse: Cleanse, tmp_path: Path) -> None:
    short = ("--model.pretrain_epochs", "2", "--model.epochs", "1", "--model.probe_epochs", "1")
    knn = ("fit", "--config", "knn.yaml", *QUICK[:-2], *short, "--compare", "[]", "--data.attack=null")
    plain = cleanse(*knn).stdout.splitlines()
    done = cleanse(*knn, "--baseline", "true")
    run = tmp_path / done.stdout.splitlines()[-1]
    results = json.loads((run / "results.json").read_text())
    stages = [link.name.split("-", 1)[1] for link in sorted((run / "stages").iterdir())]
    assert stages == ["simclr", "embed", "supcon", "probe", "test", "simclr", "embed"]
    assert 0 < results["baseline_flagged"] < 1
    assert results["kept"] < 200
    assert str(run.name) not in plain[-1]
    embedded = torch.load(sorted((run / "stages").glob("*-embed"))[-1] / "table.pt", weights_only=True)
    assert len(embedded["index"]) == results["kept"]
    said = (run / "summary.txt").read_text()
    assert f"the same recipe flags {results['baseline_flagged']:.1%}" in said
    assert said.strip() in done.stdout
    before = json.loads((tmp_path / plain[-1] / "results.json").read_text())
    assert {**results, "baseline_flagged": None} == before  # nothing else has changed
