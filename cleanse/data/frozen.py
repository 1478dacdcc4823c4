"""A poisoned data set as files that describe themselves: written once, exchanged, and loaded again bit for bit."""

import csv
import hashlib
import inspect
import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from cleanse.attacks.base import ROLES, Attack
from cleanse.data.base import ImageDataModule, Images, Truth, no_trigger
from cleanse.data.decode import BLOCK, MAX_PIXELS
from cleanse.data.folder_reader import ImageFile
from cleanse.data.from_dataset import FromDataset
from cleanse.data.image_folder import ImageFolder
from cleanse.data.listing import Listing
from cleanse.engine.fingerprint import hash_of
from cleanse.views import ImageView

log = logging.getLogger("cleanse")

Item = TypeVar("Item")
COLUMNS = ("file", "given_label", "true_label", "role", "original", "trigger")
_NAME = re.compile(r"[0-9]{1,12}\.png")
_MOST_YAML = 300_000  # bytes; ten thousand class names
_DEEPEST_YAML = 50  # levels; yaml's reader takes minutes for thousands


@dataclass(frozen=True)
class Rows:
    """rows.csv, checked.

    Attributes:
        file: of each training image, relative to the root.
        given: (N,) int64, -1 where the label is withheld.
        true: (N,) int64.
        role: (N,) int8.
        trigger: (N,) int8, number of each image's trigger from 0, -1 for none.
    """

    file: tuple[str, ...]
    given: Tensor
    true: Tensor
    role: Tensor
    trigger: Tensor


