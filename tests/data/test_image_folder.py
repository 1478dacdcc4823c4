import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cleanse.data import ImageFolder
from cleanse.data.listing import held_out


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (10, 8), seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """train/ with three cats and two dogs, test/ with one dog."""
    for i in range(3):
        save(tmp_path / "train" / "cat" / f"{i}.png", seed=i)
    for i in range(2):
        save(tmp_path / "train" / "dog" / f"{i}.jpg", seed=9 + i)
    save(tmp_path / "test" / "dog" / "0.png", seed=20)
    return tmp_path


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ten images of each of two classes."""
    for c in ("cat", "dog"):
        for i in range(10):
            save(tmp_path / c / f"{i}.png", seed=i)
    return tmp_path


def test_train_and_test_folders_are_read(split: Path) -> None:
    data = ImageFolder(str(split), size=8)
    train, test = data.load(train=True), data.load(train=False)
    assert data.class_names() == ("cat", "dog")
    assert train.id == ("train/cat/0.png", "train/cat/1.png", "train/cat/2.png", "train/dog/0.jpg", "train/dog/1.jpg")
    assert train.label.tolist() == [0, 0, 0, 1, 1]
    assert (test.id, test.label.tolist()) == (("test/dog/0.png",), [1])
    assert train.image.shape == (5, 3, 8, 8)
    assert train.image.dtype == torch.uint8
    assert train.unreadable == ()


def test_the_root_may_be_written_in_any_way(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(split.parent)
    ids = ImageFolder(str(split)).load(train=True).id
    for root in (f"./{split.name}", f"{split}/", f"{split}/train/.."):
        assert ImageFolder(root).load(train=True).id == ids


def test_a_part_of_each_class_is_held_out_on_request(flat: Path) -> None:
    data = ImageFolder(str(flat), holdout=0.3)
    train, test = data.load(train=True), data.load(train=False)
    assert torch.bincount(train.label).tolist() == [7, 7]
    assert torch.bincount(test.label).tolist() == [3, 3]
    assert len({*train.id, *test.id}) == 20
    assert test.id == ImageFolder(str(flat), holdout=0.3, seed=8).load(train=False).id


def test_an_added_file_hardly_moves_the_held_out_ones(flat: Path) -> None:
    before = set(ImageFolder(str(flat), holdout=0.2).load(train=False).id)
    save(flat / "cat" / "new.png")
    assert len(before - set(ImageFolder(str(flat), holdout=0.2).load(train=False).id)) <= 1


def test_holding_out_leaves_something_on_both_sides() -> None:
    for n in range(2, 8):
        for fraction in (0.01, 0.5, 0.99):
            assert 1 <= len(held_out([str(i) for i in range(n)], fraction)) <= n - 1
    assert held_out(["only"], 0.9) == []


def test_a_train_folder_alone_can_be_split_too(split: Path) -> None:
    shutil.rmtree(split / "test")
    data = ImageFolder(str(split), holdout=0.2)
    assert data.class_names() == ("cat", "dog")
    assert len(data.load(train=False).id) == 2
    assert len(data.load(train=True).id) == 3


def test_folders_in_a_class_folder_belong_to_the_class(flat: Path) -> None:
    save(flat / "cat" / "siamese" / "a" / "x.png")
    assert "cat/siamese/a/x.png" in ImageFolder(str(flat)).load(train=True).id


def test_gray_images_have_one_channel_unless_any_has_a_color(split: Path) -> None:
    for file in (split / "train").rglob("*.*g"):
        save(file, "L")
    gray = ImageFolder(str(split), size=8)
    assert gray.load(train=False).image.shape[1] == 1, "the training images decide, whichever part is read first"
    assert gray.load(train=True).image.shape[1] == 1
    assert ImageFolder(str(split), color=True).load(train=True).image.shape[1] == 3
    save(split / "train" / "cat" / "1.png", "RGB")
    assert ImageFolder(str(split)).load(train=True).image.shape[1] == 3


def test_gray_levels_are_pillows(split: Path) -> None:
    color, gray = (ImageFolder(str(split), size=8, color=c).load(train=True).image for c in (True, False))
    for rgb, level in zip(color, gray, strict=True):
        expected = np.asarray(Image.fromarray(rgb.permute(1, 2, 0).numpy()).convert("L"))
        np.testing.assert_array_equal(level[0].numpy(), expected)


def test_images_that_cannot_be_read_are_named_and_left_out(split: Path) -> None:
    cat = split / "train" / "cat"
    (cat / "cut.png").write_bytes((cat / "0.png").read_bytes()[:80])
    (cat / "empty.jpg").touch()
    (cat / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (cat / "text.PNG").write_text("hello")
    os.mkfifo(cat / "pipe.png")
    (cat / "broken.png").symlink_to("nowhere.png")
    (cat / "round.png").symlink_to("round.png")
    for name in ("notes.txt", "Thumbs.db", ".hidden.png", "README"):
        (cat / name).write_text("hello")
    (cat / ".git").mkdir()
    data = ImageFolder(str(split))
    train = data.load(train=True)
    names = ["broken.png", "cut.png", "empty.jpg", "photo.heic", "pipe.png", "round.png", "text.PNG"]
    assert [row[0] for row in train.unreadable] == [f"train/cat/{name}" for name in names]
    assert {row[1] for row in train.unreadable} == {0}
    assert all(row[2] for row in train.unreadable)
    assert len(train.id) == len(train.label) == len(train.image) == 5
    assert data.left_out() == (
        ("train/cat/.git", "hidden"),
        ("4 other files", "not named like an image ('.db': 1, '.txt': 1, 'hidden': 1, 'no extension': 1)"),
    )


def test_links_out_of_the_folder_are_not_followed_unless_asked(
    split: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "secret" / "x.png")
    cat = split / "train" / "cat"
    (cat / "out.png").symlink_to(elsewhere / "secret" / "x.png")
    (cat / "in.png").symlink_to("0.png")
    (cat / "linked").symlink_to(elsewhere / "secret")
    (cat / "circle").symlink_to(split / "train")
    train = ImageFolder(str(split)).load(train=True)
    assert [row[0] for row in train.unreadable] == ["train/cat/out.png"]
    assert "train/cat/in.png" in train.id
    assert not any("linked" in name or "circle" in name for name in train.id)
    (cat / "circle").unlink()
    (cat / "circle").symlink_to(cat)
    followed = ImageFolder(str(split), follow_links=True).load(train=True)
    assert followed.unreadable == ()
    assert {"train/cat/out.png", "train/cat/linked/x.png"} <= set(followed.id)
    assert not any("circle" in name for name in followed.id)


def test_a_class_that_is_a_link_is_refused_unless_links_are_followed(
    split: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "x.png")
    (split / "train" / "bird").symlink_to(elsewhere)
    with pytest.raises(ValueError, match=r"bird.*follow_links"):
        ImageFolder(str(split)).load(train=True)
    assert ImageFolder(str(split), follow_links=True).class_names() == ("bird", "cat", "dog")


@pytest.mark.parametrize("name", ["new\nline", 'it\'s "quoted"', "ünï 猫", "-rf", os.fsdecode(b"caf\xe9")])
def test_any_name_that_a_file_system_allows(name: str, split: Path) -> None:
    try:
        save(split / "train" / name / f"{name}.png")
    except OSError:
        pytest.skip("this file system refuses the name")
    data = ImageFolder(str(split))
    train = data.load(train=True)
    assert name in data.class_names()
    assert f"train/{name}/{name}.png" in train.id
    assert data.fingerprint()
    assert data.spec()


def test_the_fingerprint_changes_with_the_training_files_only(split: Path) -> None:
    def fingerprint() -> str:
        return ImageFolder(str(split)).fingerprint()

    first = fingerprint()
    assert fingerprint() == first
    save(split / "test" / "dog" / "0.png", seed=1)
    assert fingerprint() == first
    os.utime(split / "train" / "cat" / "0.png", ns=(1, 1))
    second = fingerprint()
    assert second != first
    (split / "train" / "cat" / "0.png").rename(split / "train" / "cat" / "00.png")
    assert fingerprint() not in (first, second)
    shutil.copytree(split, split / "copy")
    assert ImageFolder(str(split / "copy")).fingerprint() == fingerprint(), "the place of the folder does not matter"


def test_a_view_of_a_folder_has_its_own_mean_and_std(split: Path) -> None:
    data = ImageFolder(str(split), size=8)
    view, image = data.training_view(), data.load(train=True).image.double() / 255
    assert view.mean == pytest.approx(image.mean((0, 2, 3)).tolist())
    assert view.std == pytest.approx(image.std((0, 2, 3), correction=0).tolist())
    assert len(data.clean_test()) == 1


class TestRefusals:
    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"data.root: there is no folder .*none': give .* per class"):
            ImageFolder(str(tmp_path / "none")).load(train=True)

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match="is not a folder"):
            ImageFolder(str(tmp_path / "file")).load(train=True)

    def test_an_empty_folder_and_images_without_class_folders(self, tmp_path: Path) -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match=r"no class folder with images|an empty folder"):
                ImageFolder(str(tmp_path)).load(train=True)
            save(tmp_path / "x.png")

    def test_a_single_class(self, tmp_path: Path) -> None:
        save(tmp_path / "cat" / "x.png")
        with pytest.raises(ValueError, match="'cat' only"):
            ImageFolder(str(tmp_path)).load(train=True)

    def test_a_class_without_an_image_that_can_be_read(self, split: Path) -> None:
        for file in (split / "train" / "dog").iterdir():
            file.write_bytes(b"")
        with pytest.raises(ValueError, match=r"'dog' has no training image that can be read .*dog/0.jpg.*empty file"):
            ImageFolder(str(split)).load(train=True)

    def test_nothing_that_can_be_read(self, split: Path) -> None:
        for file in (split / "train").rglob("*.*g"):
            file.write_bytes(b"x")
        with pytest.raises(ValueError, match=r"no training image of 5 .*not an image"):
            ImageFolder(str(split)).load(train=True)

    def test_a_test_class_that_is_not_trained_on(self, split: Path) -> None:
        save(split / "test" / "bi\nrd" / "x.png")
        with pytest.raises(ValueError, match=r"classes that the training part has not \('bi\\nrd'\)"):
            ImageFolder(str(split)).load(train=True)

    def test_a_test_folder_without_images(self, split: Path) -> None:
        (split / "test" / "dog" / "0.png").unlink()
        with pytest.raises(ValueError, match="test' has no image in class folders"):
            ImageFolder(str(split)).load(train=True)

    def test_a_test_folder_without_a_train_folder(self, split: Path) -> None:
        (split / "train").rename(split / "pictures")
        shutil.rmtree(split / "pictures" / "dog")
        with pytest.raises(ValueError, match=r"test folder but no train folder.*train_folder"):
            ImageFolder(str(split)).load(train=True)

    def test_nothing_to_hold_out(self, tmp_path: Path) -> None:
        for c in "ab":
            save(tmp_path / c / "x.png")
        with pytest.raises(ValueError, match="second image"):
            ImageFolder(str(tmp_path), holdout=0.2).load(train=True)

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
    def test_a_fraction_to_hold_out_of_range(self, fraction: float) -> None:
        with pytest.raises(ValueError, match="holdout"):
            ImageFolder("x", holdout=fraction)

    def test_a_size_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="size"):
            ImageFolder("x", size=0)
