"""PGD against closed forms and autograd."""

import pytest
import torch
from torch import nn

from cleanse.functional.pgd import pgd, random_start


def images(n: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, 4, 5, generator=torch.Generator().manual_seed(seed))


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).eval()


def test_a_linear_model_is_left_along_the_sign_of_its_weights() -> None:
    """Two classes: the gradient's sign is that of the other class's weights minus the own's, in every step."""
    weight = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
    image, label = images() * 0.5 + 0.25, torch.tensor([0, 1, 0, 1, 1, 0])
    moved = pgd(lambda x: x.flatten(1) @ weight, image, label, eps=0.2, step=0.03, steps=5)
    away = torch.stack([weight[:, 1 - y] - weight[:, y] for y in label]).view_as(image)
    assert torch.allclose(moved, image + 0.15 * away.sign(), atol=1e-6)
    far = pgd(lambda x: x.flatten(1) @ weight, image, label, eps=0.1, step=0.03, steps=50)
    assert torch.allclose(far, image + 0.1 * away.sign(), atol=1e-6)
    euclidean = pgd(lambda x: x.flatten(1) @ weight, image, label, "2", eps=0.2, step=0.03, steps=50)
    direction = away.flatten(1) / away.flatten(1).norm(dim=1, keepdim=True)
    assert torch.allclose((euclidean - image).flatten(1), 0.2 * direction, atol=1e-5)


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("start", [None, 3])
def test_it_stays_in_the_ball_and_the_loss_rises(norm: str, start: int | None) -> None:
    model, image, label = net(), images(40), torch.arange(40) % 3
    eps = 0.1 if norm == "inf" else 0.5
    begin = None
    if start is not None:
        begin = random_start(image.shape, norm, eps, torch.Generator().manual_seed(start))  # type: ignore[arg-type]
    moved = pgd(model, image, label, norm, eps, eps / 4, 10, begin, batch_size=7)  # type: ignore[arg-type]
    change = (moved - image).flatten(1)
    length = change.abs().amax(1) if norm == "inf" else change.norm(dim=1)
    assert (length <= eps + 1e-6).all()
    assert length.max() > 0.9 * eps
    assert moved.min() >= 0
    assert moved.max() <= 1
    loss = nn.CrossEntropyLoss(reduction="none")
    with torch.no_grad():
        assert (loss(model(moved), label) > loss(model(image), label)).float().mean() > 0.9


def test_one_step_is_autograd() -> None:
    model, image, label = net(), images(), torch.tensor([0, 1, 2, 0, 1, 2])
    x = image.clone().requires_grad_()
    nn.functional.cross_entropy(model(x), label, reduction="sum").backward()
    assert x.grad is not None
    expected = (image + 0.01 * x.grad.sign()).clamp(0, 1)
    assert torch.allclose(pgd(model, image, label, eps=1.0, step=0.01, steps=1), expected, atol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model = net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():  # works there too
        pgd(model, images(), torch.zeros(6, dtype=torch.int64), steps=2)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_nothing_to_do() -> None:
    image, label = images(), torch.zeros(6, dtype=torch.int64)
    assert torch.equal(pgd(net(), image, label, steps=0), image)
    assert torch.equal(pgd(net(), image, label, eps=0.0), image)
    assert pgd(net(), image[:0], label[:0]).shape == (0, 1, 4, 5)


def test_refusals() -> None:
    image, label = images(), torch.zeros(6, dtype=torch.int64)
    for arguments, message in (
        ({"norm": "1"}, "norm is 'inf' or '2'"), ({"eps": -0.1}, "eps is 0 or more"), ({"step": 0.0}, "step above 0"),
        ({"steps": -1}, "steps is 0 or more"), ({"batch_size": 0}, "batch_size 1 or more"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            pgd(net(), image, label, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="6 images but 5 labels"):
        pgd(net(), image, label[:5])


def test_a_start_in_a_ball_is_uniform() -> None:
    """Half of the area of a disk lies within 0.707 of its radius; directions have no preference."""
    start = random_start((4000, 1, 1, 2), "2", 0.5, torch.Generator().manual_seed(0)).flatten(1)
    length = start.norm(dim=1) / 0.5
    assert float(length.max()) <= 1
    for share in (0.1, 0.5, 0.9):
        assert float((length < share**0.5).float().mean()) == pytest.approx(share, abs=0.025)
    assert start.mean(0).abs().max() < 0.02
