"""The objectives of anti-backdoor learning, and what they do to a network."""

import math
from functools import partial
from typing import Any

import pytest
import torch

from cleanse.engine import shards
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier, LabelLoss, Unlearner, warm_start
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView


def unlearner(**arguments: Any) -> Unlearner:
    return Unlearner(SmallCNN, **arguments)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [("descend", 1.2), ("lga", 0.8), ("flooding", 1.2), ("ascend", -1.2)],
)
def test_objectives(objective: str, expected: float) -> None:
    loss = torch.tensor([0.4, 2.0])
    assert unlearner(objective=objective).aim(loss, 10).item() == pytest.approx(expected)


def test_flooding_goes_by_the_mean_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """This one has images with the losses 0.1 and 0.3, another one has one with the loss 2.0."""

    def all_reduce(total: torch.Tensor) -> None:
        total += torch.tensor([2.0, 1.0])

    monkeypatch.setattr(shards, "in_group", lambda: True)
    monkeypatch.setattr(shards.dist, "all_reduce", all_reduce)
    loss = torch.tensor([0.1, 0.3], requires_grad=True)
    for hold, slope in ((0.7, 0.5), (0.9, -0.5)):
        objective = unlearner(objective="flooding", hold=hold).aim(loss, 10)
        assert torch.autograd.grad(objective, loss)[0].tolist() == [slope, slope]


def test_the_ascent_leaves_images_alone_beyond_its_end() -> None:
    loss = torch.tensor([1.0, 3 * math.log(10) + 0.1], requires_grad=True)
    gradient = torch.autograd.grad(unlearner(objective="ascend").aim(loss, 10), loss)[0]
    assert gradient.tolist() == [-0.5, 0.0]
    gradient = torch.autograd.grad(unlearner(objective="ascend", most=None).aim(loss, 10), loss)[0]
    assert gradient.tolist() == [-0.5, -0.5]


def test_the_ascent_raises_the_loss_of_its_images_and_loads_into_a_classifier(
    view: TrainingView, runner: Runner
) -> None:
    build = partial(Unlearner, SmallCNN, view.image_spec, lr=0.02, milestones=())
    model = runner.fit("learn", build, view, max_epochs=3)
    few = view.subset(torch.arange(200) < 20)
    ascend = partial(Unlearner, SmallCNN, view.image_spec, objective="ascend", lr=1e-2, milestones=())
    after = runner.fit("unlearn", partial(warm_start, ascend, model), few, max_epochs=3)
    first, second = (runner.predict("loss", LabelLoss(m), few).loss.mean() for m in (model, after))
    assert second > first
    Classifier(SmallCNN, view.image_spec).load_state_dict(after.state_dict())


def test_the_loss_and_the_probability_of_the_given_label(view: TrainingView, runner: Runner) -> None:
    model = runner.fit("learn", partial(Classifier, SmallCNN, view.image_spec), view, max_epochs=1)
    table = runner.predict("loss", LabelLoss(model), view.plain())
    with torch.no_grad():
        logits = model(view.batch(torch.arange(200), augmented=False)["image"])
    expected = logits.softmax(1)[torch.arange(200), view.label]
    assert torch.allclose(table.probability, expected, atol=1e-6)
    assert torch.allclose(table.loss, -expected.log(), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"objective": "up"}, "objective is one of lga, flooding"), ({"hold": -1.0}, "hold is at least 0")],
    ids=["objective", "hold"],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unlearner(**arguments)
