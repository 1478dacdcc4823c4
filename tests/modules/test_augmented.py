"""A fitted module that is shown augmented images."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from cleanse.engine.runner import Runner
from cleanse.modules import Augmented, Classifier
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView


class Noise(nn.Module):
    """Adds noise, and counts."""

    def __init__(self, scale: float = 0.5) -> None:
        super().__init__()
        self.scale, self.calls = scale, 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        return (image + self.scale * torch.rand_like(image)).clamp(0, 1)


def fitted(view: TrainingView, run: Runner) -> Classifier:
    build = partial(Classifier, partial(SmallCNN, width=4), view.image_spec)
    return run.fit("teacher", build, view, max_epochs=1)


def test_the_draw_follows_the_seed_and_is_kept(view: TrainingView, runner: Runner) -> None:
    module, noise = fitted(view, runner), Noise()

    def confidence(seed: int, by: nn.Module = noise, run: Runner = runner) -> Tensor:
        return run.predict("label", Augmented(module, by, seed), view.plain()).confidence

    plain, first = runner.predict("label", module, view.plain()).confidence, confidence(1)
    assert noise.calls == 0  # what it remembers of a draw is not part of the next key
    computed = runner.computed
    assert torch.equal(first, confidence(1))
    assert runner.computed == computed
    assert not torch.equal(first, plain)
    assert not torch.equal(first, confidence(2))
    assert not torch.equal(first, confidence(1, Noise(0.1)))
    afresh = Runner(runner.root / "again", arguments=runner.arguments)
    assert torch.equal(first, confidence(1, run=afresh))
    assert afresh.computed == 1


def test_without_a_fitted_module_there_is_nothing_to_keep(view: TrainingView, runner: Runner) -> None:
    with pytest.raises(ValueError, match="was not fitted by a runner"):
        runner.predict("label", Augmented(Classifier(SmallCNN), Noise()), view)
