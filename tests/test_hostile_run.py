"""A folder with everything in it that could do harm, from `cleanse fit` to the export and the report."""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cleanse.cli.main import main
from cleanse.data import ImageFolder
from cleanse.verdict import Verdict

Cleanse = Callable[..., "subprocess.CompletedProcess[str]"]
CLASSES = ("<script>alert(1)<br>", '"q\'uo"ted', "new\nline\u202e", os.fsdecode(b"caf\xe9"), "=1+1")
NAMES = (
    "<img src=x onerror=alert(1)>", '"><b>', "li\nne", os.fsdecode(b"\xff\xfe"), "up..%2f..%2f",
    "-rf", "@cmd", "{{7*7}}",
)  # fmt: skip
GOOD = {f"{name}.png" for name in NAMES} | {
    "animated.gif", "sixteen.png", "cmyk.jpg", "palette.png", "turned.jpg", "inner.png", "alpha.webp"
}  # fmt: skip
BAD = {
    "torn.png", "torn.jpg", "empty.png", "text.png", "huge.png", "bomb.png", "out.png",
    "pipe.png", "self.png", "zero.png"
}  # fmt: skip


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(10, 14, 3), dtype=np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """``train`` and ``test`` of five classes; the first class of each has every kind of file in it."""
    root, outside = tmp_path / "pho'tos <i>", tmp_path / "outside"
    outside.mkdir()
    picture(0).save(outside / "private.png")
    for part, offset in (("train", 0), ("test", 1000)):
        for c, name in enumerate(CLASSES):
            (root / part / name).mkdir(parents=True)
            for i, own in enumerate(NAMES[: 2 + 6 * (c == 0)]):
                picture(offset + 100 * c + i).save(root / part / name / f"{own}.png")
        place = root / part / CLASSES[0]
        picture(offset + 50).save(place / "animated.gif", save_all=True, append_images=[picture(51)])
        Image.fromarray(np.arange(140, dtype=np.uint16).reshape(10, 14) * 400).save(place / "sixteen.png")
        picture(offset + 53).convert("CMYK").save(place / "cmyk.jpg")
        picture(offset + 54).convert("P").save(place / "palette.png", transparency=3)
        picture(offset + 55).convert("RGBA").save(place / "alpha.webp", lossless=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture(offset + 56).save(place / "turned.jpg", exif=exif)
        for file, kind in (("torn.png", "PNG"), ("torn.jpg", "JPEG")):
            picture(58).save(place / file, kind)
            (place / file).write_bytes((place / file).read_bytes()[:-200])
        (place / "empty.png").touch()
        (place / "text.png").write_text("<?php system('id');")
        Image.new("1", (9430, 9440)).save(place / "bomb.png")
        with (place / "huge.png").open("wb") as made:
            made.truncate(4 << 30)
        os.mkfifo(place / "pipe.png")
        (place / "inner.png").symlink_to(f"{NAMES[0]}.png")
        (place / "out.png").symlink_to(outside / "private.png")
        (place / "zero.png").symlink_to("/dev/zero")
        (place / "self.png").symlink_to("self.png")
        (place / "up").symlink_to(outside)
        (place / "round").symlink_to(root)
        (place / "notes.html").write_text("<script>")
    picture(0).save(root / "train" / CLASSES[1] / "twin.png")  # as the first one of the first class
    return root


def state(root: Path) -> str:
    """Everything about a folder: names, kinds, targets of links, content and times."""
    digest = hashlib.sha256()
    for place, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = os.path.join(place, name)
            status = os.lstat(path)
            digest.update(os.fsencode(path) + f"{status.st_mode} {status.st_mtime_ns} {status.st_size}".encode())
            if os.path.islink(path):
                digest.update(os.fsencode(os.readlink(path)))
            elif os.path.isfile(path) and status.st_size < 1 << 20:
                digest.update(Path(path).read_bytes())
    return digest.hexdigest()


class Page(HTMLParser):
    """Tags, attributes and text of a page, and whether every tag that is opened is closed."""

    VOID = frozenset(("meta", "br", "img", "input", "hr", "link"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
def test_from_fit_to_export_and_report(
    photos: Path, tmp_path: Path, cleanse: Cleanse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = state(tmp_path)
    fit = cleanse(
        "fit", "--config", "none.yaml", "--config", "quick.yaml", "--config", "data/folder.yaml",
        "--data.root", photos.name, "--data.size", "8", "--model.epochs", "1", "--trainer.accelerator", "cpu",
    )  # fmt: skip
    run = tmp_path / fit.stdout.splitlines()[-1]
    assert set(os.listdir(tmp_path)) == {photos.name, "outside", "runs"}

    # the verdict names every training file, and the log what matters
    verdict, first = Verdict.load(run), f"train/{CLASSES[0]}"
    here = {id.removeprefix(f"{first}/"): i for i, id in enumerate(verdict.id) if id.startswith(f"{first}/")}
    assert set(here) == GOOD | BAD
    why = {name: verdict.reason[i] for name, i in here.items() if verdict.dropped[i]}
    assert set(why) == BAD
    assert all(reason.startswith("unreadable: ") and reason.isprintable() for reason in why.values())
    for name, c in zip(CLASSES[1:], range(1, 5), strict=True):
        assert {f"train/{name}/{own}.png" for own in NAMES[:2]} <= set(verdict.id), c
    assert len(verdict) == len(here) + 2 * 4 + 1
    for text in ("the same image under different labels", f"left out {len(BAD)} of", "left out: "):
        assert text in fit.stderr, text
    assert all(c.isprintable() or c in "\n\r" for c in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", fit.stderr + fit.stdout))
    assert json.loads((run / "results.json").read_text())["unreadable"] == len(BAD)

    # the export holds files inside its folder only, and nothing from elsewhere
    for mode in ("copy", "symlink"):
        out = tmp_path / mode
        main(["export", str(run), "--out", str(out), "--mode", mode, "--with-held-out"])
        files = [Path(place, name) for place, _, names in os.walk(out) for name in names]
        expected = {id for id, kept in zip(verdict.id, verdict.kept.tolist(), strict=True) if kept}
        found = {str(path.relative_to(out)) for path in files} - {"labels.csv", "dropped.csv"}
        assert {name for name in found if name.startswith("train/")} == expected
        for path in files:
            allowed = (f"{out}{os.sep}", f"{photos}{os.sep}") if mode == "symlink" else f"{out}{os.sep}"
            assert os.path.realpath(path).startswith(allowed)
            assert mode == "symlink" or not path.is_symlink()
        with (out / "dropped.csv").open(newline="", errors="surrogateescape") as file:
            dropped = {row["id"] for row in csv.DictReader(file)}
        assert dropped == {f"{part}/{CLASSES[0]}/{name}" for part in ("train", "test") for name in BAD}
    assert ImageFolder(str(tmp_path / "copy"), size=8).load(train=True).unreadable == ()

    # the page is well formed and has every name as text
    main(["report", str(run)])
    source = (run / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert not page.open
    assert page.tags.count("html") == 1
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "b", "i"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert all(value.startswith(("#", "data:")) for name, value in page.attributes if name in ("src", "href"))
    assert CLASSES[0] in page.text
    assert "new\\nline\\u202e" in page.text
    assert "caf\\xe9" in page.text
    assert not [name for name in (*CLASSES, *NAMES, photos.name) if "<" in name and name in source]
    assert "\u202e" not in source
    assert CLASSES[2] not in source

    # nothing else was made, and the source is as it was
    for made in ("copy", "symlink", "runs"):
        shutil.rmtree(tmp_path / made)
    assert state(tmp_path) == before


def test_a_hostile_folder_is_frozen_as_numbers(photos: Path, tmp_path: Path) -> None:
    """`cleanse poison` on the same folder: no name of a file from it is used, and no class leads out."""
    from cleanse.attacks import BadNets
    from cleanse.cli.poison import freeze
    from cleanse.data import Frozen

    before = state(photos)
    data = ImageFolder(str(photos), size=8, attack=BadNets(class_rate=0.5, target=1, size=2), seed=0)
    out = freeze(data, tmp_path / "out")
    for place, _, names in os.walk(out):
        assert os.path.realpath(place).startswith(str(out))
        assert all(re.fullmatch(r"\d+\.png|rows\.csv|attack\.yaml|trigger\.pt|README\.md", name) for name in names)
    readme = (out / "README.md").read_text()
    assert "<script" not in readme
    assert "<br" not in readme
    assert len(Frozen(str(out)).training_view()) == len(data.training_view())
    assert state(photos) == before
