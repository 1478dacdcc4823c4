"""One ISPL round as one fit: Algorithm 2 step by step, its schedule, its voter."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cleanse.engine.runner import Runner
from cleanse.functional import class_fraction, smooth, trim, trimmed_fraction
from cleanse.modules import ISPLRound
from cleanse.modules.ispl_round import round_epochs
from cleanse.networks.normalize import Normalize
from cleanse.views import EpochBatches, ImageSource, TrainingView


class MLP(nn.Module):
    """For 2-D points as images of 2 x 1 pixels. What it says in training mode is another thing than otherwise."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(2 * channels, 32), nn.ReLU(), nn.Dropout(0.2))
        self.last = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layers(x))  # type: ignore[no-any-return]


class Inverted(nn.Module):
    """An augmentation that is seen at once, and draws nothing."""

    def forward(self, image: Tensor) -> Tensor:
        return 1 - image


MLP.__module__ = "toy"  # stages are seeded by a key that holds this name: the same however pytest imports the file


def points(n: int = 600, poison: float = 0.08, seed: int = 0, augment: tuple[nn.Module, ...] = ()) -> TrainingView:
    """Two Gaussian classes, and a part of class 0 moved to an isolated cluster that is labeled 1: the first rows."""
    generator = torch.Generator().manual_seed(seed)
    label = (torch.arange(n) >= n // 2).long()
    place = torch.tensor([[70.0, 70.0], [185.0, 70.0]])[label] + 12 * torch.randn(n, 2, generator=generator)
    poisoned = torch.arange(n) < int(poison * n / 2)
    place[poisoned] = torch.tensor([70.0, 220.0]) + 6 * torch.randn(int(poisoned.sum()), 2, generator=generator)
    label[poisoned] = 1
    image = place.clamp(0, 255).round().byte().view(n, 1, 2, 1)
    source = ImageSource(image, tuple(map(str, range(n))), ("0", "1"), (0.5,), (0.25,), f"points {n} {poison} {seed}")
    return TrainingView(source, torch.arange(n), label, augment, 16)


class Watch(Callback):
    """What a round looks like at the start of every epoch, and which rows each epoch trains on."""

    def __init__(self) -> None:
        self.component: list[Tensor] = []
        self.weights: list[dict[str, Tensor]] = []
        self.after: list[dict[str, Tensor]] = []
        self.momentum: list[int] = []
        self.rows: list[Tensor] = []
        self.group: dict[str, Any] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ISPLRound)
        self.component.append(pl_module.component.clone())
        self.weights.append({k: v.clone() for k, v in pl_module.network.state_dict().items()})
        self.rows.append(torch.empty(0, dtype=torch.int64))
        self.group = trainer.optimizers[0].param_groups[0]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.momentum.append(len(trainer.optimizers[0].state))
        self.rows[-1] = torch.cat([self.rows[-1], batch["index"]])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ISPLRound)
        self.after.append({k: v.clone() for k, v in pl_module.network.state_dict().items()})


def watched(
    where: Path, view: TrainingView, active: Tensor, fraction: float, **changed: Any
) -> tuple[ISPLRound, Watch, Tensor]:
    """A round, what was seen of it, and its voter's votes."""
    watch, run = Watch(), Runner(where, arguments={"accelerator": "cpu", "devices": 1})
    build = partial(ISPLRound, MLP, view.image_spec, active, fraction, **changed)
    epochs = round_epochs(fraction, changed.get("epochs_per_iteration", (2, 2)), changed.get("voter_epochs"))[1]
    with run.watching([watch]):
        found = run.fit("round", build, view, max_epochs=epochs, reload_dataloaders_every_n_epochs=1)
    return found, watch, run.predict("votes", found, view).vote


UNUSUAL: dict[str, Any] = {
    "expansion": 0.5, "momentum_loss": 0.6, "epochs_per_iteration": (3, 2), "voter_epochs": 4, "lr": 0.05,
    "momentum": 0.7, "weight_decay": 0.003,
}  # fmt: skip


