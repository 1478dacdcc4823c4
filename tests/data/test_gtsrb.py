from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

from cleanse.data import GTSRB

CLASSES = 43


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """torchvision's layout: class c has 1 + c % 3 training images; 5 test images."""
    rng = np.random.default_rng(0)

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(15, 60, 2)
        Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8)).save(path)

    base = tmp_path / "gtsrb"
    for c in range(CLASSES):
        for i in range(1 + c % 3):
            write(base / "GTSRB" / "Training" / f"{c:05d}" / f"0000{i}_00000.ppm")
    rows = [f"{i:05d}.ppm;53;54;6;5;48;49;{40 - i}" for i in range(5)]
    for row in rows:
        write(base / "GTSRB" / "Final_Test" / "Images" / row.split(";")[0])
    (base / "GT-final_test.csv").write_text(
        "\n".join(["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId", *rows])
    )
    return tmp_path


def test_images_labels_and_order_are_those_of_torchvision(root: Path) -> None:
    data = GTSRB(str(root), size=24)
    data.prepare_data()
    for train, split in ((True, "train"), (False, "test")):
        part, expected = data.load(train), datasets.GTSRB(root, split, transform=v2.Resize((24, 24)))
        assert len(part.id) == len(expected)
        for i, (image, label) in enumerate(expected):
            np.testing.assert_array_equal(part.image[i].permute(1, 2, 0).numpy(), np.asarray(image))
            assert part.label[i] == label
    assert part.id[0] == "GTSRB/Final_Test/Images/00000.ppm"
    assert len(set(data.class_names())) == CLASSES


def test_imbalanced_classes_keep_their_sizes(root: Path) -> None:
    view = GTSRB(str(root), size=8).training_view()
    assert torch.bincount(view.label).tolist() == [1 + c % 3 for c in range(CLASSES)]
    assert view.num_classes == CLASSES


def test_an_image_that_cannot_be_read_is_left_out_and_named(root: Path) -> None:
    file = root / "gtsrb/GTSRB/Training/00002/00001_00000.ppm"
    file.write_bytes(file.read_bytes()[:100])
    train = GTSRB(str(root), size=8).load(train=True)
    assert [row[:2] for row in train.unreadable] == [("GTSRB/Training/00002/00001_00000.ppm", 2)]
    assert torch.bincount(train.label)[2] == 2


def test_a_class_without_images_is_refused(root: Path) -> None:
    (root / "gtsrb/GTSRB/Training/00003/00000_00000.ppm").unlink()
    with pytest.raises(ValueError, match=r"00003 .*speed limit 60.* has no image"):
        GTSRB(str(root)).load(train=True)


def test_a_damaged_table_is_named(root: Path) -> None:
    (root / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n00000.ppm;stop\n")
    with pytest.raises(ValueError, match=r"GT-final_test\.csv"):
        GTSRB(str(root)).load(train=False)


@pytest.mark.parametrize("train", [True, False])
def test_missing_files_say_where_and_what_to_do(train: bool, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gtsrb .*download=true.*set root.*unpack GTSRB-Training_fixed.zip"):
        GTSRB(str(tmp_path), download=False).load(train)


def test_a_label_beyond_the_43_classes_is_refused(root: Path) -> None:
    (root / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n00000.ppm;43\n")
    with pytest.raises(ValueError, match="43 classes"):
        GTSRB(str(root), size=8).clean_test()
