"""A run's directory: what is written comes back, and what a stranger put there is refused with a sentence."""

import os
from pathlib import Path

import pytest
import torch

from cleanse.engine.run_directory import RunDirectory, check_checkpoint
from cleanse.utils.image_spec import ImageSpec
from cleanse.verdict import Verdict


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run with everything but stages."""
    run = RunDirectory(tmp_path / "run")
    run.write_config("data:\n  class_path: cleanse.data.Digits\n")
    run.write_verdict(Verdict.keep_all("ab", torch.tensor([0, 1])), ["cat", "dog"])
    run.write_results({"sa": 0.5, "asr": None, "recipe": "knn", "oracle": False, "seed": 3})
    run.write_summary("Of 2 images, 2 are kept.")
    images = ImageSpec(1, 2, (0.5,), (0.5,), (8, 8))
    run.write_checkpoint(torch.nn.Linear(1, 1), ("cat", "dog"), images)  # type: ignore[arg-type]
    return run


def test_what_is_written_comes_back(run: RunDirectory) -> None:
    assert run.is_run()
    assert run.read_config() == {"data": {"class_path": "cleanse.data.Digits"}}
    assert run.read_verdict().id == ("a", "b")
    assert run.read_classes() == ("cat", "dog")
    assert run.read_results() == {"sa": 0.5, "asr": None, "recipe": "knn", "oracle": False, "seed": 3}
    assert run.read_summary() == "Of 2 images, 2 are kept."
    assert set(run.read_checkpoint()["state_dict"]) == {"weight", "bias"}


def test_stages_are_linked_relatively_and_in_order(run: RunDirectory) -> None:
    stages = [(name, run.path.parent / f"{name}-0123") for name in ("simclr", "embed")]
    for again in (stages, stages[:1], stages):
        run.link_stages(again)
    links = sorted(run.stages.iterdir())
    assert [link.name for link in links] == ["1-simclr", "2-embed"]
    assert [str(link.readlink()) for link in links] == ["../../simclr-0123", "../../embed-0123"]


def test_tables_of_a_stage_that_are_damaged_are_left_out(run: RunDirectory) -> None:
    for name, content in (("embed", {"features": torch.ones(2, 3)}), ("embed-2", None)):
        stage = run.path.parent / f"{name}-0123"
        stage.mkdir()
        if content is None:
            (stage / "table.pt").write_bytes(b"no table")
        else:
            torch.save(content, stage / "table.pt")
    run.link_stages([(name, run.path.parent / f"{name}-0123") for name in ("embed", "embed-2")])
    assert [table["features"].shape for table in run.tables("embed")] == [(2, 3)]


@pytest.mark.parametrize("place", ["link", "file"])
def test_what_lies_where_links_go_is_replaced_and_not_followed(run: RunDirectory, tmp_path: Path, place: str) -> None:
    """A stranger's run may link ``stages`` to a folder of ours."""
    kept = tmp_path / "photos" / "dear.png"
    kept.parent.mkdir()
    kept.touch()
    run.stages.symlink_to(kept.parent) if place == "link" else run.stages.touch()
    run.link_stages([("embed", run.path.parent / "embed-0123")])
    assert [link.name for link in run.stages.iterdir()] == ["1-embed"]
    assert list(kept.parent.iterdir()) == [kept]


def test_only_links_among_the_stages_are_removed(run: RunDirectory) -> None:
    run.link_stages([("embed", run.path.parent / "embed-0123")])
    (run.stages / "notes").mkdir()
    run.link_stages([])
    assert [entry.name for entry in run.stages.iterdir()] == ["notes"]


def test_a_pipe_for_a_table_is_not_waited_for(run: RunDirectory) -> None:
    stage = run.path.parent / "embed-0123"
    stage.mkdir()
    os.mkfifo(stage / "table.pt")
    run.link_stages([("embed", stage)])
    assert list(run.tables("embed")) == []


RESULTS = {
    "no JSON": "{",
    "a list": "[1]",
    "not flat": '{"sa": {"of": 1}}',
    "nested without end": "[" * 100_000,
    "a number without end": '{"sa": 1' + "0" * 400 + "}",
    "too large": '{"sa": "' + "x" * 5_000_000 + '"}',
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_strangers_are_refused(run: RunDirectory, name: str) -> None:
    run.results.write_text(RESULTS[name])
    with pytest.raises(ValueError, match=r"results\.json (cannot be read|is damaged|is larger)"):
        run.read_results()


CONFIGS = {
    "no yaml": "data: [",
    "no data": "model: {}",
    "a list": "- 1",
    "nested without end": "[" * 20_000,
    "a trainer that is a text": "data: {}\ntrainer: x",
    "a seed that is a text": "data: {}\nseed_everything: abc",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_of_strangers_are_refused(run: RunDirectory, name: str) -> None:
    run.config.write_text(CONFIGS[name])
    with pytest.raises(ValueError, match=r"config\.yaml (is not valid yaml|names no data|is a list|is of no run)"):
        run.read_config()


@pytest.mark.parametrize("name", ["config", "results"])
def test_a_pipe_is_not_waited_for(run: RunDirectory, name: str) -> None:
    path = getattr(run, name)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match="there is no file"):
        run.read_config() if name == "config" else run.read_results()


def test_nothing_there(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "none")
    assert not run.is_run()
    assert run.read_summary() == ""
    assert run.recorded_data() == set()
    with pytest.raises(ValueError, match="there is no checkpoint"):
        run.read_checkpoint()


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.ones(1)], ids=["unmarked", "list", "tensor"])
def test_a_checkpoint_without_our_mark_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="was not written by cleanse"):
        check_checkpoint(tmp_path / "model.ckpt")