class Frozen(ImageDataModule):
    """A poisoned data set that ``cleanse poison`` wrote: the same images, labels, roles and trigger, bit for bit.

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
        self._attack: Attack | None = None
        super().__init__(
            batch_size=batch_size, augment=augment, limit_train=limit_train, limit_test=limit_test, seed=seed
        )
        self.root, self.trust = os.path.expanduser(root), trust
        self._content = ""
        self._triggered: dict[int, ImageView] = {}

    @property
    def attack(self) -> Attack | None:
        """The attack that poisoned the set, with its trigger; read from the files when it is first asked for."""
        if self._attack is None:
            self._attack = self._read_attack()
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
        self.truth, self.unreadable = Truth(clean.label, rows.role[chosen], rows.trigger[chosen]), clean.unreadable
        self._transparent = ()
        self._train = self._view(replace(clean, label=rows.given[chosen]), self.attack)
        self._read = None
        self._test = None

    def _triggered_with(self, number: int) -> ImageView:
        """The triggered test images as they are in the files, with their true labels."""
        if number in self._triggered:
            return self._triggered[number]
        clean, attack = self.clean_test(), self.attack
        assert attack is not None
        assert clean is not None
        part = attack.parts[number]
        rows = part.measured(clean.label).nonzero().flatten()
        if not len(rows):
            raise ValueError(no_trigger(part, self.classes))
        folder = triggered_folder(number)
        files = [clean.source.id[i].replace("test/", f"{folder}/", 1) for i in rows.tolist()]
        self._triggered[number] = self._test_view(self._read_images(files), clean.label[rows], tuple(files))
        return self._triggered[number]

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
        train = self._files(self._rows.file, self._rows.given)
        return Listing(self.class_names(), train, self._files(files, label), "the folder test")

    def _files(self, names: Sequence[str], label: Tensor) -> tuple[ImageFile, ...]:
        return tuple(self._file(name, c) for name, c in zip(names, label.tolist(), strict=True))

    # --- the files, of which any may be made to do harm ---
    def _answer(self, name: str) -> Path:
        """One of the three files with the answer."""
        path = Path(self.root, name)
        if path.is_symlink() or not path.is_file():
            raise ValueError(
                f"root: {self.root!r} has no file {name}, so it is not a folder that `cleanse poison` wrote, or it came"
                " without the answer key: use --config data/folder.yaml (ImageFolder) for its images alone"
            )
        return path

    @cached_property
    def _card(self) -> dict[str, Any]:
        """attack.yaml, checked."""
        path = self._answer("attack.yaml")
        try:
            if path.stat().st_size > _MOST_YAML:
                raise ValueError("too large")
            text = path.read_text(encoding="utf-8")
            depth = 0
            for event in yaml.parse(text):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if (
                    isinstance(event, yaml.AliasEvent) or depth > _DEEPEST_YAML
                ):  # a small file that unfolds into a huge one
                    raise ValueError("it has aliases or too many levels")
            card: Any = yaml.safe_load(text)
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
        return dict(card)

    def _check_digest(self, path: Path) -> None:
        """Raises: ValueError if a file is readable, but not the one that was written (older sets do not say)."""
        written = self._card.get("sha256")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if isinstance(written, dict) and written.get(path.name, found) != found:
            raise ValueError(f"{str(path)!r} is not what attack.yaml says was written (sha256): get it again")

    @cached_property
    def _origin(self) -> ImageDataModule:
        """The data set that was poisoned, for what it says about its images; its own files are not read."""
        found = self._class("data", self._card["data"], "cleanse.data", ImageDataModule)
        if found is FromDataset:  # which cannot be made again without its images; it says the same of them
            found = ImageFolder
        known = {"root": ".", "size": self._shape[1]}
        made: ImageDataModule = found(**{k: v for k, v in known.items() if k in inspect.signature(found).parameters})
        return made

    @cached_property
    def _rows(self) -> Rows:
        """rows.csv, checked."""
        path = self._answer("rows.csv")
        number = {name: i for i, name in enumerate(self.class_names())}
        files, columns = [], []
        try:
            with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                for row in csv.DictReader(file, strict=True):
                    if missing := [name for name in COLUMNS[:4] if row.get(name) is None]:
                        raise ValueError(f"it needs the column {missing[0]}")
                    parts = row["file"].split("/")
                    given, true = int(row["given_label"]), int(row["true_label"])
                    labeled = len(parts) == 3 and parts[0] == "train" and number.get(parts[1]) == given
                    withheld = len(parts) == 2 and parts[0] == "unlabeled" and given == -1
                    if not (labeled or withheld) or not _NAME.fullmatch(parts[-1]):
                        raise ValueError(f"{row['file']!r} cannot be the file of an image with the given label {given}")
                    if not 0 <= true < len(number) or row["role"] not in ROLES:
                        raise ValueError(f"{row['file']!r} has the true label {true} and the role {row['role']!r}")
                    role = ROLES.index(row["role"])
                    trigger = int(row.get("trigger") or 1) if role else 0  # older sets have one trigger, unnamed
                    if role and not 1 <= trigger <= 127:
                        raise ValueError(f"{row['file']!r} has the role {row['role']!r} and the trigger {trigger}")
                    files.append(row["file"])
                    columns.append((given, true, role, trigger - 1))
            if not files or len(set(files)) != len(files):
                raise ValueError("it names a file twice, or none at all")
        except (ValueError, OverflowError, csv.Error) as error:
            raise ValueError(f"{str(path)!r} is damaged: {error}") from error
        self._check_digest(path)
        given_label, true_label, roles, numbers = torch.tensor(columns).unbind(1)
        return Rows(tuple(files), given_label.clone(), true_label.clone(), roles.to(torch.int8), numbers.to(torch.int8))

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """(C, H, W) of the first training image, which all others must have."""
        self._refuse_links(self._rows.file)
        return _png(self._inside(self._rows.file[0])).shape

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
        shape = self._shape
        try:
            pixels = np.empty((len(files), *shape), np.uint8)
        except (MemoryError, ValueError) as error:
            raise ValueError(f"root: {len(files)} images of {shape} do not fit into the memory") from error

        def work(file: str, i: int) -> None:
            pixels[i] = _png(self._inside(file), shape)

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

    def _read_attack(self) -> Attack:
        """The attack of attack.yaml, with the buffers of trigger.pt."""
        card, path = self._card, self._answer("trigger.pt")
        found = self._class("attack", card["class_path"], "cleanse.attacks", Attack)
        try:
            attack: Attack = found(**self._arguments(card["init_args"]))
            state = torch.load(path, map_location="cpu", weights_only=True)
            for value in state.values():  # a view of few numbers can claim to be a huge tensor
                if value.untyped_storage().nbytes() < value.numel() * value.element_size():
                    raise ValueError("a tensor is larger than its content")
            attack.load_state_dict(state)
            classes = range(len(card["classes"]))
            for part in attack.parts:
                if part.target not in classes or part.source not in (None, *classes):
                    raise ValueError(f"target {part.target!r} and source {part.source!r} are no classes of the set")
            self._check_digest(path)
        except Exception as error:  # whatever the files hold, the answer is no
            why = " ".join(str(error).split())[:300] or type(error).__name__
            raise ValueError(
                f"root: the attack in {self.root!r} (attack.yaml, trigger.pt) cannot be made: {why}"
            ) from error
        return attack

    def _arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of attack.yaml; what was an object once is a description now, and stays one."""
        return {name: self._argument(value) for name, value in given.items()}

    def _argument(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._member(v) for v in value]
        return partial(_not_again, str(value)) if isinstance(value, Mapping) else value

    def _member(self, value: Any) -> Any:
        """A member of a list: one of the attacks that an attack is made of, or a plain value."""
        if isinstance(value, Mapping) and isinstance(given := value.get("init_args"), Mapping):
            found = self._class("attack", str(value.get("class_path")), "cleanse.attacks", Attack)
            return found(**self._arguments(given))
        return self._argument(value)

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
            raise ValueError(
                f"root: attack.yaml in {self.root!r} names {path!r}, which is not there: {error}"
            ) from error
        ours = isinstance(found, type) and issubclass(found, base) and found not in (base, Frozen)
        if not ours or not (self.trust or found.__module__.startswith(f"{package}.")):
            raise ValueError(f"root: attack.yaml in {self.root!r} names {path!r}, which is no {what} class")
        return found


def triggered_folder(number: int) -> str:
    """Where the test images with a trigger are; the number counts from 0.

    >>> triggered_folder(0), triggered_folder(1)
    ('triggered', 'triggered-2')
    """
    return f"triggered-{number + 1}" if number else "triggered"


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
        ValueError: not an 8-bit PNG file in gray or RGB, or not of this shape.
    """
    from PIL import Image

    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ValueError("not a regular file")
        with Image.open(path, formats=["PNG"]) as file:
            if file.mode not in ("L", "RGB") or file.width * file.height > MAX_PIXELS:
                raise ValueError(
                    f"{file.width} x {file.height} pixels of mode {file.mode}: not an image of a frozen set"
                )
            found = (len(file.mode) if file.mode == "RGB" else 1, file.height, file.width)
            if shape is not None and found != shape:
                raise ValueError(f"its shape is {found}, and that of the first training image {shape}")
            pixels = np.asarray(file)
    except Exception as error:  # a damaged file makes Pillow raise about anything
        why = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise ValueError(f"root: {path!r} cannot be read ({why or type(error).__name__}): get it again") from error
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _not_again(what: str) -> NoReturn:
    raise ValueError(f"a frozen attack does not train again what made its trigger: {what}")