@pytest.mark.parametrize("eval_view", ["train_aug", "plain"])
@pytest.mark.parametrize("profile", ["v1", "iclr23"])
def test_a_round_is_algorithm_2(tmp_path: Path, profile: Any, eval_view: Any) -> None:
    """Every component is the trim of the smoothed losses of all active rows under the weights of its iteration."""
    view = points(160, augment=(Inverted(),))
    active = torch.arange(160) % 4 > 0
    found, watch, votes = watched(tmp_path, view, active, 0.4, profile=profile, eval_view=eval_view, **UNUSUAL)
    seen = view.batch(torch.arange(160), augmented=eval_view == "train_aug")["image"]
    network = MLP(1, 2).eval()
    loss = torch.zeros(160, dtype=torch.float64)
    ends = [3, 5, 7, 9]  # 2 + floor(1 / .4) iterations, of 3 epochs and then 2 each
    for t, end in enumerate(ends):
        network.load_state_dict(watch.after[end - 1])
        measured = cross_entropy(network(Normalize((0.5,), (0.25,))(seen)), view.label, reduction="none")
        loss[active] = smooth(loss[active], measured.detach().double()[active], 0.6)
        expected = torch.zeros(160, dtype=torch.bool)
        beta, floor = trimmed_fraction(t, 0.4, profile), class_fraction(t, 0.4, profile)
        expected[active] = trim(loss[active], view.label[active], beta, floor)
        assert torch.equal(watch.component[end], expected), t
    assert torch.equal(found.component, expected)
    assert torch.allclose(found.loss, loss, rtol=1e-5)
    network.load_state_dict(watch.after[-1])
    assert torch.equal(votes, network(Normalize((0.5,), (0.25,))(seen)).argmax(1))


@pytest.mark.parametrize(
    ("profile", "first", "shares"),
    [
        ("v1", True, [0.5, 0.5, 0.5, 0.5]),
        ("v1", False, [0.5, 0.5, 0.5, 0.5]),
        ("iclr23", True, [0.5, 0.5, 0.5, 0.5]),
        ("iclr23", False, [1.0, 0.5, 0.5, 0.5]),
    ],
)
def test_an_iteration_trains_on_a_part_of_the_last_subset(
    tmp_path: Path, profile: Any, first: bool, shares: list[float]
) -> None:
    """D110, D111: alpha of S_(t-1), the code's first iteration of a later round on all of it; the voter on S_N."""
    view, active = points(800), torch.arange(800) % 2 > 0
    view.drop_last = False
    watch = watched(tmp_path, view, active, 0.4, profile=profile, first=first, **UNUSUAL)[1]
    assert len(watch.rows) == 9 + 4
    for t, begin in enumerate((0, 3, 5, 7)):
        rows, subset = watch.rows[begin], watch.component[begin]
        assert subset[rows].all(), "of the subset alone"
        assert len(rows) / int(subset.sum()) == pytest.approx(shares[t], abs=0.1)
        assert set(watch.rows[begin + 1].tolist()) == set(rows.tolist()), "drawn once an iteration"
    assert set(watch.rows[5].tolist()) != set(watch.rows[3].tolist())
    for rows in watch.rows[9:]:
        assert set(rows.tolist()) == set(watch.component[9].nonzero().flatten().tolist())


def test_the_code_s_first_iteration_trains_on_half_of_everything(tmp_path: Path) -> None:
    """D111: whatever alpha is."""
    view = points(800)
    view.drop_last = False
    everything = torch.ones(800, dtype=torch.bool)
    watch = watched(tmp_path, view, everything, 0.4, profile="iclr23", **{**UNUSUAL, "expansion": 0.1})[1]
    assert len(watch.rows[0]) / 800 == pytest.approx(0.5, abs=0.06)


def test_sgd_has_the_round_s_settings_and_a_constant_rate(tmp_path: Path) -> None:
    watch = watched(tmp_path, points(60), torch.ones(60, dtype=torch.bool), 0.5, **UNUSUAL)[1]
    shown = {name: watch.group[name] for name in ("lr", "momentum", "weight_decay", "nesterov")}
    assert shown == {"lr": 0.05, "momentum": 0.7, "weight_decay": 0.003, "nesterov": False}


