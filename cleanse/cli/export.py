"""``cleanse export``: the cleansed data set of a run, as files."""

import csv
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from errno import EXDEV
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from cleanse.cli.own_classes import take_trust
from cleanse.cli.parsers import Mode, export_parser
from cleanse.data import ImageFolder
from cleanse.data.base import ImageDataModule
from cleanse.data.decode import decode_files
from cleanse.data.folder_reader import EXTENSIONS, ImageFile
from cleanse.data.frozen import Frozen, folder_names
from cleanse.data.listing import Listing
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.progress import quiet
from cleanse.engine.run_directory import RunDirectory
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import prepare
from cleanse.experiments.messages import UsageError
from cleanse.experiments.rebuild import data_of, open_run
from cleanse.report.most_suspicious import how_chosen, judged_rows, most_suspicious
from cleanse.report.summary import cannot_be_used, flagged_rate
from cleanse.utils.files import check_new_folder, new_folder
from cleanse.utils.text import readable
from cleanse.verdict import ACTIONS, DROP, RELABEL, Verdict, harmless

log = logging.getLogger("cleanse")

TABLES = ("labels.csv", "dropped.csv")


@dataclass(frozen=True)
class Row:
    """One line of labels.csv.

    Attributes:
        file: relative to the exported folder (mode csv: to the source); empty where nothing is exported.
        id: in the verdict.
        action: of the verdict, or ``not judged``.
        label, new_label: numbers of classes; -1 for none.
        reason: may be empty.
        make: writes the file to a path.
    """

    file: str
    id: str
    action: str
    label: int
    new_label: int
    reason: str = ""
    make: Callable[[Path], None] | None = None


@dataclass
class Plan:
    """All that is to be written.

    Attributes:
        classes: names, in label order.
        rows: of labels.csv.
        dropped: of dropped.csv: id, label, score and reason.
    """

    classes: Sequence[str]
    rows: list[Row] = field(default_factory=list)
    dropped: list[tuple[str, int, float, str]] = field(default_factory=list)


def export(argv: Sequence[str]) -> None:
    """Run the command; the last line on standard output is the folder.

    Args:
        argv: what follows ``cleanse export``.

    Raises:
        UsageError: wrong arguments.
        ValueError: the run, its source or the target cannot be used.
    """
    trust, words = take_trust(list(argv))
    arguments = export_parser().parse_args(words)
    quiet()
    if arguments.short_list is not None:
        export_short_list(arguments.run, arguments.out, arguments.short_list)
    else:
        export_run(
            arguments.run, arguments.out, arguments.mode, arguments.with_held_out, trust, arguments.force,
            arguments.drop_relabeled,
        )  # fmt: skip
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(arguments.out) + b"\n")  # whatever bytes the name has
    sys.stdout.flush()


def export_run(
    run: str | Path,
    out: str | Path,
    mode: Mode = "copy",
    with_held_out: bool = False,
    trust: bool = False,
    force: bool = False,
    drop_relabeled: bool = False,
) -> None:
    """Write the cleansed data set of a run.

    Args:
        run: directory of the run: its config.yaml says which data, its verdict.parquet what to do with them.
        out: the folder to make, missing or empty; complete or not there at all.
        mode: copy files, link to them, or write the tables only.
        with_held_out: also export the images that the verdict does not speak of.
        trust: import classes of the run's config that are not ours.
        force: export although the verdict flags most of the images.
        drop_relabeled: leave relabeled images out, which carry whatever trigger was put on them under their new label.

    Raises:
        UsageError: not a run, or a mode that its data do not have.
        ValueError: the source is not what it was, ``out`` is in use or inside the source, or the verdict cannot be
            used.
    """
    source = open_run(run)
    data = data_of(source, trust)
    verdict = source.read_verdict()
    if not len(verdict):
        raise ValueError(f"{source.verdict} has no rows, so there is nothing to export")
    if not force and cannot_be_used(verdict):
        raise ValueError(
            f"this verdict flags {flagged_rate(verdict):.1%} of the images, so that what is left is no cleansed data "
            "set: --short-list 100 writes the most suspicious images as a table to look at first, --force exports all "
            "the same"
        )
    if drop_relabeled:
        verdict = verdict.drop_relabeled()
    check_new_folder(out)
    if is_folder(data):
        check_outside(out, data.root)  # type: ignore[attr-defined]
        plan = _of_files(source, data, verdict, mode, with_held_out)
    else:
        name = type(data).__name__ + (" with a simulated attack" if isinstance(data, ImageFolder) else "")
        if mode in ("hardlink", "symlink"):
            raise UsageError(f"--mode {mode} is for folders of images: {name} has no files to link to; use copy or csv")
        if with_held_out:
            raise UsageError(f"--with-held-out is for folders of images: {name} has a test set of its own")
        plan = _of_images(source, data, verdict, mode)
    for row in plan.rows:
        _check_inside(row.file)
    with new_folder(out) as folder:
        for row in tqdm(
            [row for row in plan.rows if row.make is not None], desc="exporting", unit=" images", leave=False,
            disable=not sys.stderr.isatty(), file=sys.stderr,
        ):  # fmt: skip
            path = folder / row.file
            path.parent.mkdir(parents=True, exist_ok=True)
            row.make(path)  # type: ignore[misc]
        names = [*plan.classes, ""]  # the last one, at index -1, stands for no label
        write_table(
            folder / "labels.csv",
            ("file", "id", "action", "label", "label_name", "new_label", "new_label_name", "reason"),
            (
                (r.file, r.id, r.action, r.label, names[r.label], r.new_label, names[r.new_label], r.reason)
                for r in plan.rows
            ),
        )
        write_table(
            folder / "dropped.csv",
            ("id", "label", "label_name", "score", "reason"),
            ((id, label, names[label], score, why) for id, label, score, why in plan.dropped),
        )
    _tell(plan)
    for warning in _warnings(source):
        log.warning("%s", warning)


