"""FromFile: which rows of an array become poison, its trigger, and the files that it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cleanse.attacks import POISON, FromFile
from cleanse.cli.poison import freeze
from cleanse.data import Digits, Frozen
from cleanse.engine.fingerprint import hash_of

LABEL = torch.arange(40) % 4
IMAGE = torch.randint(256, (40, 3, 8, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
IDS = tuple(str(i) for i in range(40))


def saved(path: Path, image: torch.Tensor) -> str:
    np.save(path / "made.npy", image.permute(0, 2, 3, 1).contiguous().numpy())
    return str(path / "made.npy")


def poisoned(file: str, image: torch.Tensor = IMAGE, ids: tuple[str, ...] = IDS, **arguments: Any) -> Any:
    attack = FromFile(file, target=1, **{"class_rate": 1.0, **arguments})
    attack.look(image, ids)
    label = torch.arange(len(image)) % 4
    return attack.poison(image, label, torch.ones(len(image), dtype=torch.bool), 4, 0)


def test_images_of_the_target_class_are_the_files_with_the_trigger(tmp_path: Path) -> None:
    made = poisoned(saved(tmp_path, 255 - IMAGE))
    rows = LABEL == 1
    assert torch.equal(made.role == POISON, rows)
    assert torch.equal(made.label, LABEL)
    assert torch.equal(made.image[~rows], IMAGE[~rows])
    assert torch.equal(made.image[rows][:, :, 3:5], 255 - IMAGE[rows][:, :, 3:5])  # between the corners
    assert made.image[rows][:, :, 0, 0].unique().tolist() == [255]
    assert made.image[rows][:, :, 0, 1].unique().tolist() == [0]


def test_a_file_that_has_the_trigger_is_taken_as_it_is(tmp_path: Path) -> None:
    made = poisoned(saved(tmp_path, 255 - IMAGE), stamp=False)
    assert torch.equal(made.image[LABEL == 1], 255 - IMAGE[LABEL == 1])


def test_only_rows_that_differ_are_poisoned(tmp_path: Path) -> None:
    """Other classes that the file changes stay clean, and images of the target that it does not change."""
    changed = IMAGE.clone()
    changed[:10, 2, 7, 5] ^= 1
    assert (poisoned(saved(tmp_path, changed)).role == POISON).nonzero().flatten().tolist() == [1, 5, 9]


def test_the_rate_is_of_those(tmp_path: Path) -> None:
    assert int((poisoned(saved(tmp_path, 255 - IMAGE), class_rate=0.3).role == POISON).sum()) == 3


def test_a_part_of_the_data_finds_its_rows_by_their_ids(tmp_path: Path) -> None:
    chosen = torch.cat([torch.tensor([0]), torch.arange(3, 40, 2)])  # from the file's first row on
    file = saved(tmp_path, 255 - IMAGE)
    made = poisoned(file, IMAGE[chosen], tuple(str(i) for i in chosen.tolist()), stamp=False)
    rows = made.role == POISON
    assert torch.equal(made.image[rows], 255 - IMAGE[chosen][rows])


def test_test_images_get_the_trigger_alone(tmp_path: Path) -> None:
    attack = FromFile(saved(tmp_path, 255 - IMAGE), target=1, class_rate=1.0, amplitude=16, pattern="corner")
    attack.draw((3, 8, 6), torch.Generator())
    difference = attack.trigger(torch.full((1, 3, 8, 6), 100, dtype=torch.uint8))[0, 0].int() - 100
    assert difference[5:, 3:].tolist() == [[-16, -16, 16], [-16, 16, -16], [16, -16, 16]]
    assert int(difference.count_nonzero()) == 9


def test_the_data_module_lets_it_look_and_its_files_are_read_back(tmp_path: Path) -> None:
    clean = Digits(limit_train=200, seed=0).training_view()
    table = torch.zeros(1797, 1, 8, 8, dtype=torch.uint8)
    table[torch.tensor([int(i) for i in clean.id])] = 255 - clean.source.image
    attack = FromFile(saved(tmp_path, table), stamp=False, target=3, count=7)
    data = Digits(attack=attack, limit_train=200, limit_test=60, seed=0)
    rows = data.training_view().source.image != clean.source.image
    assert int(rows.flatten(1).any(1).sum()) == 7
    assert torch.equal(
        data.training_view().source.image[data.truth.poisoned], 255 - clean.source.image[data.truth.poisoned]
    )
    frozen = Frozen(str(freeze(data, tmp_path / "out")))
    assert torch.equal(frozen.training_view().source.image, data.training_view().source.image)
    assert torch.equal(frozen.triggered_test().source.image, data.triggered_test().source.image)  # type: ignore[union-attr]
    assert str(tmp_path) not in (tmp_path / "out" / "attack.yaml").read_text()


def test_the_key_has_the_files_content_and_not_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = FromFile(saved(tmp_path / "a", IMAGE), count=1)
    same = FromFile(saved(tmp_path / "b", IMAGE), count=1)
    assert hash_of(first) == hash_of(same)
    saved(tmp_path / "b", 255 - IMAGE)
    assert hash_of(first) != hash_of(same)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this ran",))


def test_a_pickle_is_not_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "evil.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"is no \.npy array of numbers"):
        poisoned(str(tmp_path / "evil.npy"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((40, 8, 6, 3), np.float32), r"\(40, 8, 6, 3\) float32, but it takes \(N, 8, 6, 3\) uint8"),
        (np.zeros((40, 3, 8, 6), np.uint8), r"has \(40, 3, 8, 6\) uint8"),
        (np.zeros((40, 8, 18), np.uint8), r"has \(40, 8, 18\) uint8"),
        (np.zeros((39, 8, 6, 3), np.uint8), "has 39 images and the training set 40"),
    ],
    ids=["float", "channels first", "flat", "too few"],
)
def test_refuses_other_arrays(array: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "made.npy", array)
    with pytest.raises(ValueError, match=message):
        poisoned(str(tmp_path / "made.npy"))


def test_refuses_names_instead_of_numbers_for_another_count(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it takes one for each"):
        poisoned(saved(tmp_path, IMAGE), IMAGE[:39], tuple(f"{i}.png" for i in range(39)))


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        poisoned(str(tmp_path / "none.npy"))


@pytest.mark.parametrize(("wrong", "message"), [({"amplitude": 0}, "1 to 255, not 0"), ({"pattern": "x"}, "not 'x'")])
def test_refuses_other_arguments(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FromFile("made.npy", count=1, **wrong)
