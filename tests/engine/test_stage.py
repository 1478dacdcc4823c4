"""Whatever is wrong with a stage on disk, it is noticed, said, and made again with the same bits."""

import json
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.utils.files import digest_of
from cleanse.views import TrainingView

ARGUMENTS = {"accelerator": "cpu", "devices": 1}


class Code:
    """Unpickled, it would make a file."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def make(view: TrainingView) -> "partial[Classifier]":
    return partial(Classifier, partial(SmallCNN, width=4), view.image_spec)


def fit(root: Path, view: TrainingView) -> tuple[Runner, dict[str, torch.Tensor], torch.Tensor]:
    run = Runner(root, arguments=ARGUMENTS)
    model = run.fit("classifier", make(view), view, max_epochs=2)
    return run, model.state_dict(), run.predict("table", model, view).prediction


def record(stage: Path, **changed: Any) -> None:
    old = json.loads((stage / "stage.json").read_text())
    (stage / "stage.json").write_text(json.dumps({**old, **changed}))


def no_files(stage: Path) -> None:
    (stage / "model.ckpt").unlink()
    record(stage, files={})


def a_file(stage: Path) -> None:
    stage.rename(stage.with_name("moved"))
    stage.write_text("not a folder")


def dangling(stage: Path) -> None:
    stage.rename(stage.with_name("moved"))
    stage.symlink_to("nowhere")


def endless(stage: Path) -> None:
    record(stage, files={**json.loads((stage / "stage.json").read_text())["files"], "../../../../../dev/zero": "0"})


def endless_record(stage: Path) -> None:
    (stage / "stage.json").unlink()
    (stage / "stage.json").symlink_to("/dev/zero")


def pipe(stage: Path) -> None:
    (stage / "model.ckpt").unlink()
    os.mkfifo(stage / "model.ckpt")


def nested(stage: Path) -> None:
    (stage / "stage.json").write_text("[" * 100_000)


def other_content(stage: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, stage / "model.ckpt")
    record(stage, files={"model.ckpt": digest_of(stage / "model.ckpt")})


def code(stage: Path) -> None:
    (stage / "model.ckpt").write_bytes(pickle.dumps(Code()))
    record(stage, files={"model.ckpt": digest_of(stage / "model.ckpt")})


def forever(stage: Path) -> None:
    record(stage, seconds=float("inf"))


@pytest.mark.parametrize(
    "damage",
    [no_files, a_file, dangling, endless, endless_record, pipe, nested, other_content, code, forever],
    ids=lambda f: f.__name__,
)
def test_a_damaged_stage_is_made_again(
    damage: Callable[[Path], None],
    tmp_path: Path,
    view: TrainingView,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run, weights, _ = fit(tmp_path / "runs", view)
    damage(run.stages[0][1])
    again, found, _ = fit(tmp_path / "runs", view)
    assert again.computed == 1
    assert "is damaged" in caplog.text
    assert all(torch.equal(found[k], v) for k, v in weights.items())
    assert not (tmp_path / "ran").exists()
    assert fit(tmp_path / "runs", view)[0].computed == 0


@pytest.mark.parametrize("what", ["code", "other rows"])
def test_a_table_that_is_none_is_made_again(what: str, tmp_path: Path, view: TrainingView) -> None:
    run, _, prediction = fit(tmp_path, view)
    table = run.stages[1][1] / "table.pt"
    if what == "code":
        table.write_bytes(pickle.dumps(Code()))
    else:
        torch.save({"index": torch.arange(3), "prediction": torch.zeros(3)}, table)
    record(run.stages[1][1], files={"table.pt": digest_of(table)})
    again, _, found = fit(tmp_path, view)
    assert again.computed == 1
    assert torch.equal(found, prediction)


def test_a_file_in_the_place_of_the_folder_to_compute_in(tmp_path: Path, view: TrainingView) -> None:
    run, weights, _ = fit(tmp_path / "a", view)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / f"{run.stages[0][1].name}.part").write_text("no folder")
    _, found, _ = fit(tmp_path / "b", view)
    assert all(torch.equal(found[k], v) for k, v in weights.items())


PLACES = ("last.ckpt", "last.json", "last.next.ckpt", "model.ckpt", "stage.json", "metrics-1")


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_lies_where_a_stage_is_computed_is_neither_followed_nor_in_the_way(
    kind: str, tmp_path: Path, view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root may be a stranger's: every name that is written there leads out of it, or is a folder."""
    monkeypatch.setenv("CLEANSE_CHECKPOINT_SECONDS", "0")
    run, weights, _ = fit(tmp_path / "a", view)
    part = tmp_path / "b" / f"{run.stages[0][1].name}.part"
    part.mkdir(parents=True)
    dear = tmp_path / "dear"
    dear.mkdir()
    (dear / "file").write_text("dear")
    for name in PLACES:
        if kind == "folder":
            (part / name).mkdir()
            (part / name / "within").touch()
        else:
            (part / name).symlink_to(dear if name == "metrics-1" else dear / "file")
    _, found, _ = fit(tmp_path / "b", view)
    assert all(torch.equal(found[k], v) for k, v in weights.items())
    assert [path.read_text() for path in dear.iterdir()] == ["dear"]


def test_a_committed_stage_holds_its_result_its_record_and_its_metrics(tmp_path: Path, view: TrainingView) -> None:
    other = fit(tmp_path / "a", view)[0].stages[0][1].name
    part = tmp_path / "b" / f"{other}.part"
    part.mkdir(parents=True)
    for name in ("hpc_ckpt_1.ckpt", "last.next.ckpt", ".model.ckpt.0123.aside"):  # of killed commands
        (part / name).write_text("left")
    stage = fit(tmp_path / "b", view)[0].stages[0][1]
    assert sorted(p.name.split("-")[0] for p in stage.iterdir()) in (
        ["model.ckpt", "stage.json"],
        ["metrics", "model.ckpt", "stage.json"],
    )


def test_a_finished_run_is_read_where_nothing_can_be_written(
    tmp_path: Path, view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, weights, prediction = fit(tmp_path, view)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path, *tmp_path.rglob("*"))}
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # the tests may run as root
    again, found, table = fit(tmp_path, view)
    assert again.computed == 0
    assert all(torch.equal(found[k], v) for k, v in weights.items())
    assert torch.equal(table, prediction)
    model = again.fit("classifier", make(view), view, max_epochs=2)
    again.predict("another", model, view)
    assert again.computed == 1
    assert {p: p.stat().st_mtime_ns for p in (tmp_path, *tmp_path.rglob("*"))} == before
