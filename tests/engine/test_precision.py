"""Precision follows what the machine does faster, and stays what it was in a root."""

from functools import partial
from pathlib import Path

import pytest
import torch

from cleanse.engine import precision
from cleanse.engine.precision import best_precision, bfloat16_speed, keep_precision
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView


def machine(monkeypatch: pytest.MonkeyPatch, instructions: bool, speed: float, cuda: bool = False) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(precision, "bfloat16_speed", lambda: speed)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("instructions", "speed", "expected"),
    [(True, 2.5, "bf16-mixed"), (True, 1.1, "32-true"), (False, 9.9, "32-true")],
    ids=["faster", "as fast", "emulated"],
)
def test_a_cpu_computes_in_what_is_faster(
    instructions: bool, speed: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, instructions, speed)
    assert best_precision("auto") == expected
    assert best_precision("cpu") == expected


def test_arm_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, False, 2.0)
    monkeypatch.setattr(precision.platform, "machine", lambda: "aarch64")
    assert best_precision("cpu") == "bf16-mixed"


def test_cuda_has_its_own_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, False, 1.0, cuda=True)
    assert best_precision("auto", tmp_path) == "bf16-mixed"
    assert best_precision("cpu", tmp_path) == "32-true"


def test_a_resumed_run_has_the_precision_of_its_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, True, 2.5)
    assert best_precision("cpu", tmp_path / "runs") == "bf16-mixed"
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs").mkdir()
    keep_precision(tmp_path / "runs")
    machine(monkeypatch, False, 1.0)
    precision._chosen.clear()  # another process
    assert best_precision("cpu", tmp_path / "runs") == "bf16-mixed"
    assert best_precision("cpu", tmp_path / "others") == "32-true"


def test_what_the_user_gives_is_not_kept(tmp_path: Path, view: TrainingView) -> None:
    run = Runner(tmp_path, arguments={"accelerator": "cpu", "devices": 1, "precision": "32-true"})
    run.fit("stage", partial(Classifier, partial(SmallCNN, width=4), view.image_spec), view, max_epochs=1)
    assert not (tmp_path / ".precision.json").exists()


def test_processes_that_are_started_together_do_not_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, True, 0.5)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert best_precision("cpu") == "bf16-mixed"


@pytest.mark.parametrize("content", ["", "[]", '{"cpu": "64-true"}', "[" * 9000], ids=repr)
def test_a_damaged_record_is_made_again(content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, True, 2.5)
    (tmp_path / ".precision.json").write_text(content)
    assert best_precision("cpu", tmp_path) == "bf16-mixed"


def test_the_measurement_leaves_randomness_alone() -> None:
    state = torch.get_rng_state()
    assert bfloat16_speed(0.05) > 0
    assert torch.equal(torch.get_rng_state(), state)
