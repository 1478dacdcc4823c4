"""What folders of every usual layout are understood as, and what is said where nobody can tell."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cleanse.data import ImageFolder
from cleanse.data.split_names import part_of, parts_among


def fill(root: Path, folders: Iterable[str], count: int = 2) -> None:
    """``count`` different images in each folder."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.random.default_rng(100 * number + i).integers(256, size=(5, 5, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i}.png")


def refusal(root: Path, **arguments: object) -> str:
    with pytest.raises(ValueError) as error:
        ImageFolder(str(root), size=4, **arguments).load(train=True)  # type: ignore[arg-type]
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Training", "train"), ("TRAIN", "train"), ("training_set", "train"), ("trainset", "train"),
        ("imgs_train", "train"), ("train2017", "train"), ("TrainImages", "train"), ("train (1)", "train"),
        ("trainval", "train"), ("Testing", "test"), ("Test_set", "test"), ("test-images", "test"), ("TESTDATA", "test"),
        ("val", "val"), ("VAL", "val"), ("Valid", "val"), ("Validation", "val"), ("validation_data", "val"),
        ("dev", "val"), ("eval", "val"), ("evaluation", "val"), ("dev_set", "val"),
    ],
)  # fmt: skip
def test_names_of_parts_in_any_spelling(name: str, part: str) -> None:
    assert part_of(name) == (part, "")


@pytest.mark.parametrize("name", ["cat", "trainer", "contest", "invalid", "interval", "latest", "device", "猫", ""])
def test_names_that_only_look_like_parts(name: str) -> None:
    assert part_of(name) is None


def test_a_name_with_other_words_means_a_part_beside_one_of_the_same_kind_only() -> None:
    assert parts_among(["train_station", "test_tube", "bus"]) == {}
    assert parts_among(["seg_train", "seg_test", "seg_pred"]) == {"seg_train": "train", "seg_test": "test"}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"), ("Training", "Testing"), ("TRAIN", "TEST"), ("training", "validation"), ("Train", "Valid"),
        ("training_set", "Test_set"), ("imgs_train", "imgs_val"), ("train", "dev"), ("train", "eval"),
        ("seg_train/seg_train", "seg_test/seg_test"), ("train2017", "val2017"),
    ],
)  # fmt: skip
def test_parts_are_no_classes(train: str, test: str, tmp_path: Path) -> None:
    fill(tmp_path, [f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog"])
    data = ImageFolder(str(tmp_path), size=4)
    assert data.class_names() == ("cat", "dog")
    assert {id.rsplit("/", 2)[0] for id in data.load(train=True).id} == {train}
    assert {id.rsplit("/", 2)[0] for id in data.load(train=False).id} == {test}


def test_a_test_folder_goes_before_a_validation_folder_which_is_said(tmp_path: Path) -> None:
    fill(tmp_path, [f"{part}/{c}" for part in ("Train", "Test", "Val") for c in "ab"])
    data = ImageFolder(str(tmp_path), size=4)
    assert data.test_part() == "the folder Test"
    assert data.left_out() == (("Val", "only Train and Test are read"),)


def test_a_test_folder_without_classes_leaves_its_place_to_the_validation_folder(tmp_path: Path) -> None:
    fill(tmp_path, ["train/a", "train/b", "val/a", "val/b", "test"])
    data = ImageFolder(str(tmp_path), size=4)
    assert data.test_part() == "the folder val"
    assert dict(data.left_out())["test"].startswith("it has no class folders")


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "Validation")])
def test_class_folders_may_hold_the_parts(names: tuple[str, str], tmp_path: Path) -> None:
    fill(tmp_path, [f"{c}/{part}" for c in ("cat", "dog") for part in names])
    data = ImageFolder(str(tmp_path), size=4)
    assert data.class_names() == ("cat", "dog")
    assert data.load(train=True).id == tuple(f"{c}/{names[0]}/{i}.png" for c in ("cat", "dog") for i in range(2))
    assert data.load(train=False).id == tuple(f"{c}/{names[1]}/{i}.png" for c in ("cat", "dog") for i in range(2))


def test_images_beside_the_parts_of_a_class_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["cat/train", "cat/test", "dog/train", "dog/test", "dog"])
    assert "2 images beside its folders 'test', 'train'" in refusal(tmp_path)


