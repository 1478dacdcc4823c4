"""A poisoned data set as files that describe themselves: written once, exchanged, and loaded again bit for bit."""

import csv
import html
import inspect
import logging
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from cleanse.attacks.base import ROLES, Attack
from cleanse.data.base import ImageDataModule, Images, Truth
from cleanse.data.decode import BLOCK, MAX_PIXELS
from cleanse.data.listing import ImageFile, Listing
from cleanse.data.views import ImageView
from cleanse.describe import describe, hash_of
from cleanse.verdict import _harmless
from cleanse.version import __version__

log = logging.getLogger("cleanse")

Class = TypeVar("Class", bound=type)
Item = TypeVar("Item")
COLUMNS = ("file", "given_label", "true_label", "role", "original")
_NAME = re.compile(r"[0-9]{1,12}\.png")
_MOST_YAML = 2_000_000  # bytes; thousands of class names


@dataclass(frozen=True)
class Rows:
    """rows.csv, checked.

    Attributes:
        file: of each training image, relative to the root.
        given: (N,) int64, -1 where the label is withheld.
        true: (N,) int64.
        role: (N,) int8.
    """

    file: tuple[str, ...]
    given: Tensor
    true: Tensor
    role: Tensor


class Frozen(ImageDataModule):
    """A poisoned data set that ``cleanse poison`` wrote, with its answer key: the same images, labels, roles and trigger.

    * The augmentations, and mean and std where they are constants, are those of the data set that was poisoned.
    * The folder is not trusted: no file outside it is read, ``attack.yaml`` may name no class but the package's own,
      and whatever else an attack was made from (a surrogate network) stays a description.
    * With ``train`` and ``test`` only, without the answer key, use `ImageFolder` on the same folder.

    Args:
        root: the folder.
        trust: let ``attack.yaml`` name classes that are not part of cleanse; importing one runs its code.
        batch_size: over all processes together.
        augment: batched training augmentations; None for those of the data set that was poisoned.
        limit_train: use a stratified subset of this many training images.
        limit_test: the same for test images.
        seed: of the subsets; None for the run's seed.

    Shapes:
        images (N, 1 or 3, H, W).

    Raises:
        ValueError: files that are missing, do not fit together or must not be loaded; says which.
    """

    undescribed = ImageDataModule.undescribed | {"trust"}

    def __init__(
        self,
        root: str,
        trust: bool = False,
        batch_size: int = 128,
        augment: list[nn.Module] | None = None,
        limit_train: int | None = None,
        limit_test: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(None, batch_size, augment, limit_train, limit_test, None, seed)
        self.root, self.trust = os.path.expanduser(root), trust
        self._content = ""

    @property
    def attack(self) -> Attack | None:
        """The attack that poisoned the set, with its trigger; read from the files when it is first asked for."""
        if self._attack is None:
            self._attack = self._thaw()
        return self._attack

    @attack.setter
    def attack(self, attack: Attack | None) -> None:
        self._attack = attack

    def learn_attack(self, run: object) -> None:
        """Nothing: the trigger is in the files."""

    def load(self, train: bool) -> Images:
        """All training images with their true labels, or all test images; an id is the file relative to the root."""
        if not train:
            files, label = self._test_files()
            return Images(self._read_images(files), label, tuple(files))
        rows = self._rows
        image = self._read_images(rows.file)
        self._content = hash_of([image, rows.given, rows.file])  # no truth in it: stages take their seeds from it
        if self._origin.mean:
            self.mean, self.std = self._origin.mean, self._origin.std
        return Images(image, rows.true, rows.file)

    def setup(self, stage: str | None = None) -> None:
        """Read, once."""
        if self._train is not None:
            return
        clean, rows = self._clean(), self._rows
        place = {file: i for i, file in enumerate(rows.file)}
        chosen = torch.tensor([place[id] for id in clean.id])
        self.truth, self.unreadable = Truth(clean.label, rows.role[chosen]), clean.unreadable
        self._train = self._view(replace(clean, label=rows.given[chosen]), self.attack)
        self._read = None
        self._test: ImageView | None = None

    def triggered_test(self) -> ImageView:
        """The triggered test images as they are in the files, with their true labels."""
        clean, attack = self.clean_test(), self.attack
        assert attack is not None
        rows = attack.measured(clean.label).nonzero().flatten()
        if not len(rows):
            raise ValueError(f"no test image may carry the trigger (source class {attack.source}): raise limit_test")
        files = [clean.source.id[i].replace("test/", "triggered/", 1) for i in rows.tolist()]
        return self._test_view(self._read_images(files), clean.label[rows], tuple(files))

    def class_names(self) -> tuple[str, ...]:
        return tuple(self._card["classes"])

    def default_augment(self) -> list[nn.Module]:
        return self._origin.default_augment()

    def contrastive_augment(self) -> nn.Module:
        """That of the data set that was poisoned."""
        return self._origin.contrastive_augment()

    def fingerprint(self) -> str:
        """Hash of all training images and given labels."""
        if not self._content:
            self.load(train=True)
        return self._content

    def listing(self) -> Listing:
        """The files with their given labels, as `list_images` gives those of any folder."""
        self._refuse_links(self._rows.file)
        files, label = self._test_files()
        parts = ((self._rows.file, self._rows.given), (files, label))
        made = (tuple(self._file(f, c) for f, c in zip(f, c.tolist(), strict=True)) for f, c in parts)
        return Listing(self.class_names(), *made)

    # --- the files, of which any may be made to do harm ---
    @cached_property
    def _card(self) -> dict[str, Any]:
        """attack.yaml, checked."""
        path = Path(self.root, "attack.yaml")
        if not path.is_file():
            raise ValueError(
                f"root: {self.root!r} has no attack.yaml, so it is not a folder that `cleanse poison` wrote, or it came"
                " without the answer key: use --config data/folder.yaml (ImageFolder) for its images alone"
            )
        try:
            if path.stat().st_size > _MOST_YAML:
                raise ValueError("too large")
            text = path.read_text(encoding="utf-8")
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
                raise ValueError("it has aliases")  # with which a small file could unfold into a huge one
            card = yaml.safe_load(text)
            wanted = {"class_path": str, "init_args": dict, "data": str, "classes": list}
            for key, kind in wanted.items():
                if not isinstance(card, dict) or not isinstance(card.get(key), kind):
                    raise ValueError(f"it needs {key}, a {kind.__name__}")
            names = card["classes"]
            if not all(isinstance(n, str) for n in names) or len(names) < 2 or folder_names(names) != tuple(names):
                raise ValueError("classes are at least two different names of folders")
            if not all(isinstance(key, str) for key in card["init_args"]):
                raise ValueError("init_args are arguments by name")
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            raise ValueError(f"{str(path)!r} is damaged: {' '.join(str(error).split())}") from error
        return card

    @cached_property
    def _origin(self) -> ImageDataModule:
        """The data set that was poisoned, for what it says about its images; its own files are not read."""
        found = self._class("data", self._card["data"], "cleanse.data", ImageDataModule)
        size = _png(self._inside(self._rows.file[0])).shape[1]
        known = {"root": ".", "size": size}
        return found(**{k: v for k, v in known.items() if k in inspect.signature(found).parameters})

    @cached_property
    def _rows(self) -> Rows:
        """rows.csv, checked."""
        path = Path(self.root, "rows.csv")
        if not path.is_file():
            raise ValueError(f"root: {self.root!r} has no rows.csv, the answer key: get it, or use ImageFolder")
        number = {name: i for i, name in enumerate(self.class_names())}
        files, columns = [], []
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                for row in csv.DictReader(file, strict=True):
                    if missing := [name for name in COLUMNS[:4] if row.get(name) is None]:
                        raise ValueError(f"it needs the column {missing[0]}")
                    parts = row["file"].split("/")
                    given, true = int(row["given_label"]), int(row["true_label"])
                    labelled = len(parts) == 3 and parts[0] == "train" and number.get(parts[1]) == given
                    withheld = len(parts) == 2 and parts[0] == "unlabeled" and given == -1
                    if not (labelled or withheld) or not _NAME.fullmatch(parts[-1]):
                        raise ValueError(f"{row['file']!r} cannot be the file of an image with the given label {given}")
                    if not 0 <= true < len(number) or row["role"] not in ROLES:
                        raise ValueError(f"{row['file']!r} has the true label {true} and the role {row['role']!r}")
                    files.append(row["file"])
                    columns.append((given, true, ROLES.index(row["role"])))
            if not files or len(set(files)) != len(files):
                raise ValueError("it names a file twice, or none at all")
        except (ValueError, OverflowError, csv.Error) as error:
            raise ValueError(f"{str(path)!r} is damaged: {error}") from error
        given_label, true_label, role = torch.tensor(columns).unbind(1)
        return Rows(tuple(files), given_label.clone(), true_label.clone(), role.to(torch.int8))

    def _test_files(self) -> tuple[list[str], Tensor]:
        """The test files in the order of their numbers, and their classes."""
        found: list[tuple[int, int, str]] = []
        for label, name in enumerate(self.class_names()):
            folder = Path(self.root, "test", name)
            if folder.is_dir():
                for entry in os.scandir(folder):
                    if _NAME.fullmatch(entry.name):  # no preview or other trace that a system leaves
                        found.append((int(entry.name[:-4]), label, f"test/{name}/{entry.name}"))
        if not found:
            raise ValueError(f"root: {self.root!r} has no test image in test/<class>: copy the folder again")
        found.sort()
        files = [file for _, _, file in found]
        self._refuse_links(files)
        return files, torch.tensor([label for _, label, _ in found])

    def _read_images(self, files: Sequence[str]) -> Tensor:
        """(N, C, H, W) uint8, exactly what is in the files."""
        self._refuse_links(files)
        first = _png(self._inside(self._rows.file[0]))
        try:
            pixels = np.empty((len(files), *first.shape), np.uint8)
        except (MemoryError, ValueError) as error:
            raise ValueError(f"root: {len(files)} images of {first.shape} do not fit into the memory") from error

        def work(file: str, i: int) -> None:
            pixels[i] = _png(self._inside(file), first.shape)

        in_blocks(partial(map, work), list(files), "reading images")
        return torch.from_numpy(pixels)

    def _refuse_links(self, files: Iterable[str]) -> None:
        """Raises: ValueError if a folder on the way to a file leads elsewhere. (`_png` looks at the file itself.)"""
        real = os.path.realpath(self.root)
        for folder in {os.path.dirname(file) for file in files}:
            if os.path.realpath(os.path.join(real, folder)) != os.path.join(real, *folder.split("/")):
                raise ValueError(f"root: {self._inside(folder)!r} is a link: a frozen data set has none; get it again")

    def _inside(self, file: str) -> str:
        return os.path.join(self.root, *file.split("/"))

    def _file(self, file: str, label: int) -> ImageFile:
        path = self._inside(file)
        try:
            status = os.lstat(path)
        except OSError as error:
            raise ValueError(f"root: {path!r} cannot be read ({error.strerror}): get it again") from error
        refused = "" if stat.S_ISREG(status.st_mode) else "not a regular file"
        return ImageFile(file, path, label, (status.st_size, status.st_mtime_ns), refused)

    def _thaw(self) -> Attack:
        """The attack of attack.yaml, with the buffers of trigger.pt."""
        card, path = self._card, Path(self.root, "trigger.pt")
        found = self._class("attack", card["class_path"], "cleanse.attacks", Attack)
        if not path.is_file():
            raise ValueError(f"root: {self.root!r} has no trigger.pt, the trigger's state: get it, or use ImageFolder")
        try:
            attack: Attack = found(**{name: _plain(value) for name, value in card["init_args"].items()})
            state = torch.load(path, map_location="cpu", weights_only=True)
            for value in state.values():  # a view of few numbers can claim to be a huge tensor
                if value.untyped_storage().nbytes() < value.numel() * value.element_size():
                    raise ValueError("a tensor is larger than its content")
            attack.load_state_dict(state)
            classes = range(len(card["classes"]))
            if attack.target not in classes or attack.source not in (None, *classes):
                raise ValueError(f"target {attack.target!r} and source {attack.source!r} are no classes of the set")
        except Exception as error:  # whatever the files hold, the answer is no
            why = " ".join(str(error).split())[:300] or type(error).__name__
            raise ValueError(f"root: the attack in {self.root!r} (attack.yaml, trigger.pt) cannot be made: {why}") from error
        return attack

    def _class(self, what: str, path: str, package: str, base: type[Any]) -> Any:
        """The class that attack.yaml names: one of the package's own, or any if the folder is trusted."""
        if not self.trust and not path.startswith(f"{package}."):
            raise ValueError(
                f"root: attack.yaml in {self.root!r} names the {what} class {path!r}, which is not part of cleanse, and"
                " loading it would run its code; if you trust the folder, set trust to true (--data.trust true)"
            )
        module, _, name = path.rpartition(".")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"root: attack.yaml in {self.root!r} names {path!r}, which is not there: {error}") from error
        ours = isinstance(found, type) and issubclass(found, base) and found not in (base, Frozen)
        if not ours or not (self.trust or found.__module__.startswith(f"{package}.")):
            raise ValueError(f"root: attack.yaml in {self.root!r} names {path!r}, which is no {what} class")
        return found


