"""A student that looks where its teacher looks."""

from functools import partial
from typing import Any

import pytest
import torch

from cleanse.engine.runner import Runner
from cleanse.modules import AttentionDistillation, Classifier, warm_start
from cleanse.modules.attention_distillation import three_map_layers, with_maps
from cleanse.networks import DenseNet121, PreActResNet18, ResNet18, SmallCNN, SmallResNet
from cleanse.views import TrainingView


def phase(view: TrainingView, **arguments: Any) -> "partial[AttentionDistillation]":
    return partial(AttentionDistillation, SmallResNet, view.image_spec, lr=0.01, milestones=(), **arguments)


@pytest.fixture
def start(view: TrainingView, runner: Runner) -> Classifier:
    return runner.fit("start", partial(Classifier, SmallResNet, view.image_spec), view, max_epochs=1)


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        (SmallResNet, [8, 4, 2]),
        (partial(SmallResNet, blocks=2), [8, 4, 2]),
        (partial(ResNet18, stem="small"), [4, 2, 1]),
        (partial(PreActResNet18, width=4), [4, 2, 1]),
        (partial(DenseNet121, stem="small"), [4, 2, 1]),
    ],
    ids=["SmallResNet", "two blocks", "ResNet18", "PreActResNet18", "DenseNet121"],
)
def test_three_maps_each_half_the_size_of_the_one_before(network: Any, sizes: list[int], view: TrainingView) -> None:
    module = Classifier(network, view.image_spec).eval()
    image = view.batch(torch.arange(2), augmented=False)["image"]
    logits, maps = with_maps(module, image)
    assert [m.shape[-1] for m in maps] == sizes
    assert torch.equal(logits, module(image))


def test_a_network_without_three_maps_is_refused(view: TrainingView) -> None:
    with pytest.raises(ValueError, match=r"SmallCNN has no three feature maps to compare: take .*SmallResNet"):
        AttentionDistillation(SmallCNN, view.image_spec)
    with pytest.raises(ValueError, match="Linear has no three feature maps"):
        three_map_layers(torch.nn.Linear(2, 2))


def test_the_teacher_is_left_as_it_is(view: TrainingView, runner: Runner, start: Classifier) -> None:
    before = {name: value.clone() for name, value in start.state_dict().items()}
    build = partial(warm_start, phase(view, teacher=start), start)
    student = runner.fit("student", build, view, max_epochs=1)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    assert student.state_dict().keys() == before.keys()
    assert any(not torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_without_weights_it_is_fine_tuning_bit_for_bit(view: TrainingView, start: Classifier) -> None:
    from lightning.pytorch import Trainer, seed_everything

    found = []
    for build in (phase(view, teacher=start, beta=(0.0, 0.0, 0.0)), phase(view)):
        seed_everything(0, verbose=False)
        module = warm_start(build, start)
        quiet = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}
        Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(module, datamodule=view)  # type: ignore[arg-type]
        found.append(module.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_the_maps_become_those_of_the_teacher(view: TrainingView, runner: Runner, start: Classifier) -> None:
    from cleanse.functional import attention_distance

    other = runner.fit("other", partial(Classifier, SmallResNet, view.image_spec, lr=0.05), view, max_epochs=3)
    image = view.batch(torch.arange(50), augmented=False)["image"]

    def apart(module: Any) -> float:
        maps = with_maps(module.eval(), image)[1], with_maps(other.eval(), image)[1]
        return sum(float(attention_distance(a, b)) for a, b in zip(*maps, strict=True))

    build = partial(warm_start, phase(view, teacher=other), start)
    assert apart(runner.fit("student", build, view, max_epochs=2)) < apart(start)


@pytest.mark.parametrize("beta", [(1.0, 1.0), (1.0, -1.0, 1.0)], ids=["two", "negative"])
def test_three_weights_are_asked_for(beta: tuple[float, ...], view: TrainingView) -> None:
    with pytest.raises(ValueError, match="beta are the weights of three maps"):
        phase(view, beta=beta)()
