import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from cleanse.data import Digits
from cleanse.data.base import _statistics


def test_every_digit_of_scikit_learn_is_in_exactly_one_part() -> None:
    table = load_digits()
    train, test = Digits().load(train=True), Digits().load(train=False)
    assert (len(train.label), len(test.label)) == (1400, 397)
    assert sorted(map(int, train.id + test.id)) == list(range(1797))
    for part in (train, test):
        rows = [int(row) for row in part.id]
        assert part.image.dtype == torch.uint8
        np.testing.assert_array_equal(part.image[:, 0].numpy(), np.rint(table.images[rows] * 255 / 16))
        np.testing.assert_array_equal(part.label.numpy(), table.target[rows])


def test_the_split_is_stratified_and_never_changes() -> None:
    train = Digits(seed=5).load(train=True)
    share = torch.bincount(train.label) / torch.bincount(torch.from_numpy(load_digits().target))
    assert (share - 1400 / 1797).abs().max() < 0.01
    assert train.id == Digits(seed=6).load(train=True).id


def test_mean_and_std_are_those_of_the_training_images() -> None:
    data = Digits()
    mean, std = _statistics(data.load(train=True).image)
    assert data.mean == pytest.approx(mean, abs=1e-4)
    assert data.std == pytest.approx(std, abs=1e-4)


def test_a_view_has_ten_classes_and_augments_without_flips() -> None:
    view = Digits(limit_train=50).training_view()
    assert (len(view), view.num_classes, view.channels) == (50, 10, 1)
    assert [type(step).__name__ for step in view.augment] == ["PadCrop"]
