"""Who computes a stage, and who is told not to wait for it."""

from functools import partial
from pathlib import Path

import pytest

from cleanse.engine.lock import StageBusy
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.utils.lock import Lock
from cleanse.views import TrainingView


def fit(runner: Runner, view: TrainingView) -> None:
    runner.fit("classifier", partial(Classifier, partial(SmallCNN, width=4), view.image_spec), view, max_epochs=1)


def lock_of(runner: Runner) -> Path:
    (stage,) = runner.root.glob("classifier-*")
    return runner.root / f".{stage.name}.lock"


def test_one_of_many_is_told_that_a_stage_is_busy(runner: Runner, view: TrainingView, tmp_path: Path) -> None:
    fit(runner, view)
    path = lock_of(runner)
    fresh = Runner(tmp_path / "other", arguments={"accelerator": "cpu", "devices": 1})
    fresh.root.mkdir()
    lock = Lock(fresh.root / path.name)
    assert lock.acquire()
    with pytest.raises(StageBusy, match="another command is computing classifier-"), fresh.as_one_of_many():
        fit(fresh, view)
    lock.release()
    with fresh.as_one_of_many():
        fit(fresh, view)
    assert fresh.computed == 1


def test_a_stage_that_another_machine_has_taken_over_is_not_committed(
    runner: Runner, view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lock, "held", lambda self: False)
    with pytest.raises(OSError, match="taken over by another machine"):
        fit(runner, view)
    assert not [path for path in runner.root.glob("classifier-*") if path.suffix != ".part"]