@pytest.mark.parametrize("parts", [("A", "B"), ("fold1", "fold2"), ("source", "target")])
def test_classes_that_all_have_the_same_folders_are_refused(parts: tuple[str, str], tmp_path: Path) -> None:
    fill(tmp_path, [f"{part}/{c}" for part in parts for c in ("cat", "dog")])
    said = refusal(tmp_path)
    assert "all contain the sub-folders 'cat', 'dog'" in said
    assert "train_folder" in said
    assert ImageFolder(str(tmp_path), nested=True).class_names() == parts
    named = ImageFolder(str(tmp_path), train_folder=parts[0], test_folder=parts[1])
    assert named.class_names() == ("cat", "dog")
    assert named.test_part() == f"the folder {parts[1]}"


def test_one_folder_that_all_classes_have_belongs_to_the_class(tmp_path: Path) -> None:
    fill(tmp_path, [f"train/{c}/images" for c in ("n01", "n02")])
    assert ImageFolder(str(tmp_path)).class_names() == ("n01", "n02")


@pytest.mark.parametrize("names", [("train", "bus"), ("test", "control"), ("valid", "invalid")])
def test_a_class_may_have_the_name_of_a_part(names: tuple[str, str], tmp_path: Path) -> None:
    fill(tmp_path, names)
    assert ImageFolder(str(tmp_path)).class_names() == tuple(sorted(names))


def test_several_training_folders_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, [f"{part}/{c}" for part in ("train", "Training") for c in "ab"])
    assert "may all be the training part: set train_folder" in refusal(tmp_path)
    assert len(ImageFolder(str(tmp_path), size=4, train_folder="train").load(train=True).id) == 4


@pytest.mark.parametrize("argument", ["train_folder", "test_folder"])
def test_a_part_that_is_not_there_is_refused(argument: str, tmp_path: Path) -> None:
    fill(tmp_path, ["train/a", "train/b"])
    assert f"{argument}: " in refusal(tmp_path, **{argument: "nowhere"})


def test_a_part_is_not_held_out_beside_a_test_folder(tmp_path: Path) -> None:
    fill(tmp_path, [f"{part}/{c}" for part in ("train", "test") for c in "ab"])
    assert "holdout: " in refusal(tmp_path, holdout=0.2)
    assert len(ImageFolder(str(tmp_path), size=4, holdout=0.5, test_folder=None).load(train=False).id) == 2


SYSTEM = (
    *("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", ".ipynb_checkpoints"),
    *("__pycache__", ".git", ".Trash-1000", "#recycle", "wandb", "found.000"),
)


@pytest.mark.parametrize("place", ["", "cat"])
def test_folders_that_systems_make_are_named_and_not_read(place: str, tmp_path: Path) -> None:
    fill(tmp_path, ["cat", "dog", *(f"{place}/{name}".lstrip("/") for name in SYSTEM)])
    data = ImageFolder(str(tmp_path), size=4)
    assert data.class_names() == ("cat", "dog")
    assert len(data.load(train=True).id) == 4
    assert {what.split("/")[-1] for what, _ in data.left_out()} == set(SYSTEM)


def test_empty_folders_are_named_in_one_line(tmp_path: Path) -> None:
    fill(tmp_path, ["cat", "dog"])
    for name in ("bird", "empty/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bird" / "notes.txt").touch()
    (line,) = [line for line in ImageFolder(str(tmp_path)).understood().lines() if line.startswith("left out")]
    assert line == "left out: bird (no image in it ('.txt': 1)); empty (no image in it)"


def test_runs_among_the_images_are_no_class(tmp_path: Path) -> None:
    fill(tmp_path, ["cat", "dog", "runs/knn-0123"])
    for name in ("config.yaml", "results.json"):
        (tmp_path / "runs" / "knn-0123" / name).write_text("{}")
    data = ImageFolder(str(tmp_path))
    assert data.class_names() == ("cat", "dog")
    assert data.left_out() == (("runs", "run directories of cleanse"),)


def test_loose_images_and_tables_are_named(tmp_path: Path) -> None:
    fill(tmp_path, ["cat", "dog", ""])
    (tmp_path / "labels.csv").write_text("file,label\n")
    left_out = dict(ImageFolder(str(tmp_path)).left_out())
    assert left_out["2 images right in the root"] == "in no class folder: '0.png', '1.png'"
    assert "labels" in left_out["labels.csv"]


@pytest.mark.parametrize("inner", ["photos", "a/b/photos"])
def test_a_folder_around_the_classes_is_named(inner: str, tmp_path: Path) -> None:
    fill(tmp_path, [f"{inner}/cat", f"{inner}/dog", "__MACOSX", ""])
    said = refusal(tmp_path)
    assert "set root to that" in said
    assert repr(str(tmp_path / inner)) in said
    assert "2 images right in it ('0.png', '1.png')" in said