def export_short_list(run: str | Path, out: str | Path, most: int) -> None:
    """Write the most suspicious images of a run as ``short_list.csv``, the most suspicious first.

    Args:
        run: directory of the run.
        out: the folder to make, missing or empty.
        most: rows of the table; fewer where the run has not as many images.

    Raises:
        UsageError: not a run, or no positive number of rows.
        ValueError: a damaged verdict, or one of no rows.
    """
    if most < 1:
        raise UsageError(f"--short-list is a number of images, at least 1, not {most}")
    source = open_run(run)
    verdict, names = source.read_verdict(), [*source.read_classes(), ""]
    if not len(verdict):
        raise ValueError(f"{source.verdict} has no rows, so there is nothing to list")
    there = [i for i in judged_rows(verdict) if verdict.label[i] >= 0]
    listed = most_suspicious(verdict, there, most)
    with new_folder(out) as folder:
        write_table(
            folder / "short_list.csv",
            ("rank", "id", "label_name", "action", "new_label_name", "score", "reason"),
            (
                (
                    rank, verdict.id[i], names[int(verdict.label[i])], ACTIONS[int(verdict.action[i])],
                    names[int(verdict.new_label[i])], float(verdict.score[i]), verdict.reason[i],
                )
                for rank, i in enumerate(listed, 1)
            ),
        )  # fmt: skip
    if listed:
        log.info("%s, listed from %s", how_chosen(verdict, there, listed), source.path)


def _warnings(run: RunDirectory) -> list[str]:
    """What the summary of a run says besides counts, so that nobody exports without having read it."""
    lines = run.read_summary().splitlines()
    return [readable(line) for line in lines if line and not re.match(r" |Of [\d,]+ images, ", line)]


def is_folder(data: ImageDataModule) -> bool:
    """Whether every image of a data set is a file that holds just what the run saw (no trigger added in memory)."""
    return isinstance(data, Frozen) or (isinstance(data, ImageFolder) and data.attack is None)


# --- a folder of files ---
def _of_files(run: RunDirectory, data: ImageDataModule, verdict: Verdict, mode: Mode, with_held_out: bool) -> Plan:
    listing = _listing(data)
    train = {file.id: file for file in listing.train}
    _check_unchanged(run, data, verdict, train)
    plan = _empty_plan(data.class_names(), verdict)
    held_out = isinstance(data, ImageFolder) and data.layout.holdout is not None
    names = Names([file.id for file in (*listing.train, *listing.test)])
    judged = set(verdict.id)
    labels, new_labels, scores = verdict.label.tolist(), verdict.new_label.tolist(), verdict.score.tolist()
    for i, (id, action) in enumerate(zip(verdict.id, verdict.action.tolist(), strict=True)):
        if why := _left_out(verdict, i):
            plan.dropped.append((id, labels[i], scores[i], why))
            continue
        name = id
        if action == RELABEL and mode != "csv":
            parts, place = id.split("/"), train[id].class_at
            start, inner = (parts[:place], parts[place + 1 :]) if place is not None else ([], parts[-1:])
            start = ["train"] if isinstance(data, Frozen) else start
            name = names.take("/".join([*start, plan.classes[new_labels[i]], *inner]))
        make = _maker(train[id].path, mode)
        plan.rows.append(Row(name, id, ACTIONS[action], labels[i], new_labels[i], verdict.reason[i], make))
    rest = [(file, "limit_train") for file in listing.train if file.id not in judged]
    rest += [(file, "held out" if held_out else "test folder") for file in listing.test]
    readable = [file for file, _ in rest if with_held_out and not file.refused]
    why_not = decode_files([file.path for file in readable], 1).why
    unreadable = {file.id: file.refused for file, _ in rest if file.refused}
    unreadable |= {readable[i].id: reason for i, reason in why_not.items()}
    for file, what in rest:
        if with_held_out and file.id in unreadable:
            plan.dropped.append((file.id, file.label, 0.0, f"unreadable: {unreadable[file.id]}"))
            continue
        name, make = (file.id, _maker(file.path, mode)) if with_held_out else ("", None)
        plan.rows.append(Row(name, file.id, "not judged", file.label, file.label, f"not judged ({what})", make))
    return plan


