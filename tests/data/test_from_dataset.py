"""Arrays and data sets of every usual kind become the same images and labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision import datasets

from cleanse.attacks import BadNets
from cleanse.cli.poison import freeze
from cleanse.data import FromDataset, Frozen

PIXELS = np.random.default_rng(0).integers(256, size=(6, 8, 8, 3), dtype=np.uint8)
EXPECTED = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


class Pairs(Dataset[Any]):
    """(image, label), the images in a form to be tried."""

    def __init__(self, form: Any, labels: Any = (0, 1, 0, 1, 0, 1), classes: Any = None) -> None:
        self.form, self.labels = form, labels
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> Any:
        return self.form(PIXELS[i]), self.labels[i]


class ClassLabel:
    names = ("cat", "dog")


class HuggingFace:
    """What of `datasets.Dataset` is used: features, rows by number, and columns by name."""

    def __init__(self) -> None:
        self.features = {"image": object(), "label": ClassLabel()}

    def __len__(self) -> int:
        return 6

    def __getitem__(self, what: Any) -> Any:
        if what == "label":
            return [i % 2 for i in range(6)]
        return {"image": Image.fromarray(PIXELS[what]), "label": what % 2}


FORMS = {
    "channels last": lambda: (PIXELS, [0, 1] * 3),
    "channels first": lambda: (PIXELS.transpose(0, 3, 1, 2), np.array([0, 1] * 3, np.uint8)),
    "tensor": lambda: (EXPECTED, torch.tensor([0, 1] * 3)),
    "floats": lambda: (EXPECTED.float() / 255, torch.tensor([0, 1] * 3)),
    "wide integers": lambda: (PIXELS.astype(">i8"), pd.Series([0, 1] * 3, index=range(9, 3, -1))),
    "list of pillow": lambda: ([Image.fromarray(image) for image in PIXELS], (0, 1, 0, 1, 0, 1)),
    "data set of pillow": lambda: Pairs(Image.fromarray),
    "data set of tensors": lambda: Pairs(lambda image: torch.from_numpy(image).permute(2, 0, 1).float() / 255),
    "tensor data set": lambda: TensorDataset(EXPECTED, torch.tensor([0, 1] * 3)),
    "subset": lambda: Subset(Pairs(Image.fromarray), range(6)),
    "hugging face": HuggingFace,
    "bfloat16": lambda: ((EXPECTED.float() / 255).bfloat16(), [0, 1] * 3),
    "series of pillow": lambda: (pd.Series([Image.fromarray(image) for image in PIXELS], index=[7] * 6), [0, 1] * 3),
    "objects": lambda: (pd.Series(list(PIXELS)).to_numpy(), torch.tensor([[0], [1]] * 3)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_as_the_same_images(form: str) -> None:
    images = FromDataset(FORMS[form]()).load(train=True)
    assert torch.equal(images.image, EXPECTED)
    assert images.label.tolist() == [0, 1, 0, 1, 0, 1]
    assert images.id == ("0", "1", "2", "3", "4", "5")


def test_the_form_does_not_change_the_key() -> None:
    assert len({str(FromDataset(FORMS[form](), classes=["x", "y"]).spec()) for form in FORMS}) == 1


@pytest.mark.parametrize("form", ["gray", "one channel", "bilevel"])
def test_gray_images_have_one_channel(form: str) -> None:
    gray = PIXELS[..., 0]
    images = {"gray": gray, "one channel": gray[..., None], "bilevel": gray > 127}[form]
    found = FromDataset((images, [0, 1] * 3)).load(train=True).image
    assert found.shape == (6, 1, 8, 8)
    assert torch.equal(found[:, 0], torch.from_numpy((gray > 127) * 255 if form == "bilevel" else gray).byte())


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        pytest.param(["dog", "cat"] * 3, ("cat", "dog"), [1, 0], id="names"),
        pytest.param([10**9, 1440764] * 3, ("1440764", "1000000000"), [1, 0], id="sparse"),
        pytest.param([10.0, 9.0] * 3, ("9", "10"), [1, 0], id="floats"),
        pytest.param(np.array([200, 7] * 3, np.uint8), ("7", "200"), [1, 0], id="unsigned"),
        pytest.param(np.array([2, 1] * 3, ">i4"), ("1", "2"), [1, 0], id="big-endian"),
        pytest.param(torch.tensor([1, 0] * 3), ("0", "1"), [1, 0], id="tensor"),
        pytest.param([True, False] * 3, ("False", "True"), [1, 0], id="booleans"),
        pytest.param(pd.Series(["b", "a"] * 3)[::-1], ("a", "b"), [0, 1], id="reversed series"),
    ],
)
def test_labels_of_any_kind_become_numbers_with_names(labels: Any, classes: Any, numbers: list[int]) -> None:
    data = FromDataset((PIXELS, labels))
    assert data.load(train=True).label.tolist() == numbers * 3
    assert data.class_names() == classes


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(["a", None, "b", "a", None, "b"], id="None"),
        pytest.param(["a", "", "b", "a", "", "b"], id="empty"),
        pytest.param(pd.Series(["a", None, "b", "a", pd.NA, "b"], dtype="string"), id="pandas' strings"),
        pytest.param(pd.array([0, None, 1, 0, pd.NA, 1], dtype="Int64"), id="pandas' integers"),
        pytest.param(pd.Series(["a", pd.NaT, "b", "a", float("nan"), "b"]), id="objects"),
        pytest.param(np.ma.masked_array([0, 9, 1] * 2, mask=[0, 1, 0] * 2), id="masked"),
    ],
)
def test_a_label_that_is_none_is_withheld(labels: Any) -> None:
    data = FromDataset((PIXELS, labels))
    assert data.training_view().label.tolist() == [0, -1, 1, 0, -1, 1]
    assert data.understood().withheld == 2


def test_a_place_below_all_names_is_no_label() -> None:
    data = FromDataset((PIXELS, [0, -1, 1] * 2), classes=["a", "b"])
    assert data.training_view().label.tolist() == [0, -1, 1] * 2
    assert FromDataset((PIXELS, [1, -1] * 3)).class_names() == ("-1", "1")


NAMED = Pairs(Image.fromarray, classes=["1", "0"])


@pytest.mark.parametrize("source", [NAMED, Subset(NAMED, range(6))], ids=["whole", "subset"])
def test_names_are_those_of_the_data_set_and_labels_their_places(source: Any) -> None:
    data = FromDataset(source)
    assert data.load(train=True).label.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.class_names() == ("1", "0")


def test_torchvisions_folder_keeps_its_paths_and_classes(tmp_path: Path) -> None:
    for c in ("cat", "dog"):
        (tmp_path / c).mkdir()
        for i in range(3):
            Image.fromarray(PIXELS[i]).save(tmp_path / c / f"{i}.png")
    data = FromDataset(datasets.ImageFolder(str(tmp_path)), size=4)
    assert data.training_view().classes == ("cat", "dog")
    assert data.training_view().id[0] == str(tmp_path / "cat" / "0.png")


def test_a_test_part_may_be_given_or_held_out() -> None:
    given = FromDataset((PIXELS, ["a", "b"] * 3), test=(PIXELS[:2], ["b", "a"])).clean_test()
    assert given is not None
    assert given.label.tolist() == [1, 0]
    held = FromDataset((PIXELS, ["a", "b"] * 3), holdout=0.34)
    assert (len(held.load(train=True).id), len(held.load(train=False).id)) == (4, 2)
    assert FromDataset((PIXELS, ["a", "b"] * 3)).clean_test() is None


def test_an_attack_can_be_simulated() -> None:
    data = FromDataset((PIXELS, ["a", "b"] * 3), attack=BadNets(count=1, target=0, size=2), seed=0)
    data.training_view()
    assert data.truth.poisoned.sum() == 1


def test_it_can_be_frozen_and_loaded_again(tmp_path: Path) -> None:
    data = FromDataset(
        (PIXELS, ["a", "b"] * 3), attack=BadNets(count=1, target=0, size=2), test=(PIXELS, ["b", "a"] * 3), seed=0
    )
    freeze(data, tmp_path / "out")
    frozen = Frozen(str(tmp_path / "out"))
    assert torch.equal(frozen.training_view().source.image, data.training_view().source.image)


def test_images_of_different_sizes_need_one() -> None:
    images = [Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))]
    with pytest.raises(ValueError, match="set size"):
        FromDataset((images, [0, 1])).load(train=True)
    assert FromDataset((images, [0, 1]), size=4).load(train=True).image.shape == (2, 1, 4, 4)


class Broken(Pairs):
    def __getitem__(self, i: int) -> Any:
        if i == 3:
            raise RuntimeError("cut\x1b[31m")
        return super().__getitem__(i)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param(Broken(Image.fromarray), r"item 3 cannot be read: RuntimeError: cut\\x1b", id="raises"),
        pytest.param({"image": PIXELS, "label": [0, 1] * 3}, "a dict with 'image', 'label'", id="dict"),
        pytest.param(pd.DataFrame({"image": [1], "label": [2]}), "a DataFrame with 'image', 'label'", id="frame"),
        pytest.param([("a.png", 0)] * 3, "image 0 cannot be used: it is of type str", id="paths"),
        pytest.param(Pairs(lambda _: None), "it is of type NoneType", id="no image"),
        pytest.param((EXPECTED.to("meta"), [0, 1] * 3), "without values", id="meta"),
        pytest.param((PIXELS, None), "not NoneType", id="no labels"),
        pytest.param((PIXELS, {i: 0 for i in range(6)}), "not dict", id="labels by number"),
        pytest.param((PIXELS, np.eye(2)[[0, 1] * 3]), "one for each row", id="one-hot"),
        pytest.param((PIXELS, np.array([0.5, 1, 1.7] * 2)), "0.5 is a fraction", id="fractions"),
        pytest.param((PIXELS, [None] * 6), "no image has a label", id="all missing"),
        pytest.param((PIXELS, [0, 1]), "6 images but 2 labels", id="lengths"),
        pytest.param((EXPECTED.float() - 99, [0, 1] * 3), "leave the normalization out", id="normalized"),
        pytest.param((PIXELS.astype(int) + 300, [0, 1] * 3), "not from 0 to 255", id="beyond 8 bits"),
        pytest.param((np.zeros((6, 8, 8, 7), np.uint8), [0, 1] * 3), "its shape is", id="channels"),
        pytest.param((PIXELS[:0], []), "has no image", id="empty"),
        pytest.param(iter([1]), "not list_iterator", id="iterator"),
        pytest.param([1, 2, 3], "no pair", id="no pairs"),
        pytest.param([{"picture": 1, "colour": 2}] * 3, "rename them to image and label", id="keys"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(source: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FromDataset(source).load(train=True)


def test_a_label_that_no_class_has_is_refused() -> None:
    with pytest.raises(ValueError, match="label 'c', and the classes are 'a', 'b'"):
        FromDataset((PIXELS, ["a", "b"] * 3), test=(PIXELS[:1], ["c"])).clean_test()
    with pytest.raises(ValueError, match="classes: "):
        FromDataset((PIXELS, ["a", "b"] * 3), classes=["a", "c"]).load(train=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": 10**6}, "size is the side"),
        ({"classes": "ab"}, "classes is a list of texts"),
        ({"classes": {"a": 0, "b": 1}}, "classes is a list of texts"),
        ({"classes": ["a", "a"]}, "'a' is there twice"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FromDataset((PIXELS, [0, 1] * 3), **arguments)


# --- at another size ---
def test_a_data_set_is_read_again_at_another_size() -> None:
    view = FromDataset(Pairs(Image.fromarray), size=4).training_view()
    large = view.at_size(8)
    assert large.size == (8, 8)
    assert torch.equal(large.images(torch.tensor([5, 1])), EXPECTED[[5, 1]])


def test_arrays_are_scaled() -> None:
    view = FromDataset((PIXELS, [0, 1] * 3)).training_view()
    large = view.at_size(16).images(torch.arange(6))
    expected = torch.nn.functional.interpolate(EXPECTED.float(), (16, 16), mode="bilinear", antialias=True)
    assert torch.equal(large, expected.round().byte())
