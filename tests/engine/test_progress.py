"""The time left: of a stage by its pace, of a run by its stages so far."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import LightningModule

from cleanse.engine import progress
from cleanse.engine.plan import Plan, Planned
from cleanse.engine.progress import Screen


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def trainer(epoch: int, batch: int = 0, epochs: int = 100) -> Any:
    ready = SimpleNamespace(current=SimpleNamespace(ready=batch))
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=ready))
    return SimpleNamespace(current_epoch=epoch, max_epochs=epochs, num_training_batches=10, fit_loop=loop)


def planned(*names: str, seconds: float | None = None) -> Plan:
    return Plan([Planned(name, LightningModule, [0] * 10, epochs=1, seconds=seconds) for name in names])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_lines_without_a_terminal_say_what_is_left_of_the_stage_and_of_the_run(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen(planned("simclr", "probe", "classifier"))
    bar = screen.started("simclr")
    bar.on_train_start(trainer(0), None)  # type: ignore[arg-type]
    clock.now = 5.0
    bar.on_train_batch_end(trainer(0, batch=5))
    assert lines(capsys) == []
    clock.now = 60.0
    bar.on_train_batch_end(trainer(5, batch=10))  # six epochs of a hundred in a minute
    assert lines(capsys) == ["[1/3] simclr: epoch 6 of 100, 16 min left for this stage, about 49 min in all"]
    screen.finished("simclr", 1000.0)
    bar = screen.started("probe")
    clock.now = 1000.0
    bar.on_train_start(trainer(0), None)  # type: ignore[arg-type]
    clock.now = 1020.0
    bar.on_train_batch_end(trainer(9, batch=10, epochs=20))
    assert lines(capsys)[1:] == ["[2/3] probe: epoch 10 of 20, 20 s left for this stage, about 9 min in all"]


def test_a_resumed_stage_is_measured_from_where_it_went_on(clock: Clock) -> None:
    bar = Screen(planned("a")).started("a")
    bar.on_train_start(trainer(90), None)  # type: ignore[arg-type]
    clock.now = 50.0
    assert bar.left(trainer(94, batch=10)) == "50 s left for this stage"


def test_stages_that_nobody_has_counted_are_not_guessed(clock: Clock) -> None:
    bar = Screen().started("a")
    bar.on_train_start(trainer(0), None)  # type: ignore[arg-type]
    clock.now = 10.0
    assert bar.left(trainer(49, batch=10)) == "10 s left for this stage, how many follow is not known"


@pytest.mark.parametrize(("seconds", "warnings"), [(60.0, 0), (90.0, 1)])
def test_a_run_of_more_than_two_hours_says_so_once(
    clock: Clock, seconds: float, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    bar = Screen(planned("a")).started("a")
    bar.on_train_start(trainer(0), None)  # type: ignore[arg-type]
    clock.now = seconds
    for _ in range(3):
        bar.left(trainer(0, batch=10))
    assert caplog.text.count("this run needs about") == warnings
    assert caplog.text.count("about 2 h 28 min on this machine") == warnings


def test_the_plan_is_corrected_by_how_far_it_was_off(clock: Clock) -> None:
    """The stage at work takes 40 s in all, 4 times as long as planned; so will the one to come."""
    screen = Screen(planned("a", "b", seconds=10.0))
    bar = screen.started("a")
    bar.on_train_start(trainer(0), None)  # type: ignore[arg-type]
    clock.now = 10.0
    assert bar.left(trainer(24, batch=10)) == "30 s left for this stage, about 70 s in all"


@pytest.mark.parametrize(
    ("names", "on_disk", "said"),
    [
        (["a"], 0, "1 stage to do:"),
        (["a"], 1, "1 stage to do, 1 is on disk already:"),
        (["a", "b"], 0, "2 stages to do:"),
        (["a", "b"], 3, "2 stages to do, 3 are on disk already:"),
    ],
    ids=["one", "one of two", "two", "two of five"],
)
def test_what_there_is_to_do_is_counted_in_words(
    names: list[str], on_disk: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cleanse")
    Screen().announce(planned(*names).stages, on_disk)
    assert caplog.records[0].getMessage() == said


def test_epochs_that_are_done_are_not_announced_as_to_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cleanse")
    stages = [
        Planned("probe-1", LightningModule, [0] * 10, epochs=8, seconds=40.0, done=6),
        Planned("probe-2", LightningModule, [0] * 10, epochs=8, seconds=40.0),
    ]
    Screen().announce(stages, 0)
    lines = [record.getMessage().strip() for record in caplog.records]
    assert lines[1] == "2 x probe: the last 10 of 16 epochs of 10 images, 50 s"
    assert lines[2] == "about 50 s in all on this machine, from a step of each training"
