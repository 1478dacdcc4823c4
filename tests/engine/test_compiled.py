"""torch.compile is an argument of a run on a GPU: the names of weights stay, and a sentence says where it is no use."""

import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cleanse.engine import compiled
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView


def on_gpu() -> Any:
    """Of a Trainer, what is asked."""
    return SimpleNamespace(world_size=1, strategy=SimpleNamespace(root_device=torch.device("cuda")))


@pytest.fixture
def module(view: TrainingView) -> Classifier:
    return Classifier(partial(SmallCNN, width=4), view.image_spec)


def test_a_network_on_a_gpu_is_compiled_and_its_weights_keep_their_names(
    module: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "why_not", lambda device: None)
    names = list(module.state_dict())
    assert compiled.compile_network(module, on_gpu())
    assert module.network._compiled_call_impl is not None
    assert list(module.state_dict()) == names


def test_where_torch_cannot_a_sentence_says_why(
    module: Classifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled, "why_not", lambda device: "no Triton")
    with caplog.at_level(logging.WARNING, "cleanse"):
        assert not compiled.compile_network(module, on_gpu())
    assert [record.getMessage() for record in caplog.records] == [
        "--compile: nothing is compiled, since torch.compile does not work on this machine (no Triton)"
    ]


def test_on_a_cpu_a_sentence_says_that_it_is_no_use_and_the_result_is_the_same(
    tmp_path: Path, view: TrainingView, caplog: pytest.LogCaptureFixture
) -> None:
    build, found = partial(Classifier, partial(SmallCNN, width=4), view.image_spec), []
    with caplog.at_level(logging.WARNING, "cleanse"):
        for compile in (False, True):
            run = Runner(tmp_path / str(compile), arguments={"accelerator": "cpu", "devices": 1}, compile=compile)
            found.append(run.fit("classifier", build, view, max_epochs=1))
    said = [record.getMessage() for record in caplog.records if "--compile" in record.getMessage()]
    assert len(said) == 1
    assert found[0].stage_key == found[1].stage_key
    assert found[0].network.head.weight.equal(found[1].network.head.weight)


def test_why_not_says_what_torch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no\n  compiler")

    monkeypatch.setattr(torch, "compile", fails)
    assert compiled.why_not.__wrapped__("cuda") == "no compiler"