def _listing(data: ImageDataModule) -> Listing:
    """The source's files as they are now."""
    if isinstance(data, Frozen):
        return data.listing()
    assert isinstance(data, ImageFolder)
    if not os.path.isdir(data.root):
        hint = "" if os.path.isabs(data.root) else ", seen from here: export from where the run was started"
        raise ValueError(f"the source of this run is gone: there is no folder {data.root!r}{hint}")
    return data.listing()


def _check_unchanged(run: RunDirectory, data: ImageDataModule, verdict: Verdict, train: dict[str, ImageFile]) -> None:
    """Raises: ValueError if the files are not those that the verdict is about, as far as can be told."""
    again = "a verdict holds for the files it was made from only; put them back, or run it again"
    gone = [id for id in verdict.id if id not in train]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise ValueError(f"the source of this run has changed: {gone[0]!r}{more} is not there; {again}")
    for id, label in zip(verdict.id, verdict.label.tolist(), strict=True):
        if label not in (-1, train[id].label):
            raise ValueError(f"the source of this run has changed: {id!r} has another class than then; {again}")
    known = run.recorded_data()
    if known and hash_of(data.spec()) not in known:
        new = sorted(set(train) - set(verdict.id)) if data.limit_train is None else []
        what = f"{new[0]!r} is new" if new else "a file has another size or time of change than then"
        raise ValueError(f"the source of this run has changed: {what}; {again}")
    if not known:
        log.warning("the run's stages are gone: whether the files are still as they were cannot be checked")


def _empty_plan(classes: Sequence[str], verdict: Verdict) -> Plan:
    if max([*verdict.label.tolist(), *verdict.new_label.tolist()], default=-1) >= len(classes):
        raise ValueError(f"the verdict speaks of more than the {len(classes)} classes that the data of this run have")
    return Plan(classes)


def _left_out(verdict: Verdict, i: int) -> str:
    """Why row ``i`` is not exported; empty if it is."""
    if verdict.action[i] == DROP:
        return verdict.reason[i] or "dropped"
    return "kept, but without a label (the run withheld it)" if verdict.new_label[i] < 0 else ""


def _maker(source: str, mode: Mode) -> Callable[[Path], None] | None:
    """How one file comes to its place."""
    if mode == "csv":
        return None

    def make(path: Path) -> None:
        if mode == "copy":
            shutil.copyfile(source, path)
        elif mode == "symlink":
            path.symlink_to(os.path.realpath(source))
        else:
            try:
                os.link(os.path.realpath(source), path)
            except OSError as error:
                why = "another file system" if error.errno == EXDEV else error.strerror
                raise ValueError(
                    f"no hard link from {source!r} can be made there ({why}): use --mode copy or symlink"
                ) from error

    return make


# --- any other data set ---
def _of_images(run: RunDirectory, data: ImageDataModule, verdict: Verdict, mode: Mode) -> Plan:
    trainer = one_device(run.read_config().get("trainer") or {})
    prepare(data, Runner(run.path.absolute().parent, data.seed or 0, arguments=trainer))
    view = data.training_view()
    place = {id: i for i, id in enumerate(view.id)}
    plan = _empty_plan(view.classes, verdict)
    folders, names = folder_names(view.classes), Names()
    given, labels, new_labels = view.label.tolist(), verdict.label.tolist(), verdict.new_label.tolist()
    for i, (id, action) in enumerate(zip(verdict.id, verdict.action.tolist(), strict=True)):
        if why := _left_out(verdict, i):
            plan.dropped.append((id, labels[i], float(verdict.score[i]), why))
            continue
        if id not in place or given[place[id]] != labels[i]:
            raise ValueError(f"the data of this run have changed: {id!r} is not there with its label; run it again")
        name, make = id, None
        if mode != "csv":
            name = names.take(f"{folders[new_labels[i]]}/{_file_name(id)}")

            def make(path: Path, row: int = place[id]) -> None:
                save_png(view.images(torch.tensor(row)), path)

        plan.rows.append(Row(name, id, ACTIONS[action], labels[i], new_labels[i], verdict.reason[i], make))
    return plan