def test_parts_in_a_folder_beside_others_are_named(tmp_path: Path) -> None:
    fill(tmp_path, ["fruits/Training/apple", "fruits/Training/pear", "fruits/Test/apple", "papers"])
    assert f"set root to {str(tmp_path / 'fruits')!r}" in refusal(tmp_path)
    assert ImageFolder(str(tmp_path), nested=True).class_names() == ("fruits", "papers")


def test_a_test_folder_in_a_folder_of_its_name_has_no_classes(tmp_path: Path) -> None:
    fill(tmp_path, ["abc_train/abc_train/A", "abc_train/abc_train/B", "abc_test/abc_test"])
    data = ImageFolder(str(tmp_path))
    assert data.class_names() == ("A", "B")
    assert not data.has_test()


def test_the_tree_of_ilsvrc_is_recognized_below(tmp_path: Path) -> None:
    fill(tmp_path, ["Data/CLS-LOC/train/n01", "Data/CLS-LOC/train/n02", "Data/CLS-LOC/val"])
    for name in ("Annotations/CLS-LOC/train/n01", "Annotations/CLS-LOC/val", "ImageSets/CLS-LOC"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x.xml").touch()
    assert repr(str(tmp_path / "Data" / "CLS-LOC")) in refusal(tmp_path)
    assert ImageFolder(str(tmp_path / "Data" / "CLS-LOC")).class_names() == ("n01", "n02")


@pytest.mark.parametrize("table", ["labels.csv", "train.csv", "metadata.jsonl", "labels.parquet", "labels.tsv"])
@pytest.mark.parametrize("folders", [[""], ["train", "test"], ["images"]])
def test_images_without_class_folders_name_the_table(table: str, folders: list[str], tmp_path: Path) -> None:
    fill(tmp_path, folders)
    (tmp_path / table).touch()
    assert f"--data.labels {table}" in refusal(tmp_path)


def test_the_likeliest_table_is_advised(tmp_path: Path) -> None:
    fill(tmp_path, ["train_images", "test_images"])
    for name in ("sample_submission.csv", "test.csv", "train.csv"):
        (tmp_path / name).touch()
    assert "--data.labels train.csv" in refusal(tmp_path)


def test_images_without_class_folders_and_without_a_table(tmp_path: Path) -> None:
    fill(tmp_path, ["train", "test"])
    assert "hold images without class folders: put them into one folder per class" in refusal(tmp_path)


def test_what_was_understood_is_said(tmp_path: Path) -> None:
    fill(tmp_path, [f"Training/{c}" for c in ("10", "9")], count=3)
    fill(tmp_path, ["Validation/10"])
    understood = ImageFolder(str(tmp_path), size=4).understood()
    assert understood.classes == ("10", "9")
    assert understood.train == (3, 3)
    assert understood.test == (2, 0)
    assert understood.lines() == [
        "ImageFolder: 6 training images of 2 classes ('10' 3, '9' 3)",
        "test part: the folder Validation, 2 images",
    ]


def test_without_a_test_part_every_image_is_judged(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    data = ImageFolder(str(tmp_path), size=4)
    assert len(data.training_view()) == 4
    assert data.clean_test() is None
    assert data.triggered_test() is None
    assert len(data.measured_view()) == 4
    assert "no test part: every image is judged, and no accuracy is measured" in data.understood().lines()
    with pytest.raises(ValueError, match=re.escape("--data.holdout 0.2")):
        data.test_dataloader()


# --- classes of a finished run ---
def test_classes_are_those_of_the_run_by_name(tmp_path: Path) -> None:
    fill(tmp_path, ["bird", "dog"])
    data = ImageFolder(str(tmp_path), size=4)
    data.expect_classes(["ant", "bird", "cat", "dog"])
    view = data.training_view()
    assert view.classes == ("ant", "bird", "cat", "dog")
    assert view.label.tolist() == [1, 1, 3, 3]
    assert data.measured_view().label.tolist() == [1, 1, 3, 3]


def test_a_single_class_is_enough_for_a_finished_run(tmp_path: Path) -> None:
    fill(tmp_path, ["train/dog", "test/dog"])
    data = ImageFolder(str(tmp_path), size=4)
    data.expect_classes(["cat", "dog"])
    test = data.clean_test()
    assert test is not None
    assert test.label.tolist() == [1, 1]


def test_a_class_that_the_run_does_not_know_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["bird", "hound"])
    data = ImageFolder(str(tmp_path), size=4)
    data.expect_classes(["bird", "dog"])
    with pytest.raises(ValueError, match="classes that the run was not trained on: 'hound'; it knows 'bird', 'dog'"):
        data.training_view()


def test_other_classes_are_another_key(tmp_path: Path) -> None:
    fill(tmp_path, ["bird", "dog"])
    plain, expecting = (ImageFolder(str(tmp_path), size=4) for _ in range(2))
    expecting.expect_classes(["dog", "bird"])
    assert plain.spec() != expecting.spec()


# --- odd images ---
def said(root: Path, **arguments: object) -> str:
    return "\n".join(ImageFolder(str(root), size=5, **arguments).understood().warnings)  # type: ignore[arg-type]


def test_images_that_show_nothing_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    Image.new("RGB", (5, 5), (9, 200, 30)).save(tmp_path / "a" / "flat.png")
    Image.fromarray(np.random.default_rng(0).integers(20, size=(5, 5, 3), dtype=np.uint8)).save(
        tmp_path / "b" / "d.png"
    )
    assert "1 of 6 images have a single color: 'a/flat.png'" in said(tmp_path)
    assert "1 of 6 images are nearly black: 'b/d.png'" in said(tmp_path)


def test_drawings_that_become_equal_on_black_are_said(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    for i in range(3):
        drawing = np.zeros((5, 5, 4), np.uint8)
        drawing[i, :, 3] = 255
        Image.fromarray(drawing).save(tmp_path / "a" / f"drawing{i}.png")
    lost = (
        "on a black background, 3 of the 3 images with transparent pixels show nothing, and 2 are equal to another one"
    )
    assert f"{lost}: where the files are not, set --data.background white or gray" in said(tmp_path)
    assert "background" not in said(tmp_path, background="white")
    Image.new("RGBA", (5, 5), (255, 255, 255, 0)).save(tmp_path / "a" / "nothing.png")
    assert "on a white background, 1 of the 4" in said(tmp_path, background="white")
    assert "--data.background black or gray" in said(tmp_path, background="white")


def test_a_range_of_values_that_is_not_the_usual_one_is_said(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            level = np.random.default_rng(i).integers(4096, size=(5, 5), dtype=np.uint16)
            Image.fromarray(level).save(tmp_path / name / f"{i}.png")
    assert "4 images have more than 8 bits a value: their values 0 to 4095 became 0 to 255" in said(tmp_path)


def test_names_that_differ_in_case_only_are_said(tmp_path: Path) -> None:
    fill(tmp_path, ["cat", "Cat "])
    assert "the classes 'Cat ', 'cat' differ in case, spaces, hyphens or invisible signs only" in said(tmp_path)


@pytest.mark.parametrize(
    "names", [("caf\u00e9", "cafe\u0301"), ("cat", "cat\u200b"), ("a_b", "a-b"), ("fish", "\ufb01sh")], ids=ascii
)
def test_names_that_look_alike_are_said(names: tuple[str, str], tmp_path: Path) -> None:
    fill(tmp_path, names)
    assert "differ in case, spaces, hyphens or invisible signs only" in said(tmp_path)


def test_names_of_signs_are_not_alike(tmp_path: Path) -> None:
    fill(tmp_path, ["_", "-", "C", "C++"])
    assert "differ in case" not in said(tmp_path)


def test_a_class_is_the_same_in_both_forms_of_unicode(tmp_path: Path) -> None:
    fill(tmp_path, ["train/caf\u00e9", "train/dog", "test/cafe\u0301", "test/dog"])
    data = ImageFolder(str(tmp_path), size=4)
    assert data.class_names() == ("caf\u00e9", "dog")
    assert data.load(train=False).label.tolist() == [0, 0, 1, 1]


def test_a_class_without_a_training_part_is_named(tmp_path: Path) -> None:
    fill(tmp_path, ["a/train", "a/test", "b/test"])
    assert "'b' in" in refusal(tmp_path)
    assert "has no train folder, as 'a' has" in refusal(tmp_path)


def test_the_training_part_is_advised(tmp_path: Path) -> None:
    fill(tmp_path, [f"{part}/data/x/{name}" for part in ("test", "train") for name in "ab"])
    assert f"set root to {str(tmp_path / 'train/data/x')!r}" not in refusal(tmp_path / "test")
    assert f"the classes seem to be in {str(tmp_path / 'train/data/x')!r}" in refusal(tmp_path)


def test_archives_are_named(tmp_path: Path) -> None:
    (tmp_path / "cats.tar.gz").write_bytes(b"x")
    assert "'cats.tar.gz', which is not read: unpack it" in refusal(tmp_path)
    fill(tmp_path, ["a", "b"])
    data = ImageFolder(str(tmp_path), size=4)
    assert data.left_out() == (("cats.tar.gz", "not unpacked"),)


def test_files_of_another_kind_are_named(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jxl").write_bytes(b"x")
    assert "'a', 'b' have no image, but '.jxl': 1" in refusal(tmp_path)


@pytest.mark.parametrize("stream", [False, True])
def test_the_test_part_has_the_range_of_the_training_part(stream: bool, tmp_path: Path) -> None:
    for place, level in (("train/a", 4095), ("train/b", 2000), ("test/a", 400)):
        (tmp_path / "set" / place).mkdir(parents=True)
        Image.fromarray(np.full((4, 4), level, np.uint16)).save(tmp_path / "set" / place / "0.png")
    data = ImageFolder(str(tmp_path / "set"), size=4, stream=stream, cache=str(tmp_path / "cache"))
    assert data.load(train=False).image.unique().tolist() == [25]
    assert data.load(train=True).image.unique().tolist() == [125, 255]


def test_many_copies_within_a_class_are_said(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    for i in range(6):
        (tmp_path / "a" / f"copy{i}.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())
    assert "7 copies of 'a/0.png' have the label 'a': they count once in a vote" in said(tmp_path)
    view = ImageFolder(str(tmp_path), size=5).training_view()
    assert len(set(view.duplicate_group.tolist())) == 4
    assert len(set(view.subset(view.label == 1).duplicate_group.tolist())) == 2


def test_images_of_both_parts_are_said(tmp_path: Path) -> None:
    fill(tmp_path, ["train/a", "train/b", "test/a"])
    (tmp_path / "test" / "a" / "twin.png").write_bytes((tmp_path / "train" / "b" / "1.png").read_bytes())
    assert "1 of 3 test images are training images too, such as 'test/a/twin.png'" in said(tmp_path)


# --- tables of labels ---
def table(root: Path, name: str, rows: list[dict[str, object]]) -> None:
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".jsonl"):
        place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name.endswith(".parquet"):
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]

        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), place)
    else:
        mark = "\t" if name.endswith(".tsv") else ","
        lines = [mark.join(rows[0]), *(mark.join(map(str, row.values())) for row in rows)]
        place.write_text("\n".join(lines) + "\n")


def labels_of(data: ImageFolder, train: bool = True) -> dict[str, str]:
    images = data.load(train)
    return {id: data.class_names()[c] for id, c in zip(images.id, images.label.tolist(), strict=True)}


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "metadata.jsonl", "labels.parquet"])
@pytest.mark.parametrize(
    ("file", "label", "value"),
    [
        ("file_name", "label", "{}.png"), ("id", "label", "{}"), ("Image", "Class", "images/{}.png"),
        ("image_id", "dx", "{}"), ("filename", "species", "{}.jpg"), ("path", "target", "/somewhere/images/{}.png"),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_names(name: str, file: str, label: str, value: str, tmp_path: Path) -> None:
    fill(tmp_path, ["images"])
    table(tmp_path, name, [{file: value.format(i), label: c} for i, c in enumerate(("dog", "cat"))])
    assert labels_of(ImageFolder(str(tmp_path), size=4, labels=name)) == {"images/0.png": "dog", "images/1.png": "cat"}


def test_columns_can_be_named(tmp_path: Path) -> None:
    fill(tmp_path, [""])
    table(tmp_path, "t.csv", [{"where": f"{i}.png", "id": i, "a": i, "b": 1 - i} for i in range(2)])
    data = ImageFolder(str(tmp_path), size=4, labels="t.csv", file_column="where", label_column="b")
    assert labels_of(data) == {"0.png": "1", "1.png": "0"}


def test_one_column_a_class_is_understood(tmp_path: Path) -> None:
    fill(tmp_path, [""])
    table(tmp_path, "t.csv", [{"image": "0", "MEL": "0.0", "NV": "1.0"}, {"image": "1", "MEL": "1.0", "NV": "0.0"}])
    assert labels_of(ImageFolder(str(tmp_path), size=4, labels="t.csv")) == {"0.png": "NV", "1.png": "MEL"}


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    fill(tmp_path, [""], count=3)
    table(tmp_path, "t.csv", [{"id": i, "label": c} for i, c in enumerate((10, 9, 100))])
    assert ImageFolder(str(tmp_path), labels="t.csv").class_names() == ("9", "10", "100")


def test_kaggles_folders_use_the_training_table_only(tmp_path: Path) -> None:
    fill(tmp_path, ["train", "test"])
    table(tmp_path, "train.csv", [{"id": i, "label": c} for i, c in enumerate("xy")])
    table(tmp_path, "test.csv", [{"id": i} for i in range(2)])
    data = ImageFolder(str(tmp_path), size=4, labels="train.csv")
    assert labels_of(data) == {"train/0.png": "x", "train/1.png": "y"}
    assert not data.has_test()
    assert data.left_out() == (("2 images", "train.csv gives them no label: 'test/0.png', 'test/1.png'"),)


@pytest.mark.parametrize(
    ("train", "test"),
    [("train.csv", "test.csv"), ("train_labels.csv", "val_labels.csv"), ("train/metadata.csv", "test/metadata.csv")],
)
def test_the_table_of_the_other_part_gives_the_test_part(train: str, test: str, tmp_path: Path) -> None:
    fill(tmp_path, ["train", "test"])
    table(tmp_path, train, [{"file_name": f"{i}.png", "label": c} for i, c in enumerate("xy")])
    folder = "" if "/" in test else "test/"
    table(tmp_path, test, [{"file_name": f"{folder}{i}.png", "label": c} for i, c in enumerate("yx")])
    data = ImageFolder(str(tmp_path), size=4, labels=train.split("/")[-1])
    assert labels_of(data) == {"train/0.png": "x", "train/1.png": "y"}
    assert labels_of(data, train=False) == {"test/0.png": "y", "test/1.png": "x"}
    assert data.test_part() == f"those of {test}"


@pytest.mark.parametrize(
    ("column", "values"),
    [("split", ("train", "Test")), ("is_valid", ("False", "True")), ("Usage", ("Training", "PublicTest"))],
)
def test_a_column_may_give_the_parts(column: str, values: tuple[str, str], tmp_path: Path) -> None:
    fill(tmp_path, [""], count=4)
    rows = [{"file_name": f"{i}.png", "label": i % 2, column: values[i // 2]} for i in range(4)]
    table(tmp_path, "labels.csv", rows)
    data = ImageFolder(str(tmp_path), size=4, labels="labels.csv")
    assert labels_of(data) == {"0.png": "0", "1.png": "1"}
    assert labels_of(data, train=False) == {"2.png": "0", "3.png": "1"}


def test_folders_give_the_parts_where_the_table_does_not(tmp_path: Path) -> None:
    fill(tmp_path, ["train", "test"])
    rows = [{"file_name": f"{part}/{i}.png", "label": i} for part in ("train", "test") for i in range(2)]
    table(tmp_path, "metadata.csv", rows)
    data = ImageFolder(str(tmp_path), size=4, labels="metadata.csv")
    assert set(labels_of(data)) == {"train/0.png", "train/1.png"}
    assert set(labels_of(data, train=False)) == {"test/0.png", "test/1.png"}


def test_what_the_table_and_the_folder_do_not_share_is_said(tmp_path: Path) -> None:
    fill(tmp_path, [""], count=3)
    table(tmp_path, "t.csv", [{"file": f"{i}.png", "label": i} for i in (0, 1, 7)])
    assert dict(ImageFolder(str(tmp_path), labels="t.csv").left_out()) == {
        "1 images": "t.csv gives them no label: '2.png'",
        "1 rows of t.csv": "their images are not there: '7.png'",
    }


def test_no_file_outside_the_folder_is_read(tmp_path: Path) -> None:
    fill(tmp_path, ["photos", "secret"])
    rows = [{"file": "0.png", "label": 0}, {"file": "1.png", "label": 1}, {"file": "../secret/0.png", "label": 1}]
    table(tmp_path / "photos", "t.csv", rows)
    (tmp_path / "photos" / "link.png").symlink_to(tmp_path / "secret" / "1.png")
    data = ImageFolder(str(tmp_path / "photos"), size=4, labels="t.csv")
    assert labels_of(data) == {"0.png": "0", "1.png": "1"}
    assert dict(data.left_out())["1 rows of t.csv"] == "their images are not there: '../secret/0.png'"


def test_a_table_from_another_machine_may_have_whole_paths(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    rows = [{"path": f"C:\\data\\{c}\\{i}.png", "label": c} for c in "ab" for i in range(2)]
    table(tmp_path, "t.csv", rows)
    assert labels_of(ImageFolder(str(tmp_path), size=4, labels="t.csv"))["b/1.png"] == "b"


def test_a_part_can_be_held_out_of_a_table(tmp_path: Path) -> None:
    fill(tmp_path, [""], count=10)
    table(tmp_path, "t.csv", [{"file": f"{i}.png", "label": i % 2} for i in range(10)])
    data = ImageFolder(str(tmp_path), size=4, labels="t.csv", holdout=0.4)
    assert (len(labels_of(data)), len(labels_of(data, train=False))) == (6, 4)


def test_the_labels_are_part_of_the_key(tmp_path: Path) -> None:
    fill(tmp_path, [""])
    specs = []
    for order in ("xy", "yx", "xz"):
        table(tmp_path, "t.csv", [{"file": f"{i}.png", "label": c} for i, c in enumerate(order)])
        specs.append(ImageFolder(str(tmp_path), labels="t.csv").spec())
    assert len({str(spec) for spec in specs}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no row"), ("file,label\n", "no row"), ("file\n0.png\n", "single column"),
        ("file,label\n0.png,a,b\n", "row 2 has 3 cells"), ("thing,other\n1,2\n", "file_column"),
        ("file,u,v\n0.png,1,2\n1.png,3,4\n", "label_column"), ("file,label\nx.png,a\n", "none of the 1 rows"),
        ("file,label\n0.png,a\n1.png,a\n", "has 1 class"), ("file,label\n0.png,a\n0.png,b\n", "the labels 'a' and 'b'"),
        ("file,label\n\0,a\n", "cannot be read as a table"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    fill(tmp_path, [""])
    (tmp_path / "t.csv").write_text(text)
    assert said in refusal(tmp_path, labels="t.csv")


def test_a_parquet_file_with_its_images_inside_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, [""])
    table(tmp_path, "t.parquet", [{"image": {"bytes": b"x", "path": "0.png"}, "label": 0}] * 2)
    assert "with its images inside" in refusal(tmp_path, labels="t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    assert "cannot be read as a table" in refusal(tmp_path, labels="t.parquet")


@pytest.mark.parametrize("text", ['{"file_name": "0.png"', "[1, 2]\n", '"' + "[" * 100_000])
def test_json_lines_that_cannot_be_read_are_refused(text: str, tmp_path: Path) -> None:
    fill(tmp_path, [""])
    (tmp_path / "t.jsonl").write_text(text)
    assert "cannot be read as a table" in refusal(tmp_path, labels="t.jsonl")


def test_a_table_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    fill(tmp_path, [""])
    (tmp_path / "labels.csv").touch()
    assert "there is no file 'label.csv'" in refusal(tmp_path, labels="label.csv")
    assert "'labels.csv'" in refusal(tmp_path, labels="label.csv")


def test_a_name_of_several_files_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    table(tmp_path, "t.csv", [{"file": "0.png", "label": 0}, {"file": "1.png", "label": 1}])
    assert "'0.png' may be 'a/0.png', 'b/0.png'" in refusal(tmp_path, labels="t.csv")


def test_marks_and_codings_of_spreadsheets(tmp_path: Path) -> None:
    fill(tmp_path, [""])
    text = 'file;label\n"0.png";"crème"\n"1.png";"dog"\n'
    for coding in ("utf-8-sig", "utf-16"):
        (tmp_path / "t.csv").write_text(text, encoding=coding)
        assert ImageFolder(str(tmp_path), labels="t.csv").class_names() == ("crème", "dog")


def test_a_table_without_a_header(tmp_path: Path) -> None:
    fill(tmp_path, [""])
    (tmp_path / "t.csv").write_text("0.png,cat\n1.png,dog\n")
    assert labels_of(ImageFolder(str(tmp_path), size=4, labels="t.csv")) == {"0.png": "cat", "1.png": "dog"}


def test_a_column_without_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="set labels too"):
        ImageFolder("x", label_column="label")


def understood(root: Path, name: str, text: str | bytes, **arguments: object) -> tuple[tuple[str, ...], list[int], int]:
    """Names of the classes, training labels and how many test images a table of four images gives."""
    for i in range(4):
        pixels = np.random.default_rng(i).integers(256, size=(5, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    data = ImageFolder(str(root), size=4, labels=str(root / name), **arguments)  # type: ignore[arg-type]
    return data.class_names(), data.load(train=True).label.tolist(), len(data.listing().test)


JSON = json.dumps([{"file_name": f"{i}.png", "label": "ab"[i % 2], "box": [1]} for i in range(4)])
ROWS = "file_name,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("t.csv", ROWS.replace("\n", "\r"), id="old line ends"),
        pytest.param("t.csv", "sep=;\n" + ROWS.replace(",", ";"), id="Excel's first line"),
        pytest.param("t.csv", ROWS.replace(",a", ', "a"'), id="a space before quotes"),
        pytest.param("t.txt", "0.png a\n1.png b\n2.png a\n3.png b\n", id="spaces"),
        pytest.param("t.csv", "file_name,b,a\n0.png,False,True\n1.png,True,False\n2.png,0,1\n3.png,1,0\n", id="truths"),
        pytest.param("t.json", JSON, id="json"),
    ],
)
def test_tables_as_people_write_them(name: str, text: str, tmp_path: Path) -> None:
    assert understood(tmp_path, name, text) == (("a", "b"), [0, 0, 1, 1], 0)


@pytest.mark.parametrize("missing", ["nan", "NaN", "<NA>", "null", ""])
def test_a_label_that_a_table_calls_missing_is_no_class(missing: str, tmp_path: Path) -> None:
    assert understood(tmp_path, "t.csv", ROWS.replace("3.png,b", f"3.png,{missing}"))[:2] == (("a", "b"), [0, 0, 1])


def test_whole_numbers_are_one_class_however_they_are_written(tmp_path: Path) -> None:
    text = "file_name,label\n0.png,9\n1.png,10.0\n2.png,9.0\n3.png,nan\n"
    assert understood(tmp_path, "t.csv", text)[:2] == (("9", "10"), [0, 0, 1])


@pytest.mark.parametrize("fraction", ["0.5", "-1.7", ".1", "1e-3", "2.50"])
def test_fractions_are_no_classes(fraction: str, tmp_path: Path) -> None:
    """As the targets of a regression: a class for each value would be no set to cleanse."""
    text = f"file_name,label\n0.png,9\n1.png,10.0\n2.png,{fraction}\n3.png,nan\n"
    with pytest.raises(ValueError, match=f"the column 'label' of .* has fractions, such as {fraction}"):
        understood(tmp_path, "t.csv", text)


def test_a_name_may_look_like_a_fraction(tmp_path: Path) -> None:
    text = "file_name,label\n0.png,1.5\n1.png,cat\n2.png,1.5\n3.png,cat\n"
    assert understood(tmp_path, "t.csv", text)[0] == ("1.5", "cat")


def test_a_line_sign_in_a_label_does_not_end_the_line(tmp_path: Path) -> None:
    rows = [{"file_name": f"{i}.png", "label": "a\u2028" + "xy"[i % 2]} for i in range(4)]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert understood(tmp_path, "t.jsonl", text)[0] == ("a\u2028x", "a\u2028y")


@pytest.mark.parametrize("column", ["is_train", "train"])
def test_a_column_may_say_what_is_training(column: str, tmp_path: Path) -> None:
    text = f"file_name,label,{column}\n0.png,a,True\n1.png,b,True\n2.png,a,False\n3.png,b,False\n"
    assert understood(tmp_path, "t.csv", text) == (("a", "b"), [0, 1], 2)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    text = "file_name,bus,train\n0.png,1,0\n1.png,0,1\n2.png,1,0\n3.png,0,1\n"
    assert understood(tmp_path, "t.csv", text) == (("bus", "train"), [0, 0, 1, 1], 0)


def test_a_split_that_names_no_part_is_said(tmp_path: Path) -> None:
    understood(tmp_path, "t.csv", "file_name,label,split\n0.png,a,0\n1.png,b,1\n")
    left_out = ImageFolder(str(tmp_path), size=4, labels=str(tmp_path / "t.csv")).left_out()
    assert ("the column 'split' of t.csv", "its values name no part of the data") in left_out


def test_a_file_is_found_in_the_other_form_of_unicode(tmp_path: Path) -> None:
    fill(tmp_path, ["."])
    (tmp_path / "0.png").rename(tmp_path / "cafe\u0301.png")
    (tmp_path / "t.csv").write_text("file_name,label\ncaf\u00e9.png,a\n1.png,b\n", encoding="utf-8")
    assert ImageFolder(str(tmp_path), size=4, labels="t.csv").load(train=True).label.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        pytest.param("t.csv", 'file_name,label\n0.png,"a\n1.png,b\n', "unexpected end of data", id="open quote"),
        pytest.param("t.csv", "file_name,label,label\n0.png,a,b\n", "has the column 'label' twice", id="column twice"),
        pytest.param("t.xlsx", "PK", "save or unpack it as .csv", id="spreadsheet"),
        pytest.param("t.json", '{"images": []}', "no list of objects", id="json"),
        pytest.param("t.jsonl", '{"file_name": "0.png", "label": {"x": 1}}', "no column of", id="nested label"),
    ],
)
def test_a_table_that_would_be_misread_is_refused(name: str, text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=why):
        understood(tmp_path, name, text)


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    fill(tmp_path, ["."])
    os.mkfifo(tmp_path / "labels.csv")
    assert "--data.labels labels.csv" not in refusal(tmp_path)
    assert refusal(tmp_path, labels="labels.csv").endswith(f"here or in {str(tmp_path)!r}")
