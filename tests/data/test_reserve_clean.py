"""Clean images are set aside before the attack, and are in no other part."""

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import Digits, ImageFolder
from cleanse.data.base import ImageDataModule, reserved_rows
from cleanse.views import TrainingView


def reserving(count: int = 3, **arguments: object) -> Digits:
    given = {"attack": BadNets(class_rate=0.3), "limit_train": 200, "limit_test": 50, "seed": 0, **arguments}
    return Digits(reserve_clean=count, **given)  # type: ignore[arg-type]


def reserve_of(data: ImageDataModule) -> TrainingView:
    reserved = data.reserved_view()
    assert reserved is not None
    return reserved


def test_as_many_of_each_class_as_asked() -> None:
    reserved = reserve_of(reserving(3))
    assert reserved.label.bincount(minlength=10).tolist() == [3] * 10


def test_they_are_as_in_the_files() -> None:
    data = reserving()
    whole = Digits().load(train=True)
    place = {id: row for row, id in enumerate(whole.id)}
    rows = torch.tensor([place[id] for id in reserve_of(data).id])
    assert torch.equal(reserve_of(data).images(torch.arange(30)), whole.image[rows])
    assert torch.equal(reserve_of(data).label, whole.label[rows])


def test_they_are_neither_in_the_training_set_nor_in_the_test_set() -> None:
    data = reserving()
    train, test = data.training_view(), data.clean_test()
    assert test is not None
    assert len(train) == 170
    assert not set(reserve_of(data).id) & set(train.id)
    assert not set(reserve_of(data).id) & set(test.id)


def test_the_attack_counts_and_poisons_what_is_left() -> None:
    data = reserving(attack=BadNets(poison_rate=0.1))
    train = data.training_view()
    assert int(data.truth.poisoned.sum()) == 17
    assert len(data.truth.role) == len(train)
    whole = Digits().load(train=True)
    place = {id: row for row, id in enumerate(whole.id)}
    clean = whole.image[[place[id] for id in train.id]]
    changed = (train.images(torch.arange(170)) != clean).flatten(1).any(1)
    assert torch.equal(changed, data.truth.poisoned)


def test_without_an_attack_too() -> None:
    assert len(reserve_of(reserving(attack=None))) == 30


def test_the_draw_is_of_the_seed_alone() -> None:
    assert reserve_of(reserving()).id == reserve_of(reserving(attack=BadNets(class_rate=0.01))).id
    assert reserve_of(reserving()).id != reserve_of(reserving(seed=1)).id


def test_stages_know_of_it() -> None:
    with_some, without = reserving(), Digits(attack=BadNets(class_rate=0.3), limit_train=200, limit_test=50, seed=0)
    assert with_some.training_view().source.spec != without.training_view().source.spec
    assert without.reserved_view() is None


def test_images_that_stay_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    class Streamed(Digits):
        stream = True

    data = Streamed(reserve_clean=3, attack=BadNets(class_rate=0.3), limit_train=200, limit_test=50, seed=0)
    kept = reserving()
    every = torch.arange(170)
    assert torch.equal(data.training_view().images(every), kept.training_view().images(every))
    assert torch.equal(reserve_of(data).images(torch.arange(30)), reserve_of(kept).images(torch.arange(30)))


def test_the_labeled_part_is_the_same_and_only_labeled_images_are_set_aside() -> None:
    data, whole = reserving(1, labeled=0.5), Digits(limit_train=200, labeled=0.5, seed=0)
    labeled = {id for id, given in zip(whole.training_view().id, whole.training_view().labeled, strict=True) if given}
    train = data.training_view()
    assert set(reserve_of(data).id) <= labeled
    assert {id for id, given in zip(train.id, train.labeled, strict=True) if given} == labeled - set(
        reserve_of(data).id
    )


def test_more_than_a_class_has_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"reserve_clean=25 of each class, but class '8' has 19 .* reserve 18 or fewer"
    ):
        reserving(25).training_view()


def test_a_class_of_one_image_has_none_to_set_aside() -> None:
    with pytest.raises(ValueError, match=r"'dog' has 1 labeled .*: leave reserve_clean out, or this class"):
        reserved_rows(torch.tensor([0, 0, 1]), torch.ones(3, dtype=torch.bool), 1, ("cat", "dog"), seed=0)


def test_none_of_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match="reserve_clean is a number of images, at least 1, not 0"):
        reserving(0)


def test_nobody_knows_what_is_clean_in_a_folder_of_ones_own(tmp_path: object) -> None:
    from pathlib import Path

    from PIL import Image

    for name in ("a", "b"):
        folder = Path(str(tmp_path)) / name
        folder.mkdir()
        for i in range(4):
            Image.new("L", (8, 8), i * 20).save(folder / f"{i}.png")
    with pytest.raises(ValueError, match="nobody knows which images of this folder are clean"):
        ImageFolder(str(tmp_path), size=8, reserve_clean=1).training_view()


def test_joined_views_have_every_image_once() -> None:
    data = reserving()
    train = data.training_view()
    both = train.joined(reserve_of(data))
    assert both.id == train.id + reserve_of(data).id
    assert torch.equal(both.label, torch.cat([train.label, reserve_of(data).label]))
    assert train.joined(train.subset(train.label == 3)).id == train.id


def test_views_of_two_data_sets_are_not_joined() -> None:
    with pytest.raises(ValueError, match="of one data set"):
        reserving().training_view().joined(reserving().training_view())
