"""`cleanse export`: what a verdict makes of a folder, whatever is in it, and nothing outside the new folder."""

import csv
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from cleanse.attacks import BadNets
from cleanse.cli.export import Names, export_run, export_short_list
from cleanse.cli.main import main
from cleanse.cli.poison import freeze
from cleanse.data import Digits, ImageFolder
from cleanse.engine.run_directory import RunDirectory
from cleanse.experiments.messages import UsageError
from cleanse.experiments.pages import read_run
from cleanse.report.most_suspicious import judged_rows, most_suspicious
from cleanse.verdict import DROP, KEEP, RELABEL, Verdict

MODES = ("copy", "hardlink", "symlink", "csv")


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(256, size=(5, 5, 3), dtype=np.uint8)).save(path, format="PNG")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """train/ with three classes of three images, and a test image of each; one name is in every class."""
    root = tmp_path / "photos"
    for c, name in enumerate(("cat", "dog", "owl")):
        for i in range(2):
            save(root / "train" / name / f"{name}{i}.png", 10 * c + i)
        save(root / "train" / name / "same.png", 10 * c + 5)
        save(root / "test" / name / "t.png", 10 * c + 7)
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    return root


def run_of(where: Path, data: ImageFolder | Digits | Any, config: Mapping[str, Any], moves: Mapping[str, int]) -> Path:
    """The directory of a run whose verdict keeps all images but those in ``moves``: id to new class, -1 to drop."""
    view = data.training_view()
    action, new = torch.full((len(view),), KEEP, dtype=torch.int8), view.label.clone()
    for id, c in moves.items():
        action[view.id.index(id)], new[view.id.index(id)] = (DROP if c < 0 else RELABEL), c
    reason = ["" if a == KEEP else f"because {id}" for id, a in zip(view.id, action.tolist(), strict=True)]
    verdict = Verdict(view.id, view.label, action, new, (action != KEEP).float(), tuple(reason))
    verdict = verdict.with_dropped(data.unreadable, "unreadable: ")
    text = yaml.safe_dump({"seed_everything": 0, "trainer": {"accelerator": "cpu"}, "data": dict(config)})
    directory = RunDirectory(where)
    directory.write_config(text)
    directory.write_verdict(verdict, data.classes)
    return where


def run_on(root: Path, moves: Mapping[str, int], **arguments: Any) -> Path:
    """The same for an `ImageFolder`."""
    config = {"class_path": "cleanse.data.ImageFolder", "init_args": {"root": str(root), "size": 4, **arguments}}
    data = ImageFolder(str(root), size=4, seed=0, **arguments)
    return run_of(root.parent / "run", data, config, moves)


def files_in(folder: Path) -> set[str]:
    return {os.path.relpath(os.path.join(place, name), folder) for place, _, files in os.walk(folder) for name in files}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def state(root: Path) -> str:
    """Every name, content, time, mode and link below a folder."""
    digest = hashlib.sha256()
    for place, folders, files in sorted(os.walk(os.fsencode(root))):
        for name in sorted([*folders, *files]):
            path = os.path.join(place, name)
            status = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else b""
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    content += file.read()
            digest.update(repr((path, content, status.st_mtime_ns, status.st_mode)).encode())
    return digest.hexdigest()


MOVES = {"train/cat/cat0.png": -1, "train/cat/same.png": 1, "train/owl/same.png": 1, "train/dog/dog1.png": 0}
EXPORTED = {  # id in the source: where it is in the export
    "train/cat/cat1.png": "train/cat/cat1.png",
    "train/cat/same.png": "train/dog/same-2.png",
    "train/dog/dog0.png": "train/dog/dog0.png",
    "train/dog/dog1.png": "train/cat/dog1.png",
    "train/dog/same.png": "train/dog/same.png",
    "train/owl/owl0.png": "train/owl/owl0.png",
    "train/owl/owl1.png": "train/owl/owl1.png",
    "train/owl/same.png": "train/dog/same-3.png",
}


