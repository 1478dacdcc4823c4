"""Losses that are held at a level."""

import pytest
import torch
from torch import Tensor

from cleanse.functional import flooding, local_gradient_ascent


def gradient(objective: Tensor, loss: Tensor) -> list[float]:
    return torch.autograd.grad(objective, loss)[0].tolist()


@pytest.mark.parametrize(("value", "expected", "slope"), [(0.3, 0.7, -1.0), (0.7, 0.7, 1.0)])
def test_flooding_turns_the_gradient_below_its_level(value: float, expected: float, slope: float) -> None:
    loss = torch.tensor([value], requires_grad=True)
    objective = flooding(loss, 0.5)
    assert objective.item() == pytest.approx(expected)
    assert gradient(objective, loss) == pytest.approx([slope])


def test_flooding_is_about_the_mean_of_the_batch() -> None:
    loss = torch.tensor([0.1, 0.3], requires_grad=True)
    assert gradient(flooding(loss, 0.5), loss) == pytest.approx([-0.5, -0.5])
    assert gradient(flooding(loss, 0.15), loss) == pytest.approx([0.5, 0.5])


def test_flooding_of_a_part_of_a_batch_goes_by_the_mean_of_the_whole() -> None:
    loss = torch.tensor([0.1, 0.3], requires_grad=True)
    objective = flooding(loss, 0.5, mean=torch.tensor(0.7))
    assert gradient(objective, loss) == pytest.approx([0.5, 0.5])


def test_local_ascent_turns_the_gradient_of_the_images_below_gamma_only() -> None:
    loss = torch.tensor([0.2, 0.9, 3.0], requires_grad=True)
    objective = local_gradient_ascent(loss, 0.5)
    assert objective.item() == pytest.approx((-0.2 + 0.9 + 3.0) / 3)
    assert gradient(objective, loss) == pytest.approx([-1 / 3, 1 / 3, 1 / 3])
