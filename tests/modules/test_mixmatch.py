"""MixMatch on a split that is made anew before every epoch."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

import cleanse.modules.mixmatch as module_file
from cleanse.data import Digits
from cleanse.engine.runner import Runner
from cleanse.functional import sharpen, symmetric_cross_entropy
from cleanse.modules import Classifier, MixMatch
from cleanse.modules.classifier import take_over
from cleanse.networks import SmallCNN, SmallResNet
from cleanse.views import GivenBatches, TrainingView

NETWORK = partial(SmallCNN, width=4)
TINY: dict[str, Any] = {"iterations": 6, "ramp_epochs": 4, "eval_view": "plain"}


class Watch(Callback):
    """The split of every epoch, the weights that it begins with, and what its batches hold."""

    def __init__(self) -> None:
        self.labeled: list[Tensor] = []
        self.weights: list[dict[str, Tensor]] = []
        self.batches: list[list[Tensor]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.labeled.append(pl_module.labeled.clone())  # type: ignore[operator, union-attr]
        self.weights.append({k: v.clone() for k, v in pl_module.network.state_dict().items()})  # type: ignore[union-attr]
        self.batches.append([])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches[-1].append(batch["index"])


def make(view: TrainingView, network: Any = NETWORK, **changed: Any) -> MixMatch:
    torch.manual_seed(0)
    return MixMatch(network, view.image_spec, len(view), **{**TINY, **changed})


def fit(module: MixMatch, view: TrainingView, epochs: int = 3) -> Watch:
    watch = Watch()
    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, reload_dataloaders_every_n_epochs=1, callbacks=[watch],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    torch.manual_seed(1)
    trainer.fit(module, datamodule=view)
    return watch


@pytest.fixture
def view() -> TrainingView:
    return Digits(limit_train=101, batch_size=8, augment=[], seed=0).training_view()


def test_the_half_of_lowest_loss_keeps_its_labels_whatever_its_classes(view: TrainingView) -> None:
    """By the weights that an epoch begins with, in evaluation mode, over all classes together."""
    module = make(view, partial(SmallResNet, width=4))
    watch = fit(module, view)
    image = module.normalize(view.batch(torch.arange(101), augmented=False)["image"])
    again = SmallResNet(1, 10, width=4).eval()
    for labeled, weights in zip(watch.labeled, watch.weights, strict=True):
        again.load_state_dict(weights)
        loss = symmetric_cross_entropy(again(image), view.label).detach()
        assert int(labeled.sum()) == 50
        assert loss[labeled].max() <= loss[~labeled].min() + 1e-5
    assert torch.equal(module.labeled, watch.labeled[-1])
    assert torch.allclose(module.score.float(), loss, atol=1e-5)
    assert not torch.equal(watch.labeled[0], watch.labeled[-1])


def test_a_batch_has_as_many_images_without_a_label_as_with_one(view: TrainingView) -> None:
    watch = fit(make(view), view, 2)
    for labeled, batches in zip(watch.labeled, watch.batches, strict=True):
        assert len(batches) == 6
        for index in batches:
            assert labeled[index].tolist() == [True, False] * 8
        first = torch.cat(batches)[::2]  # 50 rows make six batches of eight
        assert len(set(first.tolist())) == 48
    assert not torch.equal(watch.batches[0][0], watch.batches[1][0])


def test_groups_stay_together_in_a_process() -> None:
    batches = torch.arange(2 * 5 * 2).view(2, 5, 2)
    parts = [list(GivenBatches(batches, rank, 3)) for rank in range(3)]
    assert [len(GivenBatches(batches, rank, 3)) for rank in range(3)] == [2, 2, 2]
    assert [p[0].tolist() for p in parts] == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5]]
    assert [p.tolist() for p in GivenBatches(batches[:, :2], 2, 3)] == [[0, 1, 2, 3], [10, 11, 12, 13]]


def test_labels_of_the_other_half_are_not_read(view: TrainingView) -> None:
    """Garbage there gives the same weights."""

    class Fixed(MixMatch):
        def split(self, epoch: int, loss: Tensor) -> tuple[Tensor, Tensor]:
            return loss, torch.arange(101, device=loss.device) % 2 == 0

    ends = []
    garbage = torch.where(torch.arange(101) % 2 == 0, view.label, (view.label + 3) % 10)
    for label in (view.label, garbage):
        torch.manual_seed(0)
        module = Fixed(partial(SmallCNN, width=4), view.image_spec, 101, **TINY)
        fit(module, view.with_labels(label))
        ends.append(module.network.state_dict())
    for name, weights in ends[0].items():
        assert torch.equal(weights, ends[1][name]), name


def test_images_without_a_given_label_never_have_one(view: TrainingView) -> None:
    label = view.label.masked_fill(torch.arange(101) < 31, -1)
    module = make(view)
    watch = fit(module, view.with_labels(label))
    for labeled in watch.labeled:
        assert int(labeled.sum()) == 35, "half of those that have one"
        assert not labeled[:31].any()
    assert module.score[:31].isinf().all()
    assert module.score[31:].isfinite().all()


def test_the_unlabeled_weight_rises_step_by_step_and_counts_from_the_first_epoch(
    view: TrainingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    loss = module_file.mixmatch_loss

    def spy(logits: Tensor, target: Tensor, labeled: int, weight: float) -> Tensor:
        assert labeled == 8
        assert len(logits) == len(target) == 8 * (1 + 2)
        seen.append(weight)
        return loss(logits, target, labeled, weight)

    monkeypatch.setattr(module_file, "mixmatch_loss", spy)
    fit(make(view, first_epoch=1, unlabeled_weight=12.0), view, 4)
    steps = torch.arange(24) / 6
    assert seen == pytest.approx((12.0 * ((1 + steps) / 4).clamp_max(1)).tolist())


def test_the_larger_share_is_the_image_s_own(view: TrainingView, monkeypatch: pytest.MonkeyPatch) -> None:
    """One share for the images and the targets of a batch, another for the next one."""
    seen: list[float] = []
    mix = module_file.mix

    def spy(values: Tensor, order: Tensor, share: float) -> Tensor:
        seen.append(share)
        return mix(values, order, share)

    monkeypatch.setattr(module_file, "mix", spy)
    fit(make(view), view, 3)
    assert seen[::2] == seen[1::2]
    assert len(set(seen)) == 18
    assert all(0.5 <= share <= 1 for share in seen)


def test_a_guess_is_the_sharpened_mean_of_all_views(view: TrainingView) -> None:
    module = make(view, temperature=0.3)
    views = [torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    guess = module.guess(views)
    mean = torch.stack([module(x).softmax(1) for x in views]).mean(0)
    assert torch.allclose(guess, sharpen(mean, 0.3), atol=1e-6)
    assert not guess.requires_grad


def test_views_of_an_image_are_drawn_one_by_one(view: TrainingView, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Tensor]] = []

    class Noise(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image + torch.rand_like(image)

    guess = MixMatch.guess

    def spy(self: MixMatch, views: list[Tensor]) -> Tensor:
        seen.append(views)
        return guess(self, views)

    monkeypatch.setattr(MixMatch, "guess", spy)
    fit(make(view, views=3), Digits(limit_train=101, batch_size=8, augment=[Noise()], seed=0).training_view(), 1)
    for views in seen:
        assert [len(v) for v in views] == [8, 8, 8]
        assert not torch.equal(views[0], views[1])
        assert not torch.equal(views[1], views[2])
        for v in views[1:]:
            assert (v - views[0]).abs().max() < 1, "of the same images"


def test_with_a_label_for_every_image_it_is_supervised(view: TrainingView) -> None:
    watch = fit(make(view, fraction=1.0), view, 1)
    assert watch.labeled[0].all()
    assert [len(index) for index in watch.batches[0]] == [8] * 6


def test_it_starts_where_another_module_ended(view: TrainingView) -> None:
    torch.manual_seed(3)
    other = Classifier(partial(SmallCNN, width=4), view.image_spec)
    module = make(view, start=other)
    for name, weights in other.network.state_dict().items():
        assert torch.equal(module.network.state_dict()[name], weights), name


def test_a_killed_fit_goes_on_with_its_split(
    view: TrainingView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bits as an uninterrupted one."""
    monkeypatch.setenv("CLEANSE_CHECKPOINT_SECONDS", "0")
    build = partial(MixMatch, partial(SmallResNet, width=4), view.image_spec, 101, **TINY)

    class PowerCut(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("power cut")

    ends = []
    for killed in (False, True):
        run = Runner(tmp_path / str(killed), arguments={"accelerator": "cpu", "devices": 1})
        arguments = {"max_epochs": 4, "reload_dataloaders_every_n_epochs": 1}
        if killed:
            with pytest.raises(RuntimeError, match="power cut"), run.watching([PowerCut()]):
                run.fit("mixmatch", build, view, **arguments)
        ends.append(run.fit("mixmatch", build, view, **arguments).state_dict())
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def test_another_kind_of_module_takes_the_network_over(view: TrainingView) -> None:
    module = make(view)
    module.stage_key = "abc"  # type: ignore[assignment]
    taken = take_over(partial(Classifier, partial(SmallCNN, width=4), view.image_spec), module)
    image = torch.rand(3, 1, 8, 8)
    assert torch.equal(taken(image), module.eval()(image))
    assert taken.stage_key == "abc"
    assert not taken.training


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fraction": 0.0}, r"fraction is a share of the images, in \(0, 1\], not 0.0"),
        ({"iterations": 0}, "iterations is at least 1, not 0"),
        ({"views": 0}, "views is at least 1, not 0"),
        ({"temperature": 0.0}, "temperature is a number above 0, not 0.0"),
        ({"alpha": -1.0}, "alpha is above 0, not -1.0"),
        ({"unlabeled_weight": -1.0}, "unlabeled_weight is at least 0, not -1.0"),
        ({"eval_view": "both"}, "eval_view is one of train_aug, plain, not 'both'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_out_of_range_are_refused(view: TrainingView, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(view, **changed)


def test_what_cannot_be_split_is_refused(view: TrainingView) -> None:
    with pytest.raises(ValueError, match="no training image has a label"):
        fit(make(view), view.unlabeled())
    with pytest.raises(ValueError, match=r"0\.001 of 101 images is none: raise fraction"):
        fit(make(view, fraction=0.001), view)
    with pytest.raises(ValueError, match=r"diverged before epoch 1.*lower lr=1e\+30"):
        fit(make(view, lr=1e30), view, 2)