@pytest.mark.parametrize("mode", MODES)
def test_a_folder(photos: Path, tmp_path: Path, mode: Any) -> None:
    run, out = run_on(photos, MOVES), tmp_path / "out"
    before = state(photos)
    export_run(run, out, mode)
    assert state(photos) == before
    tables = {"labels.csv", "dropped.csv"}
    assert files_in(out) == (tables if mode == "csv" else {*EXPORTED.values(), *tables})
    for id, file in EXPORTED.items() if mode != "csv" else ():
        assert (out / file).read_bytes() == (photos / id).read_bytes()
        assert (out / file).is_symlink() == (mode == "symlink")
        assert (out / file).samefile(photos / id) == (mode != "copy")
    rows = {row["id"]: row for row in table(out / "labels.csv")}
    for id, file in EXPORTED.items():
        assert rows[id]["file"] == (id if mode == "csv" else file)
        assert rows[id]["action"] == ("relabel" if id in MOVES else "keep")
    changed = rows["train/owl/same.png"]
    assert (changed["label"], changed["label_name"], changed["new_label"], changed["new_label_name"]) == (
        "2", "owl", "1", "dog",
    )  # fmt: skip
    assert changed["reason"] == "because train/owl/same.png"
    (dropped,) = table(out / "dropped.csv")
    assert (dropped["id"], dropped["label_name"]) == ("train/cat/cat0.png", "cat")
    assert (dropped["score"], dropped["reason"]) == ("1.0", "because train/cat/cat0.png")
    unjudged = {id: row for id, row in rows.items() if row["action"] == "not judged"}
    assert set(unjudged) == {f"test/{c}/t.png" for c in ("cat", "dog", "owl")} == set(rows) - set(EXPORTED)
    assert all(r["file"] == "" and r["reason"] == "not judged (test folder)" for r in unjudged.values())


