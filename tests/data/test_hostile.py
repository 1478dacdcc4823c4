"""A folder from somebody who means harm: every kind of file and name, and a fuzz test of the decoders."""

import io
import os
import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cleanse.data import Digits, ImageFolder
from cleanse.data import decode as module
from cleanse.data.decode import FORMATS, decode, decode_files
from cleanse.data.findings import conflicting_labels
from cleanse.data.listing import Layout, list_images
from cleanse.views.pixel_hashes import groups_of, pixel_hashes

FUZZ_SECONDS = float(os.environ.get("CLEANSE_FUZZ_SECONDS", "8"))
FUZZ_SEED = int(os.environ.get("CLEANSE_FUZZ_SEED", "0"))


def picture(size: int = 12, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(size, size, 3), dtype=np.uint8))


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        decode(str(path), 8)
    return str(error.value)


def gray(path: Path, count: int = 3) -> None:
    """``count`` small images in a folder."""
    path.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture(seed=i).save(path / f"{i}.png")


# --- files ---
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    head = b"IHDR" + struct.pack(">II", 9430, 9440) + file.getvalue()[24:29]
    data = file.getvalue()[:12] + head + struct.pack(">I", zlib.crc32(head)) + file.getvalue()[33:]
    (tmp_path / "bomb.png").write_bytes(data)
    tracemalloc.start()
    start = time.thread_time()
    assert "9430 x 9440 pixels are more than 89000000" in refusal(tmp_path / "bomb.png")
    assert time.thread_time() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff\xe0", b"RIFF\xf0\xff\xff\x3fWEBPVP8 ", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", b"BM"]
)
def test_a_huge_file_is_refused_by_its_length(head: bytes, tmp_path: Path) -> None:
    """Of a few bytes on disk: Pillow would read the whole WebP file, and walk a JPEG of zeros byte by byte."""
    with (tmp_path / "huge.png").open("wb") as file:
        file.write(head)
        file.truncate(4 << 30)
    start = time.thread_time()
    assert refusal(tmp_path / "huge.png") == "4294967296 bytes are more than 267000000"
    assert time.thread_time() - start < 1


def test_large_images_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = [0], [0]
    rgb = module._rgb

    def counted(*arguments: Any) -> Any:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.002)
        done = rgb(*arguments)
        at_once[0] -= 1
        return done

    monkeypatch.setattr(module, "_rgb", counted)
    monkeypatch.setattr(module, "LARGE", 100)
    monkeypatch.setattr(module, "BLOCK", 1)
    picture().save(tmp_path / "a.png")
    decoded = decode_files([str(tmp_path / "a.png")] * 20, 8)
    assert most == [1]
    assert not decoded.why
    assert bool((decoded.image == decoded.image[0]).all())


def test_transparency_of_every_kind_lies_on_black(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255] * 768)
    palette.save(tmp_path / "bytes.png", transparency=bytes([255, 0]))
    Image.new("L", (4, 4), 7).save(tmp_path / "gray.png", transparency=7)
    Image.new("RGB", (4, 4), (9, 8, 7)).save(tmp_path / "color.png", transparency=(9, 8, 7))
    Image.new("1", (4, 4), 1).save(tmp_path / "bilevel.png", transparency=1)
    for path in tmp_path.iterdir():
        assert not decode(str(path), 4).any(), path.name


def test_what_a_file_says_of_itself_does_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"P5 \x1b]0;x\x07 4 255 ")
    Image.new("L", (2, 2)).save(tmp_path / "b.png")

    class Odd(ValueError):
        def __str__(self) -> str:
            return "\x1b[31m \u202e" + "x" * 5000

    assert "\\x1b[31m \\u202e" in module._said(Odd())
    assert module._said(Odd()).isprintable()
    assert len(module._said(Odd())) == 200
    assert refusal(tmp_path / "a.png").isprintable()


# --- the tree ---
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_no_special_file_is_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    for c in "ab":
        gray(tmp_path / c)
    place = tmp_path / "a" / "special.png"
    if kind == "pipe":
        os.mkfifo(place)
        os.mkfifo(tmp_path / "a" / "no-image")
    elif kind == "socket":
        monkeypatch.chdir(tmp_path / "a")  # the path of a socket has to be short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("special.png")
    else:
        place.symlink_to("/dev/zero")
    for follow in (False, True):
        listing = list_images(str(tmp_path), Layout(holdout=0.3, follow_links=follow))
        why = {file.id: file.refused for file in (*listing.train, *listing.test) if file.refused}
        assert list(why) == ["a/special.png"]
        assert why["a/special.png"] == "not a regular file" or (kind == "device" and not follow)


