"""What the runner promises: once, seeded, gathered, committed, whatever the devices."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.engine.fingerprint import describe
from cleanse.engine.runner import Runner
from cleanse.engine.stage import key_of
from cleanse.modules import Classifier, ISPLRound
from cleanse.networks import SmallCNN, SmallResNet
from cleanse.views import TrainingView

ARGUMENTS = {"accelerator": "cpu", "devices": 1}


def build(view: TrainingView, **changed: Any) -> "partial[Classifier]":
    network = changed.pop("network", SmallCNN)
    return partial(Classifier, network, view.image_spec, **changed)


def stage_key(run: Runner) -> str:
    return run.stages[-1][1].name


def test_a_stage_runs_once_and_is_read_back_bit_for_bit(runner: Runner, view: TrainingView) -> None:
    first = runner.fit("classifier", build(view), view, max_epochs=2)
    assert runner.computed == 1
    again = Runner(runner.root, arguments=ARGUMENTS)
    second = again.fit("classifier", build(view), view, max_epochs=2)
    assert again.computed == 0
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    assert not second.training
    assert again.seconds["classifier"] > 0  # of the time it was computed


def test_a_fresh_trainer_with_callbacks_of_its_own_for_every_stage(tmp_path: Path, view: TrainingView) -> None:
    seen: list[tuple[int, int]] = []

    class Mine(Callback):
        pass

    def make(**own: Any) -> Trainer:
        own["callbacks"] = [Mine(), *own["callbacks"]]
        trainer = Trainer(**ARGUMENTS, **own)
        seen.append((id(trainer), id(own["callbacks"][0])))
        keep.append((trainer, own))
        return trainer

    keep: list[Any] = []
    run = Runner(tmp_path, trainer=make, arguments=ARGUMENTS)
    model = run.fit("one", build(view), view, max_epochs=1)
    run.predict("two", model, view)
    assert len({trainer for trainer, _ in seen}) == 2
    assert len({callback for _, callback in seen}) == 2
    with pytest.raises(ValueError, match="shared between stages"):
        Runner(tmp_path, arguments={"callbacks": [Mine()]})


@pytest.mark.parametrize("argument", ["accelerator", "devices", "num_nodes", "strategy"])
def test_a_stage_that_asks_for_devices_is_refused_with_a_sentence(
    runner: Runner, view: TrainingView, argument: str
) -> None:
    with pytest.raises(ValueError, match=f"asks for {argument}.* hold for the whole run"):
        runner.fit("classifier", build(view), view, max_epochs=1, **{argument: 2})
    assert not runner.stages


def keys_of(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> str:
    """The key of one stage, after a change to what it is made from."""
    made: dict[str, Any] = {
        "data": {"limit_train": 100, "batch_size": 32, "seed": 0},
        "attack": {"pattern": "checkerboard", "class_rate": 0.1, "target": 0},
        "model": {}, "trainer": {"max_epochs": 1}, "run": {"seed": 0, "arguments": dict(ARGUMENTS)},
        "root": "a", "name": "x",
    }  # fmt: skip
    change(made)
    view = Digits(attack=BadNets(**made["attack"]), **made["data"]).training_view()
    run = Runner(tmp_path / made["root"], **made["run"])
    spec = run_spec(run, build(view, **made["model"]), view, made["trainer"])
    return key_of({"name": made["name"], "seed": run.seed, **spec})


def run_spec(run: Runner, make: Any, view: TrainingView, trainer: dict[str, Any]) -> dict[str, Any]:
    fixed = Runner(run.root, arguments={**run.arguments, **trainer}).fixed()
    return {"fit": describe(make), "data": describe(view.spec()), "trainer": fixed}


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "limit_train": lambda m: m["data"].update(limit_train=90),
    "batch_size": lambda m: m["data"].update(batch_size=16),
    "data seed": lambda m: m["data"].update(seed=1),
    "augment": lambda m: m["data"].update(augment=[]),
    "labeled": lambda m: m["data"].update(labeled=0.5),
    "attack pattern": lambda m: m["attack"].update(pattern="noise"),
    "attack rate": lambda m: m["attack"].update(class_rate=0.2),
    "attack target": lambda m: m["attack"].update(target=1),
    "lr": lambda m: m["model"].update(lr=0.1),
    "momentum": lambda m: m["model"].update(momentum=0.5),
    "weight_decay": lambda m: m["model"].update(weight_decay=0.0),
    "milestones": lambda m: m["model"].update(milestones=(1,)),
    "gamma": lambda m: m["model"].update(gamma=0.5),
    "schedule": lambda m: m["model"].update(schedule="one_cycle"),
    "nesterov": lambda m: m["model"].update(nesterov=True),
    "label_smoothing": lambda m: m["model"].update(label_smoothing=0.1),
    "network": lambda m: m["model"].update(network=SmallResNet),
    "network argument": lambda m: m["model"].update(network=partial(SmallCNN, width=8)),
    "epochs": lambda m: m["trainer"].update(max_epochs=2),
    "gradient clipping": lambda m: m["trainer"].update(gradient_clip_val=1.0),
    "precision": lambda m: m["run"]["arguments"].update(precision="bf16-mixed"),
    "limit_train_batches": lambda m: m["run"]["arguments"].update(limit_train_batches=1),
    "run seed": lambda m: m["run"].update(seed=1),
    "stage name": lambda m: m.update(name="y"),
}


def test_the_key_changes_with_every_argument(tmp_path: Path) -> None:
    """Change each in turn and demand a new key."""
    keys = {"nothing": keys_of(lambda m: None, tmp_path), **{k: keys_of(v, tmp_path) for k, v in CHANGES.items()}}
    assert len(set(keys.values())) == len(keys), keys


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(root="b"),
        lambda m: m["run"]["arguments"].update(devices=2, strategy="ddp", num_nodes=1),
        lambda m: m["run"]["arguments"].update(accelerator="auto"),
        lambda m: m["run"]["arguments"].update(logger=False, enable_progress_bar=False),
        lambda m: m["data"].update(limit_test=10),
    ],
    ids=["root", "devices", "accelerator", "display", "test set"],
)
def test_the_key_stays_with_a_path_or_the_number_of_devices(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    assert keys_of(change, tmp_path) == keys_of(lambda m: None, tmp_path)


def test_every_argument_of_the_modules_is_in_the_key(view: TrainingView, runner: Runner) -> None:
    """For all constructor arguments there are: none is forgotten by the description."""
    import inspect

    active = torch.ones(len(view), dtype=torch.bool)
    for call in (build(view), partial(ISPLRound, SmallCNN, view.image_spec, active, 0.5)):
        described = describe(call)["with"]
        assert set(described) == set(inspect.signature(call.func).parameters)


def test_a_stage_s_randomness_does_not_depend_on_what_ran_before(tmp_path: Path, view: TrainingView) -> None:
    weights = []
    for before in (False, True):
        run = Runner(tmp_path / str(before), arguments=ARGUMENTS)
        if before:
            run.fit("other", build(view, lr=0.1), view, max_epochs=1)
            torch.rand(7)
        weights.append(run.fit("classifier", build(view), view, max_epochs=2).state_dict())
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())


def test_a_stage_leaves_the_global_randomness_as_it_was(runner: Runner, view: TrainingView) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    runner.fit("classifier", build(view), view, max_epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_predict_gives_every_row_once_in_order(runner: Runner, view: TrainingView) -> None:
    model = runner.fit("classifier", build(view), view, max_epochs=1)
    table = runner.predict("table", model, view)
    with torch.no_grad():
        expected = model(view.batch(torch.arange(len(view)), augmented=False)["image"]).argmax(1)
    assert torch.equal(table.index, torch.arange(len(view)))
    assert torch.equal(table.prediction, expected)
    with pytest.raises(AttributeError, match="it has index, prediction, confidence"):
        table.features  # noqa: B018


class AskedToEnd(Classifier):
    """Its process gets SIGTERM with the first batch."""

    seen = 0

    def predict_step(self, *arguments: Any) -> Any:
        AskedToEnd.seen += 1
        os.kill(os.getpid(), signal.SIGTERM)
        return super().predict_step(*arguments)


def test_a_pass_over_the_data_ends_when_the_process_is_asked_to(runner: Runner, view: TrainingView) -> None:
    module = AskedToEnd(SmallCNN, view.image_spec)
    module.stage_key = "any"
    with pytest.raises(KeyboardInterrupt):
        runner.predict("table", module, view.with_batch_size(20))
    assert AskedToEnd.seen == 1


def test_what_no_runner_fitted_cannot_be_tabulated(runner: Runner, view: TrainingView) -> None:
    with pytest.raises(ValueError, match="not fitted by a runner"):
        runner.predict("table", build(view)(), view)


@pytest.mark.parametrize("damage", ["truncate", "flip", "record", "missing"])
def test_a_damaged_stage_is_made_again_with_a_warning(
    runner: Runner, view: TrainingView, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = runner.fit("classifier", build(view), view, max_epochs=1).state_dict()
    directory = runner.stages[-1][1]
    file = directory / "model.ckpt"
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
    elif damage == "record":
        (directory / "stage.json").write_text("{")
    else:
        file.unlink()
    again = Runner(runner.root, arguments=ARGUMENTS)
    second = again.fit("classifier", build(view), view, max_epochs=1).state_dict()
    assert again.computed == 1
    assert "is damaged" in caplog.text
    assert all(torch.equal(v, second[k]) for k, v in first.items())


def test_a_damaged_resume_point_only_costs_its_epochs(runner: Runner, view: TrainingView) -> None:
    first = runner.fit("classifier", build(view), view, max_epochs=2).state_dict()
    other = Runner(runner.root.with_name("other"), arguments=ARGUMENTS)
    part = other.root / (runner.stages[-1][1].name + ".part")
    part.mkdir(parents=True)
    (part / "last.ckpt").write_bytes(b"not a checkpoint")
    second = other.fit("classifier", build(view), view, max_epochs=2).state_dict()
    assert all(torch.equal(v, second[k]) for k, v in first.items())


def test_no_directory_name_holds_a_time_stamp(runner: Runner, view: TrainingView) -> None:
    """The same call elsewhere, later, has the same name; and the record says what it was made from."""
    runner.fit("classifier", build(view), view, max_epochs=1)
    other = Runner(runner.root.with_name("other"), arguments=ARGUMENTS)
    other.fit("classifier", build(view), view, max_epochs=1)
    assert stage_key(runner) == stage_key(other)
    record = json.loads((runner.stages[-1][1] / "stage.json").read_text())
    assert record["name"] == "classifier"
    assert record["fit"]["with"]["lr"] == 0.02
    assert not any(str(runner.root) in p.read_text() for p in runner.root.glob("*/stage.json"))


def test_two_commands_that_need_the_same_stage_make_it_once(tmp_path: Path) -> None:
    script = (
        "import sys; from functools import partial; from cleanse.data import Digits\n"
        "from cleanse.engine.runner import Runner\n"
        "from cleanse.modules import Classifier; from cleanse.networks import SmallCNN\n"
        "v = Digits(limit_train=200, seed=0, batch_size=8).training_view()\n"
        "r = Runner(sys.argv[1], arguments={'accelerator': 'cpu', 'devices': 1})\n"
        "r.fit('classifier', partial(Classifier, SmallCNN, v.image_spec), v, max_epochs=15)\n"
        "print('computed', r.computed)\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted(p.communicate(timeout=300)[0].split()[-1] for p in both)
    assert said == ["0", "1"]
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith((".lock", ".part"))] == []


def test_kill_in_the_middle_of_a_stage_and_resume_gives_the_same_bits(tmp_path: Path, view: TrainingView) -> None:
    """kill -9 after some epochs, run again, same weights as without."""
    script = (
        "import sys; from functools import partial; from cleanse.data import Digits\n"
        "from cleanse.engine.runner import Runner\n"
        "from cleanse.modules import Classifier; from cleanse.networks import SmallCNN\n"
        "import torch; torch.set_num_threads(1)\n"
        "v = Digits(limit_train=200, batch_size=32, seed=0).training_view()\n"
        "r = Runner(sys.argv[1], arguments={'accelerator': 'cpu', 'devices': 1})\n"
        "make = partial(Classifier, SmallCNN, v.image_spec, milestones=(10,))\n"
        "r.fit('classifier', make, v, max_epochs=200)\n"
    )
    environment = {**os.environ, "CLEANSE_CHECKPOINT_SECONDS": "0"}
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "killed")], env=environment)
    deadline, found = time.monotonic() + 120, None
    while time.monotonic() < deadline and process.poll() is None and found is None:
        found = (
            next(iter((tmp_path / "killed").glob("*.part/last.ckpt")), None) if (tmp_path / "killed").exists() else None
        )
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert found is not None, "killed before the stage's first resume point"
    assert found.exists(), "killed after the stage"
    epoch = torch.load(found, weights_only=True)["epoch"]
    assert 0 <= epoch < 199
    make = build(view, milestones=(10,))
    resumed = Runner(tmp_path / "killed", arguments=ARGUMENTS)
    whole = Runner(tmp_path / "whole", arguments=ARGUMENTS)
    a = resumed.fit("classifier", make, view, max_epochs=200).state_dict()
    b = whole.fit("classifier", make, view, max_epochs=200).state_dict()
    assert all(torch.equal(v, b[k]) for k, v in a.items())
    assert len(list(resumed.stages[-1][1].glob("metrics-*"))) <= 2


def test_a_full_or_read_only_disk_is_an_error_and_keeps_what_is_done(
    runner: Runner, view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.fit("one", build(view), view, max_epochs=1)
    done = runner.stages[-1][1]

    def full(*a: Any, **k: Any) -> None:
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch,
        pytest.raises(OSError, match=r"no space left on the disk of .*runs: make room"),
    ):
        patch.setattr(torch, "save", full)
        runner.fit("two", build(view), view, max_epochs=1)
    again = Runner(runner.root, arguments=ARGUMENTS)
    again.fit("one", build(view), view, max_epochs=1)
    again.fit("two", build(view), view, max_epochs=1)
    assert done.exists()
    assert again.computed == 1


def test_no_lock_is_left_where_a_stage_fails(tmp_path: Path, view: TrainingView) -> None:
    run = Runner(tmp_path, arguments=ARGUMENTS)
    with pytest.raises(ZeroDivisionError):
        run.fit("bad", partial(_fails), view, max_epochs=1)
    assert not list(tmp_path.glob(".*.lock"))


def _fails() -> Classifier:
    raise ZeroDivisionError


def test_a_stage_without_an_end_is_refused(runner: Runner, view: TrainingView) -> None:
    build = partial(Classifier, partial(SmallCNN, width=4), view.image_spec)
    for epochs in (0, -1):
        with pytest.raises(ValueError, match=f"first is to be trained for {epochs} epochs: give it at least one"):
            runner.fit("first", build, view, max_epochs=epochs)
    assert runner.fit("first", build, view, max_epochs=-1, max_steps=2).stage_key