def test_the_export_is_a_folder_of_images_again(photos: Path, tmp_path: Path) -> None:
    export_run(run_on(photos, MOVES), tmp_path / "out", with_held_out=True)
    view = ImageFolder(str(tmp_path / "out"), size=4, seed=0).training_view()
    assert {id: view.classes[c] for id, c in zip(view.id, view.label.tolist(), strict=True)} == {
        file: file.split("/")[1] for file in EXPORTED.values()
    }
    assert len(ImageFolder(str(tmp_path / "out"), size=4).clean_test()) == 3


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ten images of each of two classes, one in a folder of its own, and no test folder."""
    for c in range(2):
        for i in range(9):
            save(tmp_path / "flat" / "ab"[c] / f"{i}.png", 100 * c + i)
        save(tmp_path / "flat" / "ab"[c] / "deep" / "x.png", 100 * c + 50)
    return tmp_path / "flat"


def test_what_was_held_out_is_named_and_exported_on_request(flat: Path, tmp_path: Path) -> None:
    held = set(ImageFolder(str(flat), size=4, holdout=0.2).load(train=False).id)
    assert len(held) == 4
    judged = sorted(files_in(flat) - held)
    run = run_on(flat, {judged[0]: 1, judged[-1]: -1}, holdout=0.2)
    export_run(run, tmp_path / "without")
    rows = {row["id"]: row for row in table(tmp_path / "without" / "labels.csv")}
    assert {id for id, row in rows.items() if row["reason"] == "not judged (held out)"} == held
    assert all(rows[id]["file"] == "" for id in held)
    assert len(rows) == 19
    assert not held & files_in(tmp_path / "without")
    export_run(run, tmp_path / "with", with_held_out=True)
    assert held <= files_in(tmp_path / "with")
    rows = {row["id"]: row for row in table(tmp_path / "with" / "labels.csv")}
    assert all(rows[id]["file"] == id and rows[id]["label"] == rows[id]["new_label"] for id in held)
    assert files_in(tmp_path / "with") == {r["file"] for r in rows.values()} | {"labels.csv", "dropped.csv"}
    assert rows[judged[0]]["file"] == f"b/{judged[0][2:].replace('.png', '-2.png')}"  # the source has that name there


def test_a_subset_leaves_the_rest_unjudged(flat: Path, tmp_path: Path) -> None:
    run = run_on(flat, {}, limit_train=6, holdout=0.2)
    export_run(run, tmp_path / "out")
    reasons = [row["reason"] for row in table(tmp_path / "out" / "labels.csv")]
    assert (reasons.count(""), reasons.count("not judged (limit_train)"), reasons.count("not judged (held out)")) == (
        6, 10, 4,
    )  # fmt: skip


def test_images_whose_label_was_withheld_are_not_exported(photos: Path, tmp_path: Path) -> None:
    run = run_on(photos, {"train/cat/same.png": 2}, labeled=0.1)
    export_run(run, tmp_path / "out")
    kept = {row["id"] for row in table(tmp_path / "out" / "labels.csv") if row["file"]}
    assert kept == {"train/cat/cat0.png", "train/cat/same.png"}
    assert {row["reason"] for row in table(tmp_path / "out" / "dropped.csv")} == {
        "kept, but without a label (the run withheld it)"
    }
    assert (tmp_path / "out" / "train" / "owl" / "same-2.png").is_file()


def test_names_do_not_collide_in_any_way() -> None:
    names = Names(["a/x.png", "a/deep.png/y.png", f"a/{'n' * 251}.png", "b/folder.png"])
    assert names.take("a/x.png") == "a/x-2.png"
    assert names.take("a/X.PNG") == "a/X-3.PNG"
    assert names.take("a/deep.png") == "a/deep-2.png"  # a folder has that name
    assert names.take("b/folder.png/z.png") == "b/folder-2.png/z.png"  # a file has that name
    assert names.take("b/folder.png/z.png") == "b/folder-2.png/z-2.png"
    assert names.take(f"a/{'n' * 251}.png") == f"a/{'n' * 249}-2.png"
    assert names.take(f"a/{'é' * 125}.png") == f"a/{'é' * 125}.png"
    assert names.take(f"a/{'é' * 125}.png") == f"a/{'é' * 124}-2.png"
    assert names.take("noextension") == "noextension"
    assert names.take("noextension") == "noextension-2"


# --- hostile names ---
HOSTILE = (
    *("<script>alert(1)</script>", "a\nb\rc\t", '"quo\'ted"', "-rf", "--out=x", "=cmd|' !A0", "@x", "\udcff\udcfe"),
    *("..png", "...", "%2e%2e", "back\\slash", "$(touch x)", "`x`", "c:", "é̂", "\u202egnp", " ", "~", "*", "null"),
    "n" * 240,
)


@pytest.mark.parametrize("mode", MODES)
def test_hostile_names_stay_names(tmp_path: Path, mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tmp_path / "photos", tmp_path / "out"
    names = [name.replace("/", "⁄") for name in HOSTILE]  # noqa: RUF001  (no name has a real slash)
    folders = [name for name in names if not name.startswith(".")]
    for i, (name, folder) in enumerate(zip(names, [*folders, *folders], strict=False)):
        save(root / folder / f"{name}.png", i)
        save(root / folder / "second.png", 100 + i)
    ids = ImageFolder(str(root), size=4).load(train=True).id
    moves = {id: 3 for id in ids if not id.startswith(f"{sorted(folders)[3]}/")}
    run = run_on(root, dict(list(moves.items())[::2]))
    before, beside = state(root), set(os.listdir(tmp_path))
    monkeypatch.chdir(tmp_path)
    export_run(run, out, mode, with_held_out=True)
    assert state(root) == before
    assert set(os.listdir(tmp_path)) == {*beside, "out"}
    rows = table(out / "labels.csv")
    hidden = sum(name.startswith(".") for name in names)
    assert len(rows) == len(files_in(root)) - hidden
    if mode != "csv":
        listed = {row["file"].removeprefix("'") for row in rows}
        assert listed == files_in(out) - {"labels.csv", "dropped.csv"}
        assert len(listed) == len(rows)
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")), cell


def test_a_verdict_cannot_lead_out(photos: Path, tmp_path: Path) -> None:
    """Ids in the verdict count for nothing but for finding the file of that very name in the source."""
    save(tmp_path / "secret.png")
    run = run_on(photos, {})
    good = Verdict.load(run)
    evil = [
        "../secret.png", "train/../../secret.png", "train/cat/../dog/dog0.png", str(tmp_path / "secret.png"),
        "./train/cat/cat1.png", "train//cat/cat1.png", "train/cat/notes.txt", "/", "", ".", "..", "train/cat",
        "train/cat/cat1.png/", "train/cat/cat1.png\0", "TRAIN/cat/cat1.png",
    ]  # fmt: skip
    for id in evil:
        ids = (id, *good.id[1:])
        Verdict(ids, good.label, good.action, good.new_label, good.score, good.reason).save(run)
        with pytest.raises(ValueError, match="is not there"):
            export_run(run, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "out.part").exists()
    Verdict.from_labels(good.id, good.label, torch.full_like(good.label, 7)).save(run)
    with pytest.raises(ValueError, match="more than the 3 classes"):
        export_run(run, tmp_path / "out", force=True)
    Verdict.keep_all(good.id, good.label.flip(0)).save(run)
    with pytest.raises(ValueError, match="has another class than then"):
        export_run(run, tmp_path / "out")


def test_links_in_the_source_lead_nowhere(photos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    save(outside / "private.png")
    (photos / "train" / "cat" / "link.png").symlink_to(outside / "private.png")
    (photos / "train" / "cat" / "up").symlink_to(outside)
    (photos / "train" / "cat" / "round").symlink_to(photos)
    (photos / "train" / "cat" / "inner.png").symlink_to("cat0.png")
    (photos / "test" / "cat" / "link.png").symlink_to(outside / "private.png")
    run = run_on(photos, {"train/cat/inner.png": 1})
    for mode in MODES:
        out = tmp_path / mode
        export_run(run, out, mode, with_held_out=True)  # type: ignore[arg-type]
        assert "train/cat/link.png" not in files_in(out)
        assert not any("private" in name for name in files_in(out))
        left = {row["id"]: row["reason"] for row in table(out / "dropped.csv")}
        assert set(left) == {"train/cat/link.png", "test/cat/link.png"}
        assert all(reason.startswith("unreadable: a link to outside the folder") for reason in left.values())
        for name in files_in(out):
            real = os.path.realpath(out / name)
            assert real.startswith((f"{out}{os.sep}", f"{photos}{os.sep}"))
            assert "private" not in real
    assert not (tmp_path / "copy" / "train" / "dog" / "inner.png").is_symlink()


def test_links_that_the_user_follows_are_copied_as_files(photos: Path, tmp_path: Path) -> None:
    save(tmp_path / "outside" / "x.png", 77)
    (photos / "train" / "cat" / "more").symlink_to(tmp_path / "outside")
    run = run_on(photos, {"train/cat/more/x.png": 2}, follow_links=True)
    export_run(run, tmp_path / "out")
    moved = tmp_path / "out" / "train" / "owl" / "more" / "x.png"
    assert moved.read_bytes() == (tmp_path / "outside" / "x.png").read_bytes()
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))


def test_unreadable_files_are_left_out_with_their_reason(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "dog" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (photos / "train" / "dog" / "empty.png").write_bytes(b"")
    (photos / "test" / "dog" / "torn.png").write_bytes(b"GIF89a")
    os.mkfifo(photos / "train" / "dog" / "pipe.png")
    run = run_on(photos, {})
    export_run(run, tmp_path / "out", with_held_out=True)
    left = {row["id"]: row["reason"] for row in table(tmp_path / "out" / "dropped.csv")}
    names = {"train/dog/torn.png", "train/dog/empty.png", "train/dog/pipe.png", "test/dog/torn.png"}
    assert set(left) == names
    assert all(reason.startswith("unreadable: ") for reason in left.values())
    assert not names & files_in(tmp_path / "out")


def test_a_class_with_the_name_of_a_table_is_refused(tmp_path: Path) -> None:
    for name in ("Labels.csv", "b"):
        for i in range(3):
            save(tmp_path / "photos" / name / f"{i}.png")
    run = run_on(tmp_path / "photos", {})
    with pytest.raises(ValueError, match=r"'Labels\.csv' has the name of a table"):
        export_run(run, tmp_path / "out")


# --- the target ---
def test_a_folder_in_use_is_left_alone(photos: Path, tmp_path: Path) -> None:
    run = run_on(photos, {})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("full")
    for name in ("full", "file", "dangling", "link"):
        with pytest.raises(ValueError, match=r"not an empty folder|is a link"):
            export_run(run, tmp_path / name)
    for inside in (photos / "new", photos / "train" / "cat" / "deep" / "er"):
        with pytest.raises(ValueError, match="inside the source"):
            export_run(run, inside)
    (tmp_path / "way in").symlink_to(photos)
    with pytest.raises(ValueError, match="inside the source"):
        export_run(run, tmp_path / "way in" / "new")
    (tmp_path / "taken.part").mkdir()
    (tmp_path / "taken.part" / "mine").write_text("mine")
    with pytest.raises(ValueError, match="is in the way"):
        export_run(run, tmp_path / "taken")
    assert (tmp_path / "taken.part" / "mine").exists()
    assert os.listdir(tmp_path / "full") == ["mine"]
    (tmp_path / "trap.part").symlink_to(tmp_path / "full")
    with pytest.raises(ValueError, match="is in the way"):
        export_run(run, tmp_path / "trap")
    assert os.listdir(tmp_path / "full") == ["mine"]


@pytest.mark.parametrize("mode", MODES)
def test_relabeled_images_can_be_left_out(photos: Path, tmp_path: Path, mode: Any) -> None:
    """Their trigger is still on them: no file of theirs is written, and dropped.csv says why."""
    run, out = run_on(photos, MOVES), tmp_path / "out"
    main(["export", str(run), "--out", str(out), "--mode", mode, "--drop-relabeled"])
    kept = {id for id in EXPORTED if id not in MOVES}
    assert files_in(out) == ({*kept} if mode != "csv" else set()) | {"labels.csv", "dropped.csv"}
    assert {row["id"] for row in table(out / "labels.csv") if row["file"]} == kept
    dropped = {row["id"]: row["reason"] for row in table(out / "dropped.csv")}
    assert set(dropped) == set(MOVES)
    assert dropped["train/cat/cat0.png"] == "because train/cat/cat0.png"
    assert dropped["train/owl/same.png"] == "because train/owl/same.png (relabeled images are left out)"


@pytest.mark.parametrize(
    ("moves", "more", "says"),
    [(MOVES, [], True), (MOVES, ["--drop-relabeled"], False), ({"train/cat/cat0.png": -1}, [], False)],
    ids=["relabeled", "left out", "none relabeled"],
)
def test_export_says_that_relabeled_images_keep_their_trigger(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], moves: dict[str, int], more: list[str], says: bool
) -> None:
    main(["export", str(run_on(photos, moves)), "--out", str(tmp_path / "out"), *more])
    assert ("--drop-relabeled leaves these images out" in capfd.readouterr().err) == says


def test_an_empty_folder_and_new_parents_will_do(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run = run_on(photos, {})
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for name in ("empty/", "new/deeper/out", "photos-clean", os.fsdecode(b"\xff")):
        main(["export", str(run), "--out", name])
        captured = capfdbinary.readouterr()
        assert captured.out == os.fsencode(name) + b"\n"
        assert b"9 images kept, 0 relabeled, 0 left out" in captured.err
        assert b"%|" not in captured.err
        assert len(files_in(tmp_path / name)) == 11
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob(".*"))


def test_two_commands_do_not_write_the_same_folder(photos: Path, tmp_path: Path) -> None:
    from cleanse.utils.files import new_folder

    run = run_on(photos, {})
    with new_folder(tmp_path / "out") as part:
        (part / "a").write_text("a")
        with pytest.raises(ValueError, match="another command is writing"):
            export_run(run, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["a"]


@pytest.mark.parametrize(
    "how", [KeyboardInterrupt, OSError(28, "No space left on device")], ids=["ctrl-c", "full disk"]
)
def test_nothing_is_left_of_an_interrupted_one(
    photos: Path, tmp_path: Path, how: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, copy = run_on(photos, {}), shutil.copyfile

    def interrupted(source: str, target: Path) -> None:
        copy(source, target)
        if target.name == "dog1.png":
            raise how

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    before = set(os.listdir(tmp_path))
    with pytest.raises(type(how) if isinstance(how, OSError) else KeyboardInterrupt):
        export_run(run, tmp_path / "out")
    assert set(os.listdir(tmp_path)) == before


def test_after_a_kill_there_is_no_half_folder_and_the_next_one_succeeds(photos: Path, tmp_path: Path) -> None:
    run, copy = run_on(photos, {}), shutil.copyfile

    def killed(source: str, target: Path) -> None:
        copy(source, target)
        if target.name == "dog1.png":
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        shutil.copyfile = killed  # type: ignore[assignment]
        try:
            export_run(run, tmp_path / "out")
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.part" / "train" / "dog" / "dog1.png").exists()
    export_run(run, tmp_path / "out")
    assert len(files_in(tmp_path / "out")) == 11
    assert set(os.listdir(tmp_path)) == {"out", "photos", "run"}


def test_hard_links_cannot_cross_file_systems(photos: Path, tmp_path: Path) -> None:
    there = Path("/dev/shm")
    if not there.is_dir() or there.stat().st_dev == tmp_path.stat().st_dev or not os.access(there, os.W_OK):
        pytest.skip("there is one file system only")
    run, out = run_on(photos, {}), there / f"cleanse-test-{os.getpid()}"
    with pytest.raises(ValueError, match=r"another file system.*use --mode copy or symlink"):
        export_run(run, out, "hardlink")
    assert not out.exists()
    assert not Path(f"{out}.part").exists()


# --- the source is not what it was ---
def test_missing_files_are_named(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_on(photos, {})
    (photos / "train" / "dog" / "dog0.png").unlink()
    with pytest.raises(ValueError, match=r"'train/dog/dog0\.png' is not there"):
        export_run(run, tmp_path / "out")
    photos.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"the source of this run is gone: there is no folder .*photos'$"):
        export_run(run, tmp_path / "out")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["init_args"]["root"] = "photos"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="from where the run was started"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_real_run_notices_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The stages' record of the data against the sizes and times of the files now."""
    for c in range(2):
        for i in range(8):
            save(tmp_path / "photos" / "ab"[c] / f"{i}.png", 100 * c + i)
    monkeypatch.chdir(tmp_path)
    configs = ("--config", "none.yaml", "--config", "quick.yaml", "--config", "data/folder.yaml")
    main(["fit", *configs, "--data.size", "8", "--model.epochs", "1", "--seed_everything", "4"])
    run = capfd.readouterr().out.splitlines()[-1]
    records = [json.loads(path.read_text()) for path in Path(run).glob("stages/*/stage.json")]
    assert any(isinstance(record["data"]["source"], str) for record in records)
    main(["export", run, "--out", "out"])
    out, err = capfd.readouterr()
    assert out == "out\n"
    assert "cannot be checked" not in err
    assert len(files_in(Path("out"))) == 16 + 2
    kept = next(id for id in Verdict.load(Path(run)).id)
    status = (tmp_path / "photos" / kept).stat()
    os.utime(tmp_path / "photos" / kept, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(SystemExit) as stopped:
        main(["export", run, "--out", "again"])
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 1
    assert "a file has another size or time of change" in said
    os.utime(tmp_path / "photos" / kept, ns=(status.st_atime_ns, status.st_mtime_ns))
    main(["export", run, "--out", "again"])
    for i in range(20, 30):
        save(tmp_path / "photos" / "a" / f"{i}.png", i)
    with pytest.raises(ValueError, match="has changed"):
        export_run(Path(run), "third")
    assert not Path("third").exists()


# --- data that are no files, or not these files ---
def test_images_of_any_other_data_set_are_written_as_the_run_had_them(tmp_path: Path) -> None:
    attack = {"class_path": "cleanse.attacks.BadNets", "init_args": {"class_rate": 0.2}}
    arguments = {"limit_train": 100, "limit_test": 40}
    config = {"class_path": "cleanse.data.Digits", "init_args": {"attack": attack, **arguments}}
    data = Digits(attack=BadNets(class_rate=0.2), seed=0, limit_train=100, limit_test=40)
    view = data.training_view()
    moved = {view.id[i]: int(data.truth.true_label[i]) for i in data.truth.poisoned.nonzero().flatten().tolist()}
    gone = next(id for id in view.id if id not in moved)
    run = run_of(tmp_path / "run", data, config, {**moved, gone: -1})
    export_run(run, tmp_path / "out")
    expected = {f"{data.truth.true_label[i]}/{id}.png" for i, id in enumerate(view.id) if id != gone}
    assert files_in(tmp_path / "out") == expected | {"labels.csv", "dropped.csv"}
    for i, id in enumerate(view.id):
        if id != gone:
            with Image.open(tmp_path / "out" / str(int(data.truth.true_label[i])) / f"{id}.png") as image:
                assert image.mode == "L"
                assert np.array_equal(np.asarray(image), view.source.image[i, 0].numpy())
    assert [row["id"] for row in table(tmp_path / "out" / "dropped.csv")] == [gone]
    export_run(run, tmp_path / "tables", "csv")
    assert files_in(tmp_path / "tables") == {"labels.csv", "dropped.csv"}
    for mode in ("hardlink", "symlink"):
        with pytest.raises(UsageError, match=f"--mode {mode} is for folders of images: Digits has no files"):
            export_run(run, tmp_path / "no", mode)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Digits has a test set of its own"):
        export_run(run, tmp_path / "no", with_held_out=True)
    assert not (tmp_path / "no").exists()


def test_a_rehearsal_on_a_folder_exports_what_was_trained_on(photos: Path, tmp_path: Path) -> None:
    """With a simulated attack the files do not have the trigger: the images come from memory."""
    attack = {"class_path": "cleanse.attacks.BadNets", "init_args": {"class_rate": 1.0, "target": 2, "size": 2}}
    config = {
        "class_path": "cleanse.data.ImageFolder",
        "init_args": {"root": str(photos), "size": 4, "attack": attack},
    }
    data = ImageFolder(str(photos), size=4, attack=BadNets(class_rate=1.0, target=2, size=2), seed=0)
    run = run_of(tmp_path / "run", data, config, {})
    export_run(run, tmp_path / "out")
    names = files_in(tmp_path / "out") - {"labels.csv", "dropped.csv"}
    assert len(names) == 9
    assert all(name.startswith("owl/train_") for name in names)
    with Image.open(tmp_path / "out" / "owl" / "train_cat_cat0.png") as image:
        assert np.array_equal(np.asarray(image), data.training_view().source.image[0].permute(1, 2, 0).numpy())
    with pytest.raises(UsageError, match="with a simulated attack has no files to link to"):
        export_run(run, tmp_path / "no", "symlink")


@pytest.mark.parametrize("mode", ["copy", "symlink"])
def test_a_frozen_set_is_a_folder(tmp_path: Path, mode: Any) -> None:
    from cleanse.data import Frozen

    attack = BadNets(count=6, unlabeled_count=3)
    root = freeze(Digits(attack=attack, limit_train=100, limit_test=30, labeled=0.5, seed=0), tmp_path / "frozen")
    data = Frozen(str(root), seed=0)
    view = data.training_view()
    poisoned = [view.id[i] for i in data.truth.poisoned.nonzero().flatten().tolist()]
    labeled = [id for id in poisoned if id.startswith("train/")]
    hidden = next(id for id in view.id if id.startswith("unlabeled/"))
    clean = next(id for id in view.id if id.startswith("train/") and id not in labeled)
    config = {"class_path": "cleanse.data.Frozen", "init_args": {"root": str(root)}}
    run = run_of(tmp_path / "run", data, config, {**dict.fromkeys(labeled, 7), hidden: 3, clean: -1})
    before = state(root)
    export_run(run, tmp_path / "out", mode, with_held_out=True)
    assert state(root) == before
    files = files_in(tmp_path / "out")
    assert {f"train/7/{id.split('/')[-1]}" for id in labeled} | {f"train/3/{hidden.split('/')[-1]}"} <= files
    assert len([f for f in files if f.startswith("test/")]) == 30
    assert not [f for f in files if "triggered" in f]
    assert len([f for f in files if f.startswith("train/")]) == 50  # 50 labeled, one dropped, one found
    assert len(table(tmp_path / "out" / "dropped.csv")) == 50


# --- the command line ---
def test_a_verdict_that_flags_most_images_is_not_exported_without_force(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = sorted(Verdict.load(run_on(photos, {})).id)
    run = run_on(photos, dict.fromkeys(ids[: len(ids) // 2 + 1], -1))
    with pytest.raises(ValueError, match=r"flags \d+\.\d% of the images.*--short-list 100.*--force"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (run / "summary.txt").write_text(
        "Of the clean images, about 0.2% are flagged.\nOf 9 images, few are kept.\n  class 'a': 1\nOf 25 suspicious "
        "images of class 'a', most share a pattern.\nClass '\u202ea' stands out.\n"
    )
    caplog.set_level("WARNING", "cleanse")
    export_run(run, tmp_path / "out", force=True)
    assert (tmp_path / "out" / "labels.csv").is_file()
    assert [record.message for record in caplog.records][-3:] == [
        "Of the clean images, about 0.2% are flagged.",
        "Of 25 suspicious images of class 'a', most share a pattern.",
        "Class '\\u202ea' stands out.",
    ]


def test_the_short_list_is_ranked_and_bounded(photos: Path, tmp_path: Path) -> None:
    run = run_on(photos, {})
    verdict = Verdict.load(run)
    export_short_list(run, tmp_path / "list", 3)
    table = pd.read_csv(tmp_path / "list" / "short_list.csv")
    order = most_suspicious(verdict, judged_rows(verdict), 3)
    assert table["id"].tolist() == [verdict.id[i] for i in order]
    assert table["rank"].tolist() == [1, 2, 3]
    with pytest.raises(UsageError, match="at least 1, not 0"):
        export_short_list(run, tmp_path / "other", 0)


def test_a_verdict_of_no_rows_is_said(photos: Path, tmp_path: Path) -> None:
    run = run_on(photos, {})
    Verdict.keep_all((), torch.zeros(0, dtype=torch.long)).save(run)
    for export in (export_run, partial(export_short_list, most=3)):
        with pytest.raises(ValueError, match="has no rows"):
            export(run, tmp_path / "out")
    (run / "results.json").write_text("{}")
    with pytest.raises(ValueError, match="has no rows"):
        read_run(run)


def test_mistakes_are_one_sentence(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = str(run_on(photos, {}))
    (tmp_path / "bare").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.yaml").write_text("data: [")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("data: {class_path: os.system}")
    (tmp_path / "half").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "empty")
    shutil.copy(Path(run) / "config.yaml", tmp_path / "half")
    new = ("--out", str(tmp_path / "new"))
    capfd.readouterr()
    wrong = {
        "cleanse: RUN and --out must be given": (2, ()),
        "cleanse: --out must be given": (2, (run,)),
        "cleanse: RUN must be given": (2, new),
        "--mode: give copy, hardlink, symlink or csv, not 'zip'": (2, (run, *new, "--mode", "zip")),
        "there is no option --nope": (2, (run, *new, "--nope")),
        "it has no config.yaml": (2, (str(tmp_path / "bare"), *new)),
        "not valid yaml": (2, (str(tmp_path / "odd"), *new)),
        "os.system": (2, (str(tmp_path / "other"), *new)),
        "there is no verdict": (1, (str(tmp_path / "half"), *new)),
        "not an empty folder": (1, (run, "--out", str(photos))),
        "linked' is a link, not an empty folder": (1, (run, "--out", str(tmp_path / "linked"))),
    }
    for sentence, (status, arguments) in wrong.items():
        with pytest.raises(SystemExit) as stopped:
            main(["export", *arguments])
        out, err = capfd.readouterr()
        assert sentence in err.strip().splitlines()[-1]
        assert stopped.value.code == status, err
        assert out == ""
        assert "Traceback" not in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", "--help"])
    assert stopped.value.code == 0
    assert "--with-held-out" in capfd.readouterr().out
