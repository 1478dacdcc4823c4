"""One flow for each class: densities that integrate to one, exact inverses, and the same as plain nflows flows."""

import math

import pytest
import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import ActNorm, CompositeTransform
from nflows.transforms.coupling import AffineCouplingTransform
from torch import Tensor, nn

from cleanse.networks.flow import ClassFlows


def shaken(classes: int, features: int, steps: int = 2, scale: float = 0.3, dtype=torch.float64) -> ClassFlows:
    """Flows whose every parameter is random."""
    torch.manual_seed(0)
    flows = ClassFlows(classes, features, steps).to(dtype).eval()
    for parameter in flows.parameters():
        parameter.data.normal_(0, scale)
    return flows


class Net(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, outputs))

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        return super().forward(x)


class Coupling(AffineCouplingTransform):
    def _scale_and_shift(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        half = self.num_transform_features
        return torch.exp(torch.tanh(transform_params[:, half:])), transform_params[:, :half]


def plain(flows: ClassFlows, c: int) -> Flow:
    """Class c's flow in nflows' own classes and ``nn.Linear``, with the same parameters."""
    second = torch.arange(flows.features) >= (flows.features + 1) // 2
    layers = []
    for step in range(len(flows.transform._transforms) // 2):
        layers += [ActNorm(flows.features), Coupling(~second if step % 2 else second, Net)]
    for ours, theirs in zip(flows.transform._transforms, layers, strict=True):
        if isinstance(theirs, ActNorm):
            theirs.log_scale.data, theirs.shift.data = (
                ours.log_scale[c].detach().clone(),
                ours.shift[c].detach().clone(),
            )
        else:
            net = ours.transform_net
            for linear, weight, bias in (
                (theirs.transform_net[0], net.weight, net.bias),
                (theirs.transform_net[2], net.last_weight, net.last_bias),
            ):
                linear.weight.data = weight[c].detach().T.clone()
                linear.bias.data = bias[c].detach().clone()
    dtype = next(flows.parameters()).dtype
    return Flow(CompositeTransform(layers), StandardNormal([flows.features])).to(dtype).train(flows.training)


def test_density_integrates_to_one():
    """Exp(d x reported) over a grid, which fails if 1/d is lost or doubled."""
    flows = shaken(2, 2)
    axis = torch.linspace(-14, 14, 1401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        reported = flows.log_prob_all(grid, block=200_000)
    cell = float(axis[1] - axis[0]) ** 2
    assert ((2 * reported).exp().sum(0) * cell - 1).abs().max() < 1e-6
    assert ((reported.exp().sum(0) * cell) - 1).abs().min() > 1


@pytest.mark.parametrize(("features", "steps"), [(2, 2), (5, 2), (6, 3), (3, 1)])
def test_change_of_variables(features, steps):
    """Autograd's Jacobian against the log-determinant, and there and back, for each class."""
    flows = shaken(3, features, steps)
    x = torch.randn(3, features, dtype=torch.float64)
    noise, log_det = flows.transform(x)
    for c in range(3):
        one = torch.tensor([c])
        jacobian = torch.autograd.functional.jacobian(lambda z, one=one: flows.transform(z[None], one)[0][0], x[c])
        assert abs(torch.linalg.slogdet(jacobian).logabsdet - log_det[c]) < 1e-10
    back, inverse_log_det = flows.transform.inverse(noise)
    assert (back - x).abs().max() < 1e-10
    assert (inverse_log_det + log_det).abs().max() < 1e-10
    single = flows.float()
    rows = torch.randn(300, features)
    assert (single.transform.inverse(single.transform(rows)[0])[0] - rows).abs().max() < 1e-4


def test_samples_are_scored_as_noise():
    """Noise taken back through the flow scores as the base distribution does, less the log-determinant."""
    flows = shaken(2, 4)
    noise = torch.randn(2 * 5000, 4, dtype=torch.float64)
    with torch.no_grad():
        sample, log_det = flows.transform.inverse(noise)
        scored = 4 * flows(sample.view(2, 5000, 4)).flatten() + log_det
    assert (scored - torch.distributions.Normal(0, 1).log_prob(noise).sum(1)).abs().max() < 1e-10
    assert scored.mean().item() == pytest.approx(-4 * (0.5 * math.log(2 * math.pi) + 0.5), rel=0.02)


@pytest.mark.parametrize("features", [2, 5, 8])
def test_start(features):
    """Before training, the standard normal: 1.419 nats per dimension on standardized data."""
    x = torch.randn(1000, features)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    flows = ClassFlows(3, features).eval()
    expected = -0.5 * math.log(2 * math.pi) - 0.5 * x.square().mean(1)
    assert (flows.log_prob_all(x) - expected[:, None]).abs().max() < 1e-5
    assert flows.log_prob_all(x).mean().item() == pytest.approx(-1.419, abs=1e-3)
    assert not flows.initialized.any()


@pytest.mark.parametrize("a", [3.0, -0.25])
def test_scaling_a_coordinate(a):
    """A z_j under the flow after a division by a: lower by log|a|, log|a| / d in what is reported."""
    flows = shaken(1, 5)
    x = torch.randn(50, 5, dtype=torch.float64)
    before = flows.log_prob_all(x)
    scaled = x.clone()
    scaled[:, 2] *= a
    first = flows.transform._transforms[0]
    if a < 0:  # ActNorm's scale is positive: the sign is turned around in front of it
        scaled[:, 2] *= -1
    first.log_scale.data[:, 2] -= math.log(abs(a))
    assert (flows.log_prob_all(scaled) - (before - math.log(abs(a)) / 5)).abs().max() < 1e-12


@pytest.mark.parametrize("features", [4, 7])
def test_against_plain_nflows(features):
    """Each class alone, in nflows' own classes, per dimension."""
    flows, x = shaken(4, features, dtype=torch.float32), torch.randn(60, features)
    with torch.no_grad():
        expected = torch.stack([plain(flows, c).log_prob(x) for c in range(4)], 1) / features
        assert (flows.log_prob_all(x) - expected).abs().max() < 1e-5
        for label in (torch.arange(60) % 4, torch.arange(60) % 3 + 1, torch.randint(0, 4, (60,)), torch.full((60,), 2)):
            assert (flows.log_prob(x, label) - expected.gather(1, label[:, None])[:, 0]).abs().max() < 1e-5
        grouped = flows(x.view(3, 20, features), torch.tensor([3, 0, 2]))
        assert (grouped - expected.view(3, 20, 4)[[0, 1, 2], :, [3, 0, 2]]).abs().max() < 1e-5


def test_gradients_stay_within_their_class():
    """What class 1 sees moves only the parameters of class 1, and as in a flow of its own."""
    flows = shaken(3, 5)
    x = torch.randn(20, 5, dtype=torch.float64)
    flows(x[None], torch.tensor([1])).mean().backward()
    alone = plain(flows, 1)
    (alone.log_prob(x).mean() / 5).backward()
    for parameter in flows.parameters():
        assert parameter.grad[[0, 2]].eq(0).all()
        assert parameter.grad[1].abs().max() > 0
    ours, theirs = flows.transform._transforms[1].transform_net, alone._transform._transforms[1].transform_net
    assert torch.allclose(ours.last_weight.grad[1].T, theirs[2].weight.grad, atol=1e-14)
    assert torch.allclose(ours.weight.grad[1].T, theirs[0].weight.grad, atol=1e-14)


def test_actnorm_starts_from_the_first_batch_of_each_class():
    """As nflows' does; later batches and other classes change nothing."""
    torch.manual_seed(0)
    flows = ClassFlows(3, 5).train()
    x = torch.randn(2, 16, 5) * torch.tensor([1.0, 2, 3, 4, 5]) + torch.tensor([[[7.0]], [[-3.0]]])
    references = [plain(flows, c) for c in (2, 0)]
    density = flows(x, torch.tensor([2, 0]))
    expected = torch.stack([f.log_prob(rows) / 5 for f, rows in zip(references, x, strict=True)])
    assert (density - expected).abs().max() < 1e-5
    assert flows.initialized.tolist() == [True, False, True]
    first = flows.transform._transforms[0]
    out = first(x.flatten(0, 1), torch.tensor([2, 0]))[0].view(2, 16, 5)
    assert out.mean(1).abs().max() < 1e-5
    assert (out.std(1) - 1).abs().max() < 1e-5
    kept = first.shift.detach().clone()
    flows(10 * x, torch.tensor([2, 0]))
    assert first.shift.equal(kept)
    flows(x[:1], torch.tensor([1]))
    assert first.shift[[0, 2]].equal(kept[[0, 2]])
    assert flows.initialized.all()


def test_first_batches_without_spread():
    """One row, one row repeated, a constant coordinate: a scale of 10 and not of a million, and everything finite."""
    for rows in (torch.ones(1, 5), torch.ones(16, 5), torch.cat([torch.randn(16, 4), torch.ones(16, 1)], 1)):
        flows = ClassFlows(1, 5).train()
        flows(rows[None]).sum().backward()
        assert flows.transform._transforms[0].log_scale.max().item() == pytest.approx(math.log(10))
        assert all(p.isfinite().all() and p.grad.isfinite().all() for p in flows.parameters())


def test_blocks_empty_and_far_rows():
    """Any block; no rows; a row too far out for float32 has density 0, and only that row."""
    flows = shaken(3, 5, dtype=torch.float32)
    x = torch.randn(50, 5)
    whole = flows.log_prob_all(x)
    for block in (1, 7, 50):
        assert (flows.log_prob_all(x, block) - whole).abs().max() < 1e-5
    assert flows.log_prob_all(x[:0]).shape == (0, 3)
    assert flows.log_prob(x[:0], torch.zeros(0).long()).shape == (0,)
    x[4] = 1e25
    far = flows.log_prob_all(x)
    assert far[4].eq(-torch.inf).all()
    assert far.isfinite().sum() == 49 * 3


def test_mixed_precision_is_left_at_the_door():
    flows, x = shaken(2, 6, dtype=torch.float32), torch.randn(30, 6)
    expected = flows.log_prob_all(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert flows.log_prob_all(x).equal(expected)


def test_refusals():
    for arguments, message in (
        ((0, 4), "1 or more, not 0 and 2"),
        ((2, 1), "features is 2 or more"),
        ((2, 4, 0), "2 and 0"),
    ):
        with pytest.raises(ValueError, match=message):
            ClassFlows(*arguments)
    flows = ClassFlows(2, 4)
    with pytest.raises(ValueError, match=r"x is \(n, 4\), not \(3, 5\)"):
        flows.log_prob_all(torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"label is \(3,\)"):
        flows.log_prob(torch.zeros(3, 4), torch.zeros(2).long())
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match=r"label is in 0\.\.1"):
            flows.log_prob(torch.zeros(1, 4), torch.tensor([wrong]))
    with pytest.raises(ValueError, match="block is"):
        flows.log_prob_all(torch.zeros(3, 4), 0)
