"""ASD's three ways to split the images, and the copy that learns all labels."""

from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cleanse.data import Digits
from cleanse.functional import symmetric_cross_entropy
from cleanse.modules import AdaptiveSplit
from cleanse.networks import ResNet18, SmallResNet
from cleanse.views import TrainingView

NETWORK = partial(SmallResNet, width=4)
SCHEDULE: dict[str, Any] = {
    "by_class_epochs": 4, "grow_every": 2, "grow_by": 3, "meta_from": 5, "iterations": 2, "eval_view": "plain",
    "virtual_layers": ("body.2", "head"), "virtual_batch_size": 16,
}  # fmt: skip
SEEDS = torch.arange(0, 200, 10)


class Watch(Callback):
    """The split and the score of every epoch, and the weights that it begins with."""

    def __init__(self) -> None:
        self.labeled: list[Tensor] = []
        self.score: list[Tensor] = []
        self.weights: list[dict[str, Tensor]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, AdaptiveSplit)
        self.labeled.append(pl_module.labeled.clone())
        self.score.append(pl_module.score.clone())
        self.weights.append({k: v.clone() for k, v in pl_module.network.state_dict().items()})


def make(view: TrainingView, kind: type[AdaptiveSplit] = AdaptiveSplit, **changed: Any) -> AdaptiveSplit:
    torch.manual_seed(0)
    arguments = {"network": NETWORK, "seeds": SEEDS, **SCHEDULE, **changed}
    return kind(images=view.image_spec, num_rows=len(view), **arguments)


def fit(module: AdaptiveSplit, view: TrainingView, epochs: int = 7, *callbacks: Callback) -> Watch:
    watch = Watch()
    Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, reload_dataloaders_every_n_epochs=1,
        callbacks=[watch, *callbacks], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, datamodule=view)  # fmt: skip
    return watch


@pytest.fixture
def view() -> TrainingView:
    return Digits(limit_train=200, batch_size=8, augment=[], seed=0).training_view()


def test_the_pool_begins_with_the_seeds_and_grows_class_by_class(view: TrainingView) -> None:
    """20 seeds; from the third epoch on 3 more of each class; then half of all."""
    watch = fit(make(view), view)
    assert [int(labeled.sum()) for labeled in watch.labeled] == [20, 20, 50, 50, 100, 100, 100]
    assert torch.equal(watch.labeled[0].nonzero().flatten(), SEEDS)
    others = watch.labeled[3].index_fill(0, SEEDS, False)
    assert view.label[others].bincount(minlength=10).tolist() == [3] * 10
    assert watch.labeled[3][SEEDS].all()


@pytest.mark.parametrize(("epoch", "by_class"), [(3, True), (4, False)], ids=["of each class", "of all"])
def test_the_images_of_lowest_loss_keep_their_labels(view: TrainingView, epoch: int, by_class: bool) -> None:
    """By the weights that the epoch begins with."""
    module = make(view)
    watch = fit(module, view, epoch + 1)
    network = SmallResNet(1, 10, width=4).eval()
    network.load_state_dict(watch.weights[-1])
    image = module.normalize(view.batch(torch.arange(200), augmented=False)["image"])
    loss = symmetric_cross_entropy(network(image), view.label).detach()
    assert torch.allclose(module.score.float(), loss, atol=1e-5)
    ranked = loss.index_fill(0, SEEDS, torch.nan) if by_class else loss
    for group in [view.label == c for c in range(10)] if by_class else [torch.ones(200, dtype=torch.bool)]:
        among = group & ~ranked.isnan()
        chosen = watch.labeled[-1] & among
        assert ranked[chosen].max() <= ranked[among & ~chosen].min() + 1e-5


class Scripted(AdaptiveSplit):
    """Losses by script: of the network the position, of a copy the position plus what it is told."""

    after: Tensor

    def losses(self, network: nn.Module) -> Tensor:
        position = torch.arange(200, dtype=torch.float64)
        return position if network is self.network else position + self.after


def test_what_the_copy_learns_most_of_loses_its_label(view: TrainingView) -> None:
    """Loss before less loss after: the smaller half is kept, and the score is the difference."""
    module = make(view, Scripted)
    assert isinstance(module, Scripted)
    module.after = torch.where(torch.arange(200) % 4 < 2, -1.0, 0.5).double()
    watch = fit(module, view, 6)
    assert torch.equal(watch.labeled[4], torch.arange(200) < 100), "before that, by the loss"
    assert torch.equal(watch.labeled[5], torch.arange(200) % 4 >= 2)
    assert torch.equal(module.score, -module.after)