def one_device(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer section of a config for an attack that trains: the same stages as in a run, by this process alone."""
    plain = {k: v for k, v in trainer.items() if isinstance(v, (bool, int, float, str))}
    return plain | {"devices": 1, "num_nodes": 1, "strategy": "auto"}


def _file_name(id: str) -> str:
    """An id as the name of a PNG file: the same, but for what no name can have.

    >>> _file_name("17"), _file_name("../a/b.ppm")
    ('17.png', '_a_b.png')
    """
    stem, extension = os.path.splitext(id)
    flat = (stem if extension.lower() in EXTENSIONS else id).replace("/", "_").replace("\\", "_").replace("\0", "_")
    return f"{_short(flat.lstrip('.'), 200) or '_'}.png"


# --- names ---
class Names:
    """Names that are taken: no file is written over another, nor where another one needs a folder.

    >>> names = Names(["dog/1.png"])
    >>> names.take("dog/1.png"), names.take("dog/1.png"), names.take("dog/2.png")
    ('dog/1-2.png', 'dog/1-3.png', 'dog/2.png')
    """

    def __init__(self, files: Iterable[str] = ()) -> None:
        self.files, self.folders = set[str](), set[str]()
        for file in files:
            self._add(file.split("/"))

    def take(self, name: str) -> str:
        """``name``, with -2, -3, ... where one is taken."""
        parts = name.split("/")
        for depth, own in enumerate(parts):
            number, last = 1, depth == len(parts) - 1
            while (path := _folded(parts[: depth + 1])) in self.files or (last and path in self.folders):
                number += 1
                parts[depth] = _numbered(own, number)
        self._add(parts)
        return "/".join(parts)

    def _add(self, parts: Sequence[str]) -> None:
        self.files.add(_folded(parts))
        self.folders.update(_folded(parts[:i]) for i in range(1, len(parts)))


def _folded(parts: Sequence[str]) -> str:
    """The same for paths that some file systems take for one."""
    return "/".join(parts).casefold()


def _numbered(name: str, number: int) -> str:
    stem, extension = os.path.splitext(name)
    end = f"-{number}{extension}"
    return _short(stem, 255 - len(end.encode("utf-8", "surrogateescape"))) + end


def _short(text: str, most: int) -> str:
    """``text``, cut so that it has at most this many bytes in UTF-8."""
    while len(text.encode("utf-8", "surrogateescape")) > most:
        text = text[:-1]
    return text


def _check_inside(file: str) -> None:
    """Raises: ValueError if a file of the export would lie outside its folder, or in the place of a table."""
    parts = file.split("/")
    if file and ({"", ".", ".."} & set(parts) or "\0" in file):
        raise ValueError(f"{file!r} would lead out of the exported folder: it is not written")
    if parts[0].casefold() in TABLES:
        raise ValueError(f"the class {parts[0]!r} has the name of a table that is written beside it: rename its folder")


def _tell(plan: Plan) -> None:
    counts = {name: sum(row.action == name for row in plan.rows) for name in ("keep", "relabel", "not judged")}
    text = f"{counts['keep']} images kept, {counts['relabel']} relabeled, {len(plan.dropped)} left out (dropped.csv)"
    if counts["not judged"]:
        exported = any(row.action == "not judged" and row.file for row in plan.rows)
        how = "exported as they are" if exported else "not exported (--with-held-out does)"
        text += f"; {counts['not judged']} never judged: {how}"
    log.info(text)
    if counts["relabel"]:
        log.warning(
            "a trigger on a relabeled image is still there, under the image's right label: --drop-relabeled leaves "
            "these images out"
        )


# --- folders that are complete or not there, and what is in them ---
def check_outside(out: str | Path, root: str | Path) -> None:
    """Raises: ValueError if ``out`` would be in the folder that the images come from."""
    source = os.path.join(os.path.realpath(root), "")
    if os.path.join(os.path.realpath(out), "").startswith(source):
        raise ValueError(f"out: {str(out)!r} is inside the source, {str(root)!r}, which is never written to")


def save_png(image: Tensor, path: Path) -> None:
    """Write (1 or 3, H, W) uint8 as a PNG file, without loss."""
    from PIL import Image

    pixels = image.permute(1, 2, 0).numpy()
    Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels).save(path, format="PNG")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str | int | float]]) -> None:
    """A CSV file in which no spreadsheet finds a formula, with the rules of `Verdict.save`."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(header)
        writer.writerows([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
