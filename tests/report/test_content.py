"""Neighbors against a double loop; the threshold; and which classifier is which."""

import json
import math
import os
from pathlib import Path

import pytest
import torch

from cleanse.engine.run_directory import RunDirectory
from cleanse.report.content import RunContent, final_classifiers, nearest, threshold
from cleanse.verdict import Verdict


def test_neighbors_are_the_most_similar_others() -> None:
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    found = nearest(x, [3, 17], k=6)
    rows = x.tolist()
    for i, near in found.items():
        cosine = {
            j: sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) / math.hypot(*rows[i]) / math.hypot(*rows[j])
            for j in range(30)
            if j != i
        }
        assert near == sorted(cosine, key=lambda j: -cosine[j])[:6]
    assert nearest(x[:1], [0]) == {0: []}
    assert nearest(x, []) == {}


def test_the_threshold_is_between_kept_and_flagged_or_nowhere() -> None:
    label, new = torch.tensor([0, 0, 0, -1]), torch.tensor([0, 1, 0, -1])
    drop = torch.tensor([False, False, True, True])

    def of(*score: float) -> float | None:
        return threshold(Verdict.from_labels(list("abcd"), label, new, drop, torch.tensor(score)))

    assert of(0.25, 0.75, 1.0, 0.0) == 0.5  # the last one has no label: nobody judged it
    assert of(0.9, 0.75, 1.0, 0.0) is None
    assert threshold(Verdict.keep_all(["a"], torch.tensor([1]))) is None


@pytest.mark.parametrize("name", ["stage.json", "model.ckpt"])
def test_a_strangers_pipe_in_a_stage_is_not_waited_for(tmp_path: Path, name: str) -> None:
    run = RunDirectory(tmp_path / "run")
    run.stages.mkdir(parents=True)
    stages = [("classifier", tmp_path / "classifier-0123"), ("test", tmp_path / "test-4567")]
    for _, stage in stages:
        stage.mkdir()
    (tmp_path / "test-4567" / "stage.json").write_text(json.dumps({"name": "test", "predict": "0123"}))
    pipe = stages[name == "stage.json"][1] / name
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    run.link_stages(stages)
    verdict = Verdict.keep_all(["a"], torch.tensor([0]))
    assert final_classifiers(RunContent(run, {"sa": 1.0}, "", verdict, ("cat",)), torch.nn.Identity) == {}