def test_the_network_goes_on_within_a_round_and_begins_anew_for_the_voter(tmp_path: Path) -> None:
    """D118, D119: the voter inherits neither weights nor momentum."""
    watch = watched(tmp_path, points(120), torch.ones(120, dtype=torch.bool), 0.4, **UNUSUAL)[1]
    voter = 9
    for epoch in range(1, len(watch.weights)):
        before, after = watch.after[epoch - 1], watch.weights[epoch]
        same = all(torch.equal(before[k], after[k]) for k in before)
        if epoch != voter:
            assert same, epoch
            assert watch.momentum[epoch] > 0, epoch
    assert watch.momentum[0] == watch.momentum[voter] == 0
    assert not torch.equal(watch.after[voter]["last.weight"], watch.after[voter - 1]["last.weight"])


def test_the_voter_s_start_is_the_same_in_every_process(tmp_path: Path) -> None:
    """It follows the stage's seed alone: another random state gives the same voter."""
    votes = []
    for i in range(2):
        torch.manual_seed(i)
        view = points(120)
        votes.append(watched(tmp_path / str(i), view, torch.ones(120, dtype=torch.bool), 0.4)[2])
    assert torch.equal(*votes)


def test_a_round_that_takes_the_rest_has_no_iterations(tmp_path: Path) -> None:
    """D117; its voter has the epochs that three iterations would have had."""
    active = torch.arange(120) < 40
    found, watch, _ = watched(tmp_path, points(120), active, 1.0, epochs_per_iteration=(3, 5))
    assert torch.equal(found.component, active)
    assert len(watch.rows) == 3 * 5
    assert not found.loss.any()


@pytest.mark.parametrize(
    ("fraction", "per_iteration", "voter_epochs", "expected"),
    [
        (0.12, (8, 4), 40, ([8, 12, 16, 20, 24], 64)),
        (0.5, (2, 2), None, ([2, 4, 6, 8], 16)),
        (0.999, (8, 4), 1, ([], 1)),
        (0.998, (1, 1), 1, ([1, 2, 3], 4)),
    ],
)
def test_the_epochs_of_a_round(
    fraction: float, per_iteration: tuple[int, int], voter_epochs: int | None, expected: tuple[list[int], int]
) -> None:
    assert round_epochs(fraction, per_iteration, voter_epochs) == expected


def test_a_share_that_catches_no_row_trains_on_all(tmp_path: Path) -> None:
    active = torch.arange(60) < 3
    watch = watched(tmp_path, points(60), active, 0.4, expansion=1e-9)[1]
    assert set(watch.rows[0].tolist()) == {0, 1, 2}


def test_fewer_rows_than_a_batch_still_make_a_step() -> None:
    few = torch.arange(3)
    batches = list(EpochBatches(few, 128, 0, True, 0, 1))
    assert [sorted(b.tolist()) for b in batches] == [[0, 1, 2]]
    assert len(EpochBatches(torch.arange(300), 128, 0, True, 0, 1)) == 2  # otherwise the short one is left out


def test_every_process_takes_its_part_of_the_same_global_batch() -> None:
    """The batch size is global, and so is the order."""
    rows = torch.arange(100)
    whole = list(EpochBatches(rows, 10, 7, True, 0, 1, epoch=3))
    parts = [list(EpochBatches(rows, 10, 7, True, rank, 3, epoch=3)) for rank in range(3)]
    for i, batch in enumerate(whole):
        assert sorted(batch.tolist()) == sorted(torch.cat([p[i] for p in parts]).tolist())
    assert not torch.equal(whole[0], next(iter(EpochBatches(rows, 10, 7, True, 0, 1, epoch=4))))


def test_every_process_gets_a_row_of_a_tiny_batch() -> None:
    parts = [list(EpochBatches(torch.arange(1), 8, 0, True, rank, 4)) for rank in range(4)]
    assert [[len(b) for b in p] for p in parts] == [[1]] * 4
