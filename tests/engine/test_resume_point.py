"""A resume point that is not what was written costs its epochs and nothing else."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from cleanse.engine.resume_point import ResumePoint
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView

ARGUMENTS = {"accelerator": "cpu", "devices": 1}


class PowerCut(Callback):
    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 3:
            raise RuntimeError("power cut")


class Count(Callback):
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.epochs.append(trainer.current_epoch)


def make(view: TrainingView, **changed: Any) -> "partial[Classifier]":
    return partial(Classifier, partial(SmallCNN, width=4), view.image_spec, **changed)


def cut(root: Path, view: TrainingView, **changed: Any) -> Path:
    """The folder of a stage of six epochs that ended in its fourth."""

    def trainer(**own: Any) -> Trainer:
        return Trainer(**ARGUMENTS, **{**own, "callbacks": [*own["callbacks"], PowerCut()]})

    with pytest.raises(RuntimeError, match="power cut"):
        Runner(root, trainer=trainer, arguments=ARGUMENTS).fit("stage", make(view, **changed), view, max_epochs=6)
    (part,) = root.glob("stage-*.part")
    return part


def go_on(root: Path, view: TrainingView) -> tuple[dict[str, torch.Tensor], list[int]]:
    """The weights in the end, and the epochs that were trained for them."""
    count, run = Count(), Runner(root, arguments=ARGUMENTS)
    with run.watching([count]):
        return run.fit("stage", make(view), view, max_epochs=6).state_dict(), count.epochs


@pytest.fixture
def whole(tmp_path: Path, view: TrainingView) -> dict[str, torch.Tensor]:
    return go_on(tmp_path / "whole", view)[0]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANSE_CHECKPOINT_SECONDS", "0")


@pytest.mark.parametrize(
    "damage",
    ["none", "a bit of the weights", "cut short", "another stage", "another stage, with its record", "no record"],
)
def test_only_what_was_written_is_gone_on_with(
    damage: str, tmp_path: Path, view: TrainingView, whole: dict[str, torch.Tensor]
) -> None:
    part = cut(tmp_path / "runs", view)
    last = part / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "a bit of the weights":
        place = content.index(
            torch.load(last, weights_only=True)["state_dict"]["network.head.weight"].numpy().tobytes()
        )
        content[place + 2] ^= 1
        last.write_bytes(content)
    elif damage == "cut short":
        last.write_bytes(content[: len(content) // 2])
    elif damage == "no record":
        (part / "last.json").unlink()
    elif damage != "none":
        other = cut(tmp_path / "other", view, lr=0.5)
        shutil.copy(other / "last.ckpt", part)
        if damage.endswith("record"):
            shutil.copy(other / "last.json", part)
    found, epochs = go_on(tmp_path / "runs", view)
    assert epochs == ([3, 4, 5] if damage == "none" else [0, 1, 2, 3, 4, 5])
    assert all(torch.equal(found[k], v) for k, v in whole.items())


@pytest.mark.parametrize(("record", "epochs"), [("", 3), ("{", 0), ('{"epochs": "2"}', 0), ('{"sha256": []}', 0)])
def test_how_many_epochs_are_done_stands_in_the_record(
    record: str, epochs: int, tmp_path: Path, view: TrainingView
) -> None:
    part = cut(tmp_path / "runs", view)
    if record:
        (part / "last.json").write_text(record)
    assert ResumePoint(part, "").epochs() == epochs
    (part / "last.ckpt").unlink()
    assert ResumePoint(part, "").epochs() == 0


def test_a_kill_between_the_record_and_the_resume_point_loses_neither(
    tmp_path: Path, view: TrainingView, whole: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if self.name == "last.next.ckpt" and Path(target).exists():
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        Runner(tmp_path / "runs", arguments=ARGUMENTS).fit("stage", make(view), view, max_epochs=6)
    found, epochs = go_on(tmp_path / "runs", view)
    assert epochs == [1, 2, 3, 4, 5]
    assert all(torch.equal(found[k], v) for k, v in whole.items())


def test_what_cannot_be_restored_costs_its_epochs(
    tmp_path: Path, view: TrainingView, whole: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(tmp_path / "runs", view)

    def other_version(self: ResumePoint, state_dict: dict[str, Any]) -> None:
        raise KeyError("of another version")

    monkeypatch.setattr(ResumePoint, "load_state_dict", other_version)
    found, epochs = go_on(tmp_path / "runs", view)
    assert epochs == [0, 1, 2, 3, 4, 5]
    assert all(torch.equal(found[k], v) for k, v in whole.items())


def test_resume_points_cost_two_percent_of_the_time_at_most(
    tmp_path: Path, view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that a write moves by one second and an epoch by ten."""
    clock, written = [0.0], []
    monkeypatch.setenv("CLEANSE_CHECKPOINT_SECONDS", "5")
    monkeypatch.setattr("cleanse.engine.resume_point.time.monotonic", lambda: clock[0])

    class Write:
        current_epoch, max_epochs = 0, 1000

        class strategy:
            broadcast = staticmethod(bool)

        def save_checkpoint(self, path: Path) -> None:
            clock[0] += 1.0
            written.append(clock[0])
            path.write_text("x")

    point, trainer = ResumePoint(tmp_path, "key"), Write()
    point.on_train_start(trainer, None)  # type: ignore[arg-type]
    for epoch in range(100):
        clock[0] += 10.0
        trainer.current_epoch = epoch
        point.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert written[0] == 11.0
    assert 15 <= len(written) <= 21


def test_a_write_that_fails_leaves_no_half_of_a_resume_point(
    tmp_path: Path, view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Trainer, path: Path, *more: Any, **named: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Trainer, "save_checkpoint", full)
    with pytest.raises(OSError, match="make room"):
        Runner(tmp_path, arguments=ARGUMENTS).fit("stage", make(view), view, max_epochs=3)
    assert not list(tmp_path.glob("*.part/last*"))