def test_links_that_multiply_are_read_once(tmp_path: Path) -> None:
    """Nine folders, each with links to all nine: a million paths to the same nine files."""
    gray(tmp_path / "b")
    for i in range(9):
        gray(tmp_path / "a" / f"d{i}", 1)
        for j in range(9):
            (tmp_path / "a" / f"d{i}" / f"0{j}").symlink_to(f"../d{j}")
    start = time.thread_time()
    listing = list_images(str(tmp_path), Layout(holdout=0.3, follow_links=True))
    assert time.thread_time() - start < 2
    files = sorted(file.id for file in (*listing.train, *listing.test) if file.label == 0)
    assert files == [f"a/d{i}/0.png" for i in range(9)], "each under its own name, not under that of a link"


def test_a_tree_too_deep_for_any_path_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for c in "ab":
        gray(tmp_path / c)
    here = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("n" * 200, dir_fd=here)
        below = os.open("n" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(ValueError, match=r"cannot be listed \(File name too long\)"):
        list_images(str(tmp_path), Layout(holdout=0.3))


def test_names_with_dots_stay_inside(tmp_path: Path) -> None:
    for c in ("a..", "b"):
        gray(tmp_path / c)
    picture().save(tmp_path / "a.." / "..%2f..%2fx.png")
    picture().save(tmp_path / "a.." / "..png.png")
    listing = list_images(str(tmp_path), Layout(holdout=0.3))
    assert listing.classes == ("a..", "b")
    for file in (*listing.train, *listing.test):
        assert os.path.realpath(file.path).startswith(f"{tmp_path}{os.sep}")
        assert ".." not in file.id.split("/")


def test_many_files_in_one_class_and_one_in_another(tmp_path: Path) -> None:
    """3,000 and 1; a class of one is trained on, not held out, and the log says so."""
    gray(tmp_path / "few", 1)
    gray(tmp_path / "many", 1)
    for i in range(2999):
        os.link(tmp_path / "many" / "0.png", tmp_path / "many" / f"x{i}.png")
    data = ImageFolder(str(tmp_path), size=4, holdout=0.2)
    start = time.thread_time()
    listing = data.listing()
    assert time.thread_time() - start < 2
    assert (len(listing.train), len(listing.test)) == (2401, 600)
    assert "a single training image has, too few to judge it by, the label 'few'" in data.understood().warnings
    test = data.clean_test()
    assert test is not None
    assert test.label.unique().tolist() == [1]


def test_many_classes_are_listed_in_a_moment(tmp_path: Path) -> None:
    for c in range(1500):
        (tmp_path / f"{c}").mkdir()
        for name in ("a.png", "b.png"):
            (tmp_path / f"{c}" / name).touch()
    start = time.thread_time()
    listing = list_images(str(tmp_path), Layout(holdout=0.5))
    assert time.thread_time() - start < 3
    assert len(listing.classes) == len(listing.train) == len(listing.test) == 1500


def test_unreadable_test_images_are_said(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for c in "ab":
            gray(tmp_path / part / c)
    (tmp_path / "test" / "a" / "torn\x1b.png").write_bytes(b"no")
    data = ImageFolder(str(tmp_path), size=4)
    assert data.load(train=False).unreadable[0][:2] == ("test/a/torn\x1b.png", 0)
    said = "left out 1 of 7 test images, such as 'test/a/torn\\x1b.png' (not an image"
    assert any(warning.startswith(said) for warning in data.understood().warnings)


# --- the same image under two labels ---
def test_conflicting_labels_are_those_of_a_double_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(3, (60, 1, 1, 3), generator=generator, dtype=torch.uint8)
    label = torch.randint(-1, 3, (60,), generator=generator)
    found = conflicting_labels(groups_of(pixel_hashes(image)), label)
    expected = []
    for i in range(60):
        twins = [j for j in range(60) if label[j] >= 0 and bool((image[i] == image[j]).all())]
        if twins and twins[0] == i and len({int(label[j]) for j in twins}) > 1:
            expected.append(twins)
    assert found == expected
    assert found


def test_fifty_thousand_images_are_compared_in_moments() -> None:
    image = torch.zeros(50_000, 3, 32, 32, dtype=torch.uint8)
    image[:, 2, 31, 31], image[:, 2, 31, 30] = torch.arange(50_000) % 256, torch.arange(50_000) // 256
    image[49_999] = image[7]
    label = torch.arange(50_000) % 10
    start = time.thread_time()
    assert conflicting_labels(groups_of(pixel_hashes(image)), label) == [[7, 49_999]]
    assert time.thread_time() - start < 5


def test_the_same_image_under_two_labels_is_reported(tmp_path: Path) -> None:
    gray(tmp_path / "train" / "cat")
    gray(tmp_path / "train" / "d\nog", 2)
    gray(tmp_path / "test" / "cat", 1)
    said = "\n".join(ImageFolder(str(tmp_path), size=12).understood().warnings)
    assert "'train/cat/1.png' as 'cat', 'train/d\\nog/1.png' as 'd\\nog'" in said
    assert "different labels for the same image: 2 images, which occur 4 times in all" in said


def test_data_without_anything_odd_has_no_warning() -> None:
    assert Digits(limit_train=200).understood().warnings == ()


# --- fuzz ---
def _whole() -> list[bytes]:
    """One file in each format that Pillow may open, and in the modes that take other ways through `decode`."""
    image, files = picture(48), []
    wanted = [(image, name, {}) for name in FORMATS]
    wanted += [(image.convert("CMYK"), "JPEG", {}), (image, "JPEG", {"progressive": True})]
    wanted += [(image.convert("P"), "PNG", {"transparency": 3}), (image.convert("RGBA"), "PNG", {})]
    wanted += [
        (Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70), name, {}) for name in ("PNG", "TIFF")
    ]
    wanted += [
        (image, name, {"save_all": True, "append_images": [picture(48, 1)]}) for name in ("GIF", "WEBP", "PNG", "TIFF")
    ]
    wanted += [
        (image, "TIFF", {"compression": name}) for name in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")
    ]
    exif = Image.Exif()
    exif[0x0112] = 6
    wanted += [(image, name, {"exif": exif}) for name in ("JPEG", "PNG", "WEBP")]
    for made, name, options in wanted:
        file = io.BytesIO()
        if name in Image.SAVE or (Image.init() and name in Image.SAVE):
            made.save(file, name, **options)
            files.append(file.getvalue())
    return files


def _mutated(random: np.random.Generator, files: list[bytes]) -> bytes:
    data = bytearray(files[random.integers(len(files))])
    for _ in range(random.integers(1, 4)):
        kind, at = random.integers(7), int(random.integers(len(data)))
        if kind == 0:  # bits
            for place in random.integers(len(data), size=random.integers(1, 9)):
                data[place] ^= 1 << int(random.integers(8))
        elif kind == 1:  # bits of what is most likely a header
            for place in random.integers(min(len(data), 64), size=random.integers(1, 4)):
                data[place] = int(random.integers(256))
        elif kind == 2:  # the end is missing
            data = data[: max(1, at)]
        elif kind == 3:  # the beginning of one, the rest of another
            other = files[random.integers(len(files))]
            data = data[: max(1, at)] + other[int(random.integers(len(other))) :]
        elif kind == 4:  # noise in between
            data[at:at] = random.bytes(int(random.integers(1, 200)))
        elif kind == 5:  # a part twice
            data[at:at] = data[at : at + int(random.integers(1, 500))]
        else:  # a number at its limit
            width = int(random.choice([2, 4]))
            data[at : at + width] = (b"\xff" * width, b"\0" * width, b"\x7f" + b"\xff" * 3)[random.integers(3)]
        if not data:
            return b"\0"
    return bytes(data)


@pytest.mark.slow
def test_mutated_files_are_an_image_or_a_reason(tmp_path: Path) -> None:
    """For CLEANSE_FUZZ_SECONDS, from CLEANSE_FUZZ_SEED on; a file that breaks something is left in ``tmp_path``."""
    files, random, path = _whole(), np.random.default_rng(FUZZ_SEED), tmp_path / "mutated.png"
    assert len(files) >= 20
    path.write_bytes(files[0])
    end, count, good, slowest = time.monotonic() + FUZZ_SECONDS, 0, 0, 0.0
    while time.monotonic() < end:
        path.write_bytes(_mutated(random, files))
        start = time.thread_time()
        try:
            image = decode(str(path), 16)
        except ValueError as error:
            assert str(error).isprintable()
            assert 0 < len(str(error)) <= 200
            assert str(tmp_path) not in str(error)
        else:
            assert image.shape == (16, 16, 3)
            assert image.dtype == np.uint8
            good += 1
        slowest = max(slowest, time.thread_time() - start)
        assert slowest < 10, f"{slowest:.0f} s for one file"
        count += 1
    print(f"{count} files, {good} of them images, at most {slowest:.2f} s for one")
    assert 0 < good < count
    assert os.listdir(tmp_path) == ["mutated.png"]
