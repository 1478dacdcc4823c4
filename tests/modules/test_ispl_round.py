"""One ISPL round as one fit: components, schedule, and what happens when a subset is smaller than a batch."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cleanse.defenses import ISPL
from cleanse.engine.runner import Runner
from cleanse.functional import keep_by_vote
from cleanse.modules import ISPLRound
from cleanse.modules.ispl_round import round_epochs
from cleanse.views import EpochBatches, ImageSource, TrainingView


class MLP(nn.Module):
    """For 2-D points as images of 2 x 1 pixels."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(2 * channels, 32), nn.ReLU(), nn.Linear(32, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


MLP.__module__ = "toy"  # stages are seeded by a key that holds this name: the same however pytest imports the file


def points(n: int = 600, poison: float = 0.08, seed: int = 0) -> tuple[TrainingView, Tensor]:
    """A-T10's toy: two Gaussian classes, and a part of class 0 moved to an isolated cluster that is labeled 1."""
    generator = torch.Generator().manual_seed(seed)
    label = (torch.arange(n) >= n // 2).long()
    place = torch.tensor([[70.0, 70.0], [185.0, 70.0]])[label] + 12 * torch.randn(n, 2, generator=generator)
    poisoned = torch.zeros(n, dtype=torch.bool)
    poisoned[: int(poison * n / 2)] = True
    place[poisoned] = torch.tensor([70.0, 220.0]) + 6 * torch.randn(int(poisoned.sum()), 2, generator=generator)
    label[poisoned] = 1
    image = place.clamp(0, 255).round().byte().view(n, 1, 2, 1)
    source = ImageSource(image, tuple(map(str, range(n))), ("0", "1"), (0.5,), (0.25,), f"points {n} {poison} {seed}")
    return TrainingView(source, torch.arange(n), label, (), 16), poisoned


def one_round(run: Runner, view: TrainingView, active: Tensor, fraction: float, **changed: Any) -> ISPLRound:
    per = changed.get("epochs_per_iteration", (2, 2))
    build = partial(ISPLRound, MLP, 1, 2, view.mean, view.std, active, fraction, **changed)
    epochs = round_epochs(fraction, per, changed.get("voter_epochs"))[1]
    return run.fit("round", build, view, max_epochs=epochs, reload_dataloaders_every_n_epochs=1)


def components(run: Runner) -> list[Tensor]:
    """The components that a runner's rounds found, in order."""
    found = [directory / "model.ckpt" for name, directory in run.stages if name.startswith("round")]
    return [torch.load(file, weights_only=True)["state_dict"]["component"] for file in found]


def test_toy_end_to_end(runner: Runner) -> None:
    """A-T10: the vote excludes at least 90 % of the poison and keeps the clean; the poison comes last.

    SPEC proposes 95 % for the vote and for the purity of every component. The poison is 4 % of the set and a
    component 12.5 %, so the one that holds it cannot be pure; what is asserted instead is that at least three quarters
    of it are in the last three of eight components.
    """
    view, poisoned = points(n=1200)
    defense = ISPL(network=MLP, weak_batch_size=16)
    votes = torch.stack([vote for i in range(3) for vote in defense._pass(i + 1, view, runner)])
    keep = keep_by_vote(votes, view.label, torch.Generator().manual_seed(0))
    assert (keep & poisoned).sum() <= 0.1 * poisoned.sum()
    assert (keep & ~poisoned).sum() >= 0.95 * (~poisoned).sum()
    late = [int(poisoned[c].sum()) for c in components(runner)]
    for i in range(3):
        of_pass = late[8 * i : 8 * i + 8]
        assert sum(of_pass) == int(poisoned.sum()) and sum(of_pass[5:]) >= 0.75 * sum(of_pass), late


def test_components_are_disjoint_and_exhaust_the_set(runner: Runner) -> None:
    """A-T6: in v1 nothing is left over."""
    view, _ = points(n=120)
    ISPL(network=MLP, passes=1, rounds=4)._pass(1, view, runner)
    assert torch.equal(torch.stack(components(runner)).int().sum(0), torch.ones(120, dtype=torch.int32))


def test_a_component_holds_the_lowest_smoothed_losses(runner: Runner) -> None:
    """A.4: K is the trim of the smoothed losses of all active rows, and of nothing else."""
    from cleanse.functional import class_fraction, trim, trimmed_fraction

    view, _ = points(n=120)
    active = torch.arange(120) % 3 > 0
    found = one_round(runner, view, active, 0.2)
    last = len(round_epochs(0.2, (2, 2), None)[0]) - 1
    expected = torch.zeros(120, dtype=torch.bool)
    expected[active] = trim(
        found.loss[active], view.label[active], trimmed_fraction(last, 0.2, "v1"), class_fraction(last, 0.2, "v1")
    )
    assert torch.equal(found.component, expected)
    assert (found.loss[~active] == 0).all() and (found.loss[active] > 0).all()
    assert (found.alternative >= 0).all()


def test_a_round_that_takes_the_rest_has_no_iterations(runner: Runner) -> None:
    """A.3.15."""
    view, _ = points(n=120)
    active = torch.arange(120) < 40
    found = one_round(runner, view, active, 1.0)
    assert torch.equal(found.component, active) and (found.alternative == -1).all()


@pytest.mark.parametrize(("profile", "expected"), [("v1", [0.25] * 5), ("iclr23", [0.5, 0.25, 0.25, 0.25, 0.25])])
def test_what_an_iteration_trains_on(profile: Any, expected: list[float]) -> None:
    """A.3.3: v1 draws alpha of the subset always, the code one half of everything in the very first iteration."""
    view, _ = points(n=2000)
    module = ISPLRound(MLP, 1, 2, view.mean, view.std, torch.ones(2000, dtype=torch.bool), 0.12, profile=profile)
    module._trainer = type("T", (), {"datamodule": view})()  # type: ignore[assignment]
    shares = [len(module.training_rows(epoch)) / 2000 for epoch in (0, 2, 4, 6, 8)]
    assert shares == pytest.approx(expected, abs=0.05)
    assert torch.equal(module.training_rows(0), module.training_rows(1))  # drawn once an iteration
    assert not torch.equal(module.training_rows(2), module.training_rows(4))


def test_the_voter_begins_anew_with_an_optimizer_without_past(runner: Runner) -> None:
    """A.3.9: the voter does not inherit the weak learner's weights or momentum."""
    view, _ = points(n=120)
    module = ISPLRound(MLP, 1, 2, view.mean, view.std, torch.ones(120, dtype=torch.bool), 0.5)
    before = {k: v.clone() for k, v in module.network.state_dict().items()}
    optimizer = module.configure_optimizers()
    module(torch.rand(4, 1, 2, 1)).sum().backward()
    optimizer.step()
    view.seed = 5
    module._trainer = type("T", (), {"datamodule": view})()  # type: ignore[assignment]
    module.optimizers = lambda: type("O", (), {"optimizer": optimizer})()  # type: ignore[assignment, method-assign, misc]
    module._begin_anew()
    assert not optimizer.state
    after = module.network.state_dict()
    assert not torch.equal(after["layers.1.weight"], before["layers.1.weight"])
    module._begin_anew()
    assert all(torch.equal(v, after[k]) for k, v in module.network.state_dict().items())  # the same in every process


def test_fewer_rows_than_a_batch_still_make_a_step() -> None:
    """A-T12."""
    few = torch.arange(3)
    batches = list(EpochBatches(few, 128, 0, True, 0, 1))
    assert len(batches) == 1 and sorted(batches[0].tolist()) == [0, 1, 2]
    assert len(EpochBatches(torch.arange(300), 128, 0, True, 0, 1)) == 2  # otherwise the short one is left out


def test_every_process_takes_its_part_of_the_same_global_batch() -> None:
    """DESIGN rule 7: the batch size is global, and so is the order."""
    rows = torch.arange(100)
    whole = list(EpochBatches(rows, 10, 7, True, 0, 1, epoch=3))
    parts = [list(EpochBatches(rows, 10, 7, True, rank, 3, epoch=3)) for rank in range(3)]
    for i, batch in enumerate(whole):
        assert sorted(batch.tolist()) == sorted(torch.cat([p[i] for p in parts]).tolist())
    assert not torch.equal(whole[0], next(iter(EpochBatches(rows, 10, 7, True, 0, 1, epoch=4))))


def test_every_process_gets_a_row_of_a_tiny_batch() -> None:
    parts = [list(EpochBatches(torch.arange(1), 8, 0, True, rank, 4)) for rank in range(4)]
    assert all(len(p) == 1 and len(p[0]) == 1 for p in parts)
