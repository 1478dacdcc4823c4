"""What all data modules share: limits, labels, the labeled part, and views that describe themselves."""

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import Digits, Images
from cleanse.data.base import stratified_subset


class Odd(Digits):
    """Digits with a label that no class has."""

    def load(self, train: bool) -> Images:
        images = super().load(train)
        return Images(images.image, images.label + 1, images.id)


def test_labels_that_do_not_fit_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="labels run from 1 to 10, but the data has 10 classes: 0 to 9"):
        Odd().training_view()


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"limit_train": 0}, {"limit_test": -1}, {"labeled": 0.0}, {"labeled": 1.5}]
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Digits(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [10, 57, 300, 1000])
def test_a_subset_keeps_the_shares_of_the_classes(limit: int) -> None:
    label = torch.cat([torch.zeros(700), torch.ones(250), torch.full((50,), 2)]).long()
    rows = stratified_subset(label, limit, seed=1)
    assert len(rows) == limit == len(rows.unique())
    assert torch.equal(rows, rows.sort().values)
    counts = label[rows].bincount(minlength=3)
    for c, share in enumerate((0.7, 0.25, 0.05)):
        assert abs(int(counts[c]) - share * limit) <= 1
    if limit < 1000:
        assert not torch.equal(rows, stratified_subset(label, limit, seed=2))


def test_the_labeled_part_is_the_first_rows_of_every_ten() -> None:
    """The same part for every seed (D20); each part has its own poison count."""
    attack = BadNets(count=3, unlabeled_count=7)
    data = Digits(attack=attack, limit_train=100, labeled=0.2, seed=0)
    view = data.training_view()
    assert torch.equal(view.labeled, torch.arange(100) % 10 < 2)
    poisoned = data.truth.poisoned
    assert (poisoned & view.labeled).sum() == 3
    assert (poisoned & ~view.labeled).sum() == 7
    assert (view.label[poisoned & view.labeled] == 0).all()
    assert (view.label[~view.labeled] == -1).all()


def test_the_triggered_test_set_leaves_the_target_class_out() -> None:
    data = Digits(attack=BadNets(target=3, class_rate=0.1), limit_train=200, limit_test=100, seed=0)
    clean, triggered = data.clean_test(), data.triggered_test()
    assert triggered is not None
    keep = clean.label != 3
    assert torch.equal(triggered.label, clean.label[keep])
    expected = data.attack.trigger(clean.source.image[keep])  # type: ignore[union-attr]
    assert torch.equal(triggered.source.image, expected)


def test_statistics_are_those_of_the_images_as_they_are() -> None:
    class Unknown(Digits):
        mean, std = (), ()

    view = Unknown(limit_train=300, seed=0).training_view()
    image = view.images(torch.arange(300)).double() / 255
    assert view.mean[0] == pytest.approx(image.mean().item())
    assert view.std[0] == pytest.approx(image.std(correction=0).item())


def test_a_view_gives_float_images_labels_and_positions() -> None:
    view = Digits(limit_train=50, seed=0).training_view().subset(torch.arange(50) > 9)
    batch = view.batch(torch.tensor([0, 39]), augmented=False)
    assert batch["image"].dtype == torch.float32
    assert batch["image"].min() >= 0
    assert batch["image"].max() <= 1
    assert torch.equal(batch["label"], view.label[[0, 39]])
    assert batch["index"].tolist() == [0, 39]
    assert torch.equal((batch["image"] * 255).round().byte(), view.images(torch.tensor([0, 39])))
    assert len(view.id) == 40


def test_a_verdict_of_another_set_is_refused() -> None:
    from cleanse.verdict import Verdict

    view = Digits(limit_train=50, seed=0).training_view()
    with pytest.raises(ValueError, match="the verdict has 2 rows, the training set 50"):
        view.with_verdict(Verdict.keep_all(["a", "b"], torch.tensor([0, 1])))
    nobody = Verdict.keep_mask(view.id, view.label, torch.zeros(50, dtype=torch.bool))
    with pytest.raises(ValueError, match="no image left"):
        view.with_verdict(nobody)