def freeze(data: ImageDataModule, out: str | Path) -> Path:
    """Write a poisoned data set as files that describe themselves; `Frozen` reads them.

    * ``train/<class>/<number>.png`` under the given label, the poison among them (``unlabeled/`` where the label is
      withheld), and ``test/<class>/<number>.png``: what a defender may have; `ImageFolder` reads it.
    * ``triggered/<true class>/<number>.png``: the test images that ASR is measured on, triggered.
    * ``rows.csv``, the answer key: file, given label, true label, role and the name in the original set, in the order
      of the original. ``attack.yaml``: class, arguments and seed of the attack, names of the classes in label order.
      ``trigger.pt``: the state of its buffers. ``README.md``: all this with the counts.
    * A class name that no folder can have (empty, hidden, with a slash, too long) becomes ``class-<number>``. Paths
      to files among the attack's arguments become names of files.

    Args:
        data: with an attack that has learnt what it needs.
        out: the folder to make; missing or empty.

    Returns:
        ``out``.

    Raises:
        ValueError: no attack, images that are not 8-bit grey levels or RGB, or a folder that is in use.
    """
    attack = data.attack
    if attack is None:
        raise ValueError("there is no attack to freeze: add --config attacks/badnets.yaml or another, after the data")
    if isinstance(data, Frozen):
        raise ValueError(f"{data.root!r} is a frozen data set already: copy its folder")
    check_target(out)
    train, test, triggered = data.training_view(), data.clean_test(), data.triggered_test()
    assert triggered is not None
    if train.channels not in (1, 3):
        raise ValueError(f"images have {train.channels} channels, but a PNG file keeps 1 (grey) or 3 (RGB) exactly")
    classes = folder_names(train.classes)
    measured = attack.measured(test.label).nonzero().flatten().tolist()
    width = len(str(max(len(train), len(test)) - 1))

    def folder(part: str, label: int) -> str:
        return f"{part}/{classes[label]}" if label >= 0 else "unlabeled"

    with new_folder(out) as aside:
        for part in ("train", "test", "triggered"):
            for name in classes:
                (aside / part / name).mkdir(parents=True)
        if (train.label < 0).any():
            (aside / "unlabeled").mkdir()
        names = [f"{folder('train', c)}/{i:0{width}}.png" for i, c in enumerate(train.label.tolist())]
        jobs = [(train, i, name) for i, name in enumerate(names)]
        jobs += [(test, i, f"{folder('test', c)}/{i:0{width}}.png") for i, c in enumerate(test.label.tolist())]
        jobs += [
            (triggered, k, f"{folder('triggered', c)}/{i:0{width}}.png")
            for k, (i, c) in enumerate(zip(measured, triggered.label.tolist(), strict=True))
        ]

        def work(job: tuple[ImageView, int, str], i: int) -> None:
            view, row, name = job
            save_png(view.images(torch.tensor(row)), aside / name)

        in_blocks(partial(map, work), jobs, "writing images")
        true, roles = data.truth.true_label.tolist(), [ROLES[r] for r in data.truth.role.tolist()]
        write_table(aside / "rows.csv", COLUMNS, zip(names, train.label.tolist(), true, roles, train.id, strict=True))
        torch.save({k: v.detach().cpu().clone() for k, v in attack.state_dict().items()}, aside / "trigger.pt")
        card = {
            "class_path": f"{type(attack).__module__}.{type(attack).__qualname__}",
            "init_args": {k: _shown(v) for k, v in attack.arguments.items()},
            "seed": data.seed or 0,
            "data": f"{type(data).__module__}.{type(data).__qualname__}",
            "classes": list(classes),
            "version": __version__,
        }
        text = "# Part of the answer: what poisoned this data set. `cleanse.data.Frozen` reads it.\n"
        (aside / "attack.yaml").write_text(text + yaml.safe_dump(card, sort_keys=False), encoding="ascii")
        (aside / "README.md").write_text(_readme(data, classes, len(test), len(triggered)), encoding="ascii")
    return Path(out)