def test_seeds_have_no_privilege_after_the_first_epochs(view: TrainingView) -> None:
    watch = fit(make(view, Scripted, seeds=torch.arange(190, 200)), view, 5)
    assert watch.labeled[3][190:].all()
    assert not watch.labeled[4][190:].any()


def test_a_class_with_fewer_images_gives_all(view: TrainingView) -> None:
    few = (view.label == 3).nonzero().flatten()
    label = view.label.index_fill(0, few[2:], 4)
    watch = fit(make(view, seeds=few[:1], grow_every=1, by_class_epochs=2, meta_from=2), view.with_labels(label), 2)
    assert watch.labeled[1][few[:2]].all()
    assert int(watch.labeled[1].sum()) == 1 + 1 + 9 * 3


def test_images_without_a_given_label_are_in_no_pool(view: TrainingView) -> None:
    label = view.label.masked_fill(torch.arange(200) % 10 == 1, -1)
    module = make(view)
    watch = fit(module, view.with_labels(label))
    for labeled in watch.labeled:
        assert not labeled[1::10].any()
    assert [int(labeled.sum()) for labeled in watch.labeled][4:] == [90, 90, 90]
    assert module.score[1::10].isinf().all()


def test_the_copy_learns_all_labels_with_its_last_layers_alone(view: TrainingView) -> None:
    """And is thrown away: the network itself stays as it is."""
    seen: dict[str, Any] = {}

    class Look(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            assert isinstance(pl_module, AdaptiveSplit)
            before = {k: v.clone() for k, v in pl_module.network.state_dict().items()}
            copy = pl_module.learn_virtually(0)
            image = pl_module.normalize(view.batch(torch.arange(200), augmented=False)["image"])
            for name, network in (("network", pl_module.network), ("copy", copy)):
                network.eval()
                seen[name] = cross_entropy(network(image), view.label).item()
                network.train()
            start, own = dict(before), dict(copy.named_parameters())
            seen["changed"] = {k for k, p in own.items() if not torch.equal(p, start[k])}
            seen["kept"] = all(torch.equal(v, before[k]) for k, v in pl_module.network.state_dict().items())
            seen["learnable"] = all(p.requires_grad for p in pl_module.network.parameters())

    module = make(view, by_class_epochs=1)
    fit(module, view, 1, Look())
    names = {name for name, _ in module.network.named_parameters()}
    assert seen["changed"] == {name for name in names if name.startswith(("body.2.", "head."))}
    assert seen["copy"] < seen["network"] - 0.1
    assert seen["kept"]
    assert seen["learnable"]


def test_the_unlabeled_weight_rises_as_long_as_is_said(view: TrainingView) -> None:
    assert make(view).ramp_epochs == 120
    assert make(view, ramp_epochs=9).ramp_epochs == 9


def test_the_default_layers_are_the_last_two_stages_and_the_head_of_resnet18(view: TrainingView) -> None:
    module = AdaptiveSplit(ResNet18, view.image_spec, 200, SEEDS)
    learned = {id(parameter) for parameter in module.learned_virtually(module.network)}
    for name, parameter in module.network.named_parameters():
        last = name.startswith(("body.layer3.", "body.layer4.", "head."))
        assert (id(parameter) in learned) is last, name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"virtual_layers": ("layer4",)},
            r"virtual_layers names 'layer4', which SmallResNet does not have: name some of .*body\.2, head",
        ),
        ({"seeds": torch.empty(0, dtype=torch.int64)}, "seeds is empty"),
        ({"by_class_epochs": 9}, r"by_class_epochs is a number of epochs, 0 to meta_from \(5\), not 9"),
        ({"grow_every": 0}, "grow_every is at least 1, not 0"),
        ({"grow_by": -1}, "grow_by is at least 0, not -1"),
        ({"virtual_lr": 0.0}, r"virtual_lr is a number above 0, not 0\.0"),
    ],
    ids=["virtual_layers", "seeds", "by_class_epochs", "grow_every", "grow_by", "virtual_lr"],
)
def test_arguments_out_of_range_are_refused(view: TrainingView, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(view, **changed)
