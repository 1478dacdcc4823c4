"""Normalizing flows, one for each class with parameters of its own, evaluated together in batched products."""

import math

import torch
from nflows.transforms import CompositeTransform, Transform
from nflows.transforms.coupling import AffineCouplingTransform
from torch import Tensor, nn


class ClassFlows(nn.Module):
    """A density for every class, each from a flow of its own: ActNorm, affine coupling, halves swapped, and again.

    Sabolic et al. 2024 (arXiv 2409.01185), section 4.3, with the architecture of their code (D91). A transform net is
    Linear-ReLU-Linear as wide as the half that it reads, its last layer starts at zero, and the log-scale goes through
    tanh. What is reported is (log N(u; 0, I) + log |det|) / d, **nats per dimension**; all thresholds of the paper are
    in this unit.

    All flows are computed at once. A batch is class-major: k equal groups of rows, and nflows' ``context`` (k,) says
    which class's parameters each group gets; None stands for every class once, in order, and copies no weight. In
    training mode, ActNorm takes the first batch of a class for its start (Glow, Kingma & Dhariwal 2018).

    Departures and what the paper leaves open:
        * the first half has ceil(d / 2) coordinates and is read first;
        * where a coordinate of a class's first batch hardly varies, the flow's start enlarges it ten times at most, not
          a million times (D97).

    Args:
        classes: how many flows, C.
        features: d, 2 or more; odd numbers make unequal halves.
        steps: ActNorm and coupling, so many times.

    Raises:
        ValueError: an argument out of range.

    >>> flows = ClassFlows(classes=3, features=5).eval()
    >>> flows.log_prob(torch.ones(2, 5), torch.tensor([0, 2])).round(decimals=3)  # -(log 2 pi + 1) / 2 at the start
    tensor([-1.4190, -1.4190], grad_fn=<RoundBackward1>)
    """

    def __init__(self, classes: int, features: int, steps: int = 2) -> None:
        super().__init__()
        if classes < 1 or steps < 1:
            raise ValueError(f"classes and steps are 1 or more, not {classes} and {steps}")
        if features < 2:
            raise ValueError(f"features is 2 or more, one for each half of a coupling, not {features}")
        self.classes, self.features = classes, features
        layers: list[Transform] = []
        for step in range(steps):
            smallest = 1.0 if step else 0.1  # coordinates are standardized, and behind the first one of deviation 1
            layers += [ClassActNorm(classes, features, smallest), ClassCoupling(classes, features, swap=step % 2 == 1)]
        self.transform = CompositeTransform(layers)

    @property
    def initialized(self) -> Tensor:
        """(C,) bool: the classes that have been trained on a batch."""
        return next(layer for layer in self.modules() if isinstance(layer, ClassActNorm)).initialized

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density per dimension of a class-major batch.

        Args:
            x: (k, B, d) B rows for each of k classes.
            context: (k,) int64, these classes, each once; None for all C in order.

        Returns:
            (k, B) nats per dimension.
        """
        with torch.autocast(x.device.type, enabled=False):
            noise, log_det = self.transform(x.reshape(-1, self.features), context)
            log_prob = log_det - 0.5 * noise.square().sum(1)  # nflows' StandardNormal is float64 here: not for MPS
            return (log_prob / self.features - 0.5 * math.log(2 * math.pi)).view(x.shape[:2])  # type: ignore[no-any-return]

    def log_prob(self, x: Tensor, label: Tensor) -> Tensor:
        """Log-density per dimension of each row under the flow of one class.

        Args:
            x: (n, d) rows in any order.
            label: (n,) int64, whose flow; one call for all where classes have equally many rows, else one for each.

        Returns:
            (n,) nats per dimension.

        Raises:
            ValueError: another shape, or a label that is no class.
        """
        self._check(x)
        if label.shape != x.shape[:1]:
            raise ValueError(f"label is ({len(x)},), one for each row of x, not {tuple(label.shape)}")
        if len(label) and not 0 <= int(label.min()) <= int(label.max()) < self.classes:
            raise ValueError(f"label is in 0..{self.classes - 1}, not {int(label.min())}..{int(label.max())}")
        order = label.argsort(stable=True)
        context, size = torch.unique_consecutive(label[order], return_counts=True)
        groups = size.tolist()
        if len(set(groups)) == 1:
            values = self(x[order].view(len(context), -1, self.features), context).flatten()
        else:
            parts = zip(
                torch.split(x[order], groups), torch.split(context, 1), strict=False
            )  # one part of none, if there is no row
            values = torch.cat([x.new_empty(0), *(self(part[None], one)[0] for part, one in parts)])
        return torch.empty_like(values).index_copy(0, order, values)

    def log_prob_all(self, x: Tensor, block: int = 512) -> Tensor:
        """Log-density per dimension of each row under the flow of every class.

        Args:
            x: (n, d).
            block: rows at a time; memory is a few times C * block * d numbers.

        Returns:
            (n, C) nats per dimension.

        Raises:
            ValueError: another shape, or a block of no rows.
        """
        self._check(x)
        if block < 1:
            raise ValueError(f"block is the number of rows at a time, 1 or more, not {block}")
        out = [self(rows.expand(self.classes, -1, -1)).T for rows in torch.split(x, block)]
        return torch.cat(out)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"x is (n, {self.features}), not {tuple(x.shape)}")


class ClassActNorm(Transform):  # type: ignore[misc]
    """A scale and a shift for every coordinate and class, from the class's first batch in training mode.

    Args:
        classes: C.
        features: d.
        smallest: the least deviation that a coordinate is divided by at the start.

    Shapes:
        rows (k * B, d) class-major and context (k,), or (C * B, d) and None, to the same and log |det| (k * B,).
    """

    def __init__(self, classes: int, features: int, smallest: float = 0.1) -> None:
        super().__init__()
        self.smallest = smallest
        self.log_scale = nn.Parameter(torch.zeros(classes, features))
        self.shift = nn.Parameter(torch.zeros(classes, features))
        self.initialized: Tensor
        self.register_buffer("initialized", torch.zeros(classes, dtype=torch.bool))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.training:
            self._initialize(inputs, context)
        log_scale, shift = pick(self.log_scale, context), pick(self.shift, context)
        rows = grouped(inputs, len(shift))
        outputs = torch.addcmul(shift[:, None], rows, log_scale.exp()[:, None])
        return outputs.flatten(0, 1), log_scale.sum(1).repeat_interleave(rows.shape[1])

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = pick(self.log_scale, context), pick(self.shift, context)
        rows = grouped(inputs, len(shift))
        outputs = (rows - shift[:, None]) * (-log_scale).exp()[:, None]
        return outputs.flatten(0, 1), -log_scale.sum(1).repeat_interleave(rows.shape[1])

    @torch.no_grad()
    def _initialize(self, inputs: Tensor, context: Tensor | None) -> None:
        known = pick(self.initialized, context)
        if known.all():
            return
        context = torch.arange(len(known), device=known.device) if context is None else context
        rows = grouped(inputs, len(known))[~known]
        deviation = rows.std(1, correction=min(1, rows.shape[1] - 1)).clamp(min=self.smallest)
        self.log_scale[context[~known]] = -deviation.log()
        self.shift[context[~known]] = -(rows.mean(1) / deviation)
        self.initialized[context[~known]] = True


class ClassCoupling(AffineCouplingTransform):  # type: ignore[misc]
    """One half of the coordinates scaled and shifted by what a net of the class makes of the other half.

    Args:
        classes: C.
        features: d.
        swap: read the second half and change the first one.
    """

    def __init__(self, classes: int, features: int, swap: bool) -> None:
        first = torch.arange(features) < (features + 1) // 2
        super().__init__(first if swap else ~first, lambda i, o: ClassNet(classes, i, o))
        self.swap, self.halves = swap, [(features + 1) // 2, features // 2]

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        first, second = torch.split(inputs, self.halves, dim=1)  # nflows indexes: 6 of 20 ms, 512 features
        read, change = (second, first) if self.swap else (first, second)
        change, log_det = self._coupling_transform_forward(change, self.transform_net(read, context))
        return torch.cat([change, read] if self.swap else [read, change], dim=1), log_det

    def _coupling_transform_forward(self, inputs: Tensor, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = torch.split(transform_params, self.num_transform_features, dim=1)
        log_scale = raw.tanh()
        return torch.addcmul(shift, inputs, log_scale.exp()), log_scale.sum(1)

    def _scale_and_shift(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = torch.split(transform_params, self.num_transform_features, dim=1)
        return raw.tanh().exp(), shift


class ClassNet(nn.Module):
    """Linear(i, i), ReLU and Linear(i, o) with weights of every class; the last layer starts at zero.

    Args:
        classes: C.
        inputs: i.
        outputs: o.
    """

    def __init__(self, classes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)  # as nn.Linear
        self.weight = nn.Parameter(torch.empty(classes, inputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(classes, inputs).uniform_(-bound, bound))
        self.last_weight = nn.Parameter(torch.zeros(classes, inputs, outputs))
        self.last_bias = nn.Parameter(torch.zeros(classes, outputs))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        bias, last_bias = pick(self.bias, context), pick(self.last_bias, context)
        hidden = torch.baddbmm(bias[:, None], grouped(x, len(bias)), pick(self.weight, context)).relu()
        return torch.baddbmm(last_bias[:, None], hidden, pick(self.last_weight, context)).flatten(0, 1)


def pick(parameter: Tensor, context: Tensor | None) -> Tensor:
    """Of (C, ...) the rows of the classes in ``context`` (k,); all of them, uncopied, for None."""
    return parameter if context is None else parameter.index_select(0, context)


def grouped(rows: Tensor, groups: int) -> Tensor:
    """(groups * B, d) to (groups, B, d)."""
    return rows.reshape(groups, len(rows) // groups, rows.shape[1])