# --- folders that are complete or not there, and what is in them ---
@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A folder to fill, ``<out>.part``, that is renamed to ``out`` when the block is over.

    An exception removes it. What a killed command has left is removed by the next one.

    Args:
        out: missing or empty.

    Raises:
        ValueError: ``out`` is not empty, or another command is writing it.
    """
    check_target(out)
    target = Path(os.path.realpath(out))
    part = target.with_name(f"{target.name}.part")
    mark = part / ".made-by-cleanse"
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{part.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"out: another command is writing {str(out)!r}: wait for it, or name another folder") from None
    try:
        if os.path.lexists(part):
            if part.is_symlink() or not mark.is_file():
                raise ValueError(f"out: {str(part)!r} is in the way: move it, or name another folder")
            shutil.rmtree(part)
        part.mkdir()
        try:
            mark.touch()
            yield part
            mark.unlink()
            if target.exists():
                target.rmdir()  # refuses a folder that has been filled in the meantime
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def check_target(out: str | Path) -> None:
    """Raises: ValueError if ``out`` is neither missing nor an empty folder."""
    if os.path.lexists(out) and not (os.path.isdir(out) and not os.listdir(out)):
        raise ValueError(f"out: {str(out)!r} is there already and not an empty folder: name a new one")


def folder_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as names of folders, no two alike; one that no folder can have becomes ``class-<number>``.

    >>> folder_names(["cat", "..", "a/b", "cat"])
    ('cat', 'class-1', 'class-2', 'class-3')
    """
    found: list[str] = []
    for number, name in enumerate(names):
        encoded = name.encode("utf-8", "surrogateescape")
        fits = 0 < len(encoded) < 256 and name[0] != "." and not set(name) & {"/", "\\", "\0"}
        new = name if fits and name not in found else f"class-{number}"
        while new in found:
            new += "-"
        found.append(new)
    return tuple(found)


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
        writer.writerows([_harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)


def in_blocks(work: Callable[..., Iterator[None]], items: Sequence[Item], title: str) -> None:
    """Call ``work(items, numbers)`` on parts of ``items`` in threads, with a progress bar if somebody can see it."""
    blocks = [(items[i : i + BLOCK], range(i, i + BLOCK)) for i in range(0, len(items), BLOCK)]

    def one(block: tuple[Sequence[Item], range]) -> int:
        return len(list(work(*block)))

    hidden = not sys.stderr.isatty()
    pool = ThreadPoolExecutor(min(32, os.cpu_count() or 1))  # Pillow compresses and decodes without the GIL
    try:
        with tqdm(total=len(items), desc=title, unit=" images", leave=False, disable=hidden, file=sys.stderr) as bar:
            for done in pool.map(one, blocks):
                bar.update(done)
    finally:
        pool.shutdown(cancel_futures=True)


def _png(path: str, shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """(1 or 3, H, W), exactly what is in a PNG file.

    Raises:
        ValueError: not an 8-bit PNG file in grey or RGB, or not of this shape.
    """
    from PIL import Image

    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ValueError("not a regular file")
        with Image.open(path, formats=["PNG"]) as file:
            if file.mode not in ("L", "RGB") or file.width * file.height > MAX_PIXELS:
                raise ValueError(f"{file.width} x {file.height} pixels of mode {file.mode}: not an image of a frozen set")
            found = (len(file.mode) if file.mode == "RGB" else 1, file.height, file.width)
            if shape is not None and found != shape:
                raise ValueError(f"its shape is {found}, and that of the first training image {shape}")
            pixels = np.asarray(file)
    except Exception as error:  # a damaged file makes Pillow raise about anything
        why = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise ValueError(f"root: {path!r} cannot be read ({why or type(error).__name__}): get it again") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _shown(value: Any) -> Any:
    """An argument of an attack as yaml holds it: plain, a list, or a description of anything else."""
    if isinstance(value, str):
        return os.path.basename(value) if os.path.isfile(value) else value  # nobody else's business
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return [_shown(v) for v in value] if isinstance(value, (list, tuple)) else {"description": describe(value)}


def _plain(value: Any) -> Any:
    """The inverse of `_shown`, but that a description stays one: an attack with a trigger trains nothing."""
    if isinstance(value, Mapping):
        return partial(_not_again, str(value))
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _not_again(what: str) -> NoReturn:
    raise ValueError(f"a frozen attack does not train again what made its trigger: {what}")


def _readme(data: ImageDataModule, classes: Sequence[str], tests: int, triggered: int) -> str:
    attack, view, truth = data.attack, data.training_view(), data.truth
    assert attack is not None
    head = "| label | class | given | true | " + " | ".join(ROLES) + " |\n|" + "---|" * (4 + len(ROLES))
    lines = []
    for c, name in enumerate(classes):
        mine = truth.true_label == c
        counts = [int((view.label == c).sum()), int(mine.sum()), *(int((mine & (truth.role == r)).sum()) for r in range(3))]
        lines.append(f"| {c} | {_markdown(name)} | " + " | ".join(map(str, counts)) + " |")
    table = "\n".join([head, *lines])
    source = "any class but the target" if attack.source is None else f"class {attack.source}"
    withheld = int((view.label < 0).sum())
    note = f" {withheld} labels are withheld: those images are in `unlabeled/`." if withheld else ""
    roles = ", ".join(f"{truth.count(r)} {name}" for r, name in enumerate(ROLES))
    return f"""\
# A poisoned image data set, frozen

Written by cleanse {__version__}. **Do not train anything on it that somebody will use**: it carries a backdoor on purpose.

* Images: {type(data).__name__}, {view.size[0]} x {view.size[1]} pixels, {"grey levels" if view.channels == 1 else "RGB"}, as 8-bit PNG without loss.
* Attack: {type(attack).__name__}, {source} to class {attack.target}, seed {data.seed or 0}.
* {len(view)} training images: {roles}.{note}
* {tests} test images; {triggered} of them triggered, to measure the attack success rate on.

## Files

| file | what | |
|---|---|---|
| `train/<class>/` | training images under the label that they are given, poison included | for the defender |
| `test/<class>/` | test images, clean | for the defender |
| `triggered/<true class>/` | the test images with the trigger; a file has its number in `test/` | **answer** |
| `rows.csv` | **the answer key**: of each training image file, given label, true label (numbers, -1: withheld), role, and its name in the original set | **answer** |
| `attack.yaml` | class, arguments and seed of the attack; the classes in label order | **answer** |
| `trigger.pt` | state of the trigger: `torch.load("trigger.pt", weights_only=True)` | **answer** |
| `README.md` | this file | **answer** |

To test a defender who must not know, hand over `train` and `test` only.

## Load it again

Everything, bit for bit, with the attack success rate measured:

    cleanse fit --config ispl.yaml --config data/frozen.yaml --data.root THIS_FOLDER

or in Python `cleanse.data.Frozen("THIS_FOLDER")`. As a folder of images of which nothing is known:

    cleanse fit --config ispl.yaml --config data/folder.yaml --data.size {view.size[0]} --data.root THIS_FOLDER

## Training images per class

{table}

given: with this label in `train`; true: of this class before the attack, by role.
"""


def _markdown(name: str) -> str:
    """A name that is text and nothing else in Markdown and in HTML."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", ascii(name)[1:-1]).replace("\\&", html.escape("&")).replace("\\<", "&lt;")
