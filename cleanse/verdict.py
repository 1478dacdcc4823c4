"""The verdict: which images to train on, with which label; what every defense says in the end."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor

from cleanse.utils.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd

Action = Literal["keep", "relabel", "drop"]
ACTIONS: tuple[Action, ...] = ("keep", "relabel", "drop")
KEEP, RELABEL, DROP = 0, 1, 2
UNUSABLE = 0.5
"""With a larger share of flagged images, a verdict is not to be used at all. A convention."""
LOST = 10
"""A class is nearly lost with a tenth of its images or fewer. A convention."""
MOST_CLASSES = 1_000_000
"""Class numbers in a file are below it: a larger one is damage, and a list of so many names would fill the memory."""

_COLUMNS = ("id", "label", "action", "new_label", "score", "reason")
_RISKY = (*"=+-@\uff1d\uff0b\uff0d\uff20\t\r\n'",)  # \uff..: the full-width forms of the first four


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """One row per training image. Columns are copied, checked and held on the CPU.

    Attributes:
        id: a file path relative to the data set's root, or an index as text; no two alike.
        label: (n,) int64, as given; -1 where it is withheld.
        action: (n,) int8, an index into ``ACTIONS``.
        new_label: (n,) int64, what to train with: the given label for keep, another one for relabel, -1 for drop.
        score: (n,) float32, higher is more suspicious; never NaN.
        reason: short, may be empty.

    Raises:
        ValueError: columns of different lengths or kinds, two equal ids, a label below -1, an action that
            contradicts the labels (such as a relabel that changes nothing), or a NaN score.

    >>> verdict = Verdict.keep_mask(["0", "1", "2"], torch.tensor([4, 4, 7]), torch.tensor([True, False, True]))
    >>> verdict
    Verdict(3 images: 2 kept, 0 relabeled, 1 dropped)
    >>> verdict.new_label.tolist()
    [4, -1, 7]
    """

    id: tuple[str, ...]
    label: Tensor
    action: Tensor
    new_label: Tensor
    score: Tensor
    reason: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("id", "reason"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        n = len(self.id)
        for name in ("label", "action", "new_label", "score"):
            object.__setattr__(self, name, _column(name, getattr(self, name), n))
        if len(self.reason) != n:
            raise ValueError(f"reason has {len(self.reason)} rows, id has {n}: give one for each image")
        if len(set(self.id)) != n:
            twice = Counter(self.id).most_common(1)[0][0]
            raise ValueError(f"id {twice!r} occurs twice: every image has its own")
        changed = self.new_label != self.label
        self._refuse(self.label < -1, "a label is a class, 0 or more, or -1 where it is withheld")
        self._refuse((self.action < KEEP) | (self.action > DROP), "an action is 0 (keep), 1 (relabel) or 2 (drop)")
        self._refuse(self.kept & changed, "keep leaves the label as it is: new_label must equal label")
        self._refuse(self.relabeled & ~changed, "relabel must change the label: use keep where it stays")
        self._refuse(self.relabeled & (self.new_label < 0), "relabel needs a class, 0 or more: use drop for none")
        self._refuse(self.dropped & (self.new_label != -1), "drop has no label: new_label must be -1")
        self._refuse(self.score.isnan(), "a score cannot be NaN: give every image a number")
        object.__setattr__(self, "action", self.action.to(torch.int8))

    @classmethod
    def keep_all(cls, id: Sequence[str], label: Tensor) -> Self:
        """The verdict of no defense: every image stays as it is, with score 0.

        Args:
            id: n texts.
            label: (n,) int64, as given.
        """
        return cls.keep_mask(id, label, torch.ones(len(id), dtype=torch.bool))

    @classmethod
    def keep_mask(
        cls,
        id: Sequence[str],
        label: Tensor,
        keep: Tensor,
        score: Tensor | None = None,
        reason: str | Sequence[str] = "",
    ) -> Self:
        """The verdict of a filter: keep some images as they are and drop the others.

        Args:
            id: n texts.
            label: (n,) int64, as given.
            keep: (n,) bool.
            score: (n,) float, higher is more suspicious; None for 1 where dropped and 0 elsewhere.
            reason: one for each image, or one for all that are dropped.

        Raises:
            ValueError: as for the class.
        """
        return cls.from_labels(id, label, label, ~_column("keep", keep, len(id)).bool(), score, reason)

    @classmethod
    def from_labels(
        cls,
        id: Sequence[str],
        label: Tensor,
        new_label: Tensor,
        drop: Tensor | None = None,
        score: Tensor | None = None,
        reason: str | Sequence[str] = "",
    ) -> Self:
        """The verdict of a relabeler: drop some images, and keep or relabel the others by whether the label changes.

        Args:
            id: n texts.
            label: (n,) int64, as given.
            new_label: (n,) int64; ignored where ``drop``.
            drop: (n,) bool; None for nowhere.
            score: (n,) float, higher is more suspicious; None for 1 where not kept and 0 elsewhere.
            reason: one for each image, or one for all that are not kept.

        Raises:
            ValueError: as for the class.

        >>> label, new_label = torch.tensor([1, 1, 1]), torch.tensor([1, 2, 2])
        >>> Verdict.from_labels("abc", label, new_label, drop=torch.tensor([False, False, True])).action.tolist()
        [0, 1, 2]
        """
        n = len(id)
        label, new_label = _column("label", label, n), _column("new_label", new_label, n)
        dropped = torch.zeros(n, dtype=torch.bool) if drop is None else _column("drop", drop, n).bool()
        action = torch.where(dropped, DROP, torch.where(new_label != label, RELABEL, KEEP))
        if score is None:
            score = (action != KEEP).float()
        if isinstance(reason, str):
            reason = tuple(reason if a != KEEP else "" for a in action.tolist()) if reason else ("",) * n
        return cls(tuple(id), label, action, torch.where(dropped, -1, new_label), score, tuple(reason))

    @classmethod
    def of_labeled(
        cls,
        id: Sequence[str],
        label: Tensor,
        judged: Tensor,
        new_label: Tensor,
        score: Tensor,
        reason: Sequence[str],
    ) -> Self:
        """The verdict of a recipe that judges the labeled images only: the others are dropped, with "no label".

        Args:
            id: n texts.
            label: (n,) int64, as given; -1 where there is none.
            judged: (n,) bool, the m images that the other columns are about.
            new_label: (m,) int64; -1 drops.
            score: (m,) float, higher is more suspicious.
            reason: one for each judged image.

        Raises:
            ValueError: as for the class.

        >>> judged = torch.tensor([True, False, True])
        >>> columns = torch.tensor([1, 0]), torch.tensor([0.0, 2.0]), ("", "looks like 0")
        >>> Verdict.of_labeled("abc", torch.tensor([1, -1, 1]), judged, *columns).reason
        ('', 'no label', 'looks like 0')
        """
        everywhere, scores = torch.full_like(label, -1), torch.zeros(len(label))
        everywhere[judged], scores[judged] = new_label, score.float()
        reasons = ["no label"] * len(label)
        for row, why in zip(judged.nonzero().flatten().tolist(), reason, strict=True):
            reasons[row] = why
        return cls.from_labels(id, label, everywhere, everywhere < 0, scores, reasons)

    def with_dropped(self, rows: Iterable[tuple[str, int, str]], prefix: str = "") -> Self:
        """The same with more images at the end, dropped with score 0: files that could not be read.

        Args:
            rows: (id, label, reason) of each.
            prefix: before every reason.

        Raises:
            ValueError: an id that the verdict has already.
        """
        more = list(rows)
        label, nothing = torch.tensor([row[1] for row in more], dtype=torch.int64), torch.full((len(more),), -1)
        return type(self)(
            self.id + tuple(row[0] for row in more),
            torch.cat([self.label, label]),
            torch.cat([self.action, torch.full((len(more),), DROP, dtype=torch.int8)]),
            torch.cat([self.new_label, nothing]),
            torch.cat([self.score, torch.zeros(len(more))]),
            self.reason + tuple(prefix + row[2] for row in more),
        )

    def drop_relabeled(self) -> Self:
        """The same with every relabeled image dropped, since whatever was put on it is still there.

        >>> label, action, new = torch.tensor([[0, 0], [KEEP, RELABEL], [0, 1]])
        >>> Verdict(("a", "b"), label, action.to(torch.int8), new, torch.zeros(2), ("", "")).drop_relabeled()
        Verdict(2 images: 1 kept, 0 relabeled, 1 dropped)
        """
        moved = self.relabeled
        why = "(relabeled images are left out)"
        return type(self)(
            self.id,
            self.label,
            torch.where(moved, torch.full_like(self.action, DROP), self.action),
            torch.where(moved, torch.full_like(self.new_label, -1), self.new_label),
            self.score,
            tuple(
                f"{text} {why}".strip() if out else text for text, out in zip(self.reason, moved.tolist(), strict=True)
            ),
        )

    def __len__(self) -> int:
        return len(self.id)

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts().items())
        return f"{type(self).__name__}({len(self)} images: {counts})"

    @property
    def kept(self) -> Tensor:
        """(n,) bool: used with the given label."""
        return self.action == KEEP

    @property
    def relabeled(self) -> Tensor:
        """(n,) bool: used with another label."""
        return self.action == RELABEL

    @property
    def dropped(self) -> Tensor:
        """(n,) bool: not used."""
        return self.action == DROP

    def counts(self) -> dict[str, int]:
        """How many images are kept, relabeled and dropped."""
        masks = {"kept": self.kept, "relabeled": self.relabeled, "dropped": self.dropped}
        return {name: int(mask.sum()) for name, mask in masks.items()}

    def lost_classes(self, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
        """The classes that it takes away, or leaves a single image of or no more than a tenth of theirs (D86).

        A class of a single image that is kept is not lost by the verdict.

        Args:
            num_classes: C, more than every label.

        Returns:
            (C,) bool; (C,) int64 images of each class as given, and as left, those included that are relabeled to it.
        """
        given = self.label[self.label >= 0].bincount(minlength=num_classes)
        left = self.new_label[self.new_label >= 0].bincount(minlength=num_classes)
        return (left < given) & ((left < 2) | (LOST * left <= given)), given, left

    def hash(self) -> str:
        """A short hash of what to train on: labels and actions, but not ids, scores and reasons.

        The same on every machine. Two verdicts with the same hash lead to the same training.

        >>> Verdict.keep_all(["a"], torch.tensor([0])).hash() == Verdict.keep_all(["b"], torch.tensor([0])).hash()
        True
        """
        digest = hashlib.sha256(str(len(self)).encode())
        for column in (self.label, self.action.long(), self.new_label):
            digest.update(column.numpy().astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    def to_frame(self, classes: Sequence[str] = ()) -> "pd.DataFrame":
        """A pandas table with the columns of the class, ``action`` as a categorical.

        Args:
            classes: class names; with them come ``label_name`` and ``new_label_name`` (empty for -1).

        Raises:
            ValueError: fewer names than classes.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "id": pd.Series(self.id, dtype=object),  # object: a name that is not UTF-8 has no place in Arrow's text
            "label": self.label.numpy(),
            "action": pd.Categorical.from_codes(self.action.numpy(), categories=pd.Index(ACTIONS)),
            "new_label": self.new_label.numpy(),
            "score": self.score.numpy(),
            "reason": pd.Series(self.reason, dtype=object),
        }
        names = {name: pd.Series(values, dtype=object) for name, values in self._names(classes).items()}
        return pd.DataFrame({**columns, **names}, copy=True)

    def save(self, directory: str | Path, classes: Sequence[str] = ()) -> Path:
        """Write ``verdict.parquet`` and ``verdict.csv``, each aside first and then renamed.

        Parquet holds every text as it is. A column with a file name that is not UTF-8 becomes one of bytes, the
        names as they are on disk.

        A spreadsheet runs a cell that begins like a formula, and whoever names a file or a class folder could use
        that. So in the CSV file every text that begins with one of ``= + - @`` (or their full-width forms), a tab, a
        line end or an apostrophe gets an apostrophe in front, and all texts are in quotes. Programs should
        read the Parquet file. The CSV file is in UTF-8, but for the bytes of names that are not.

        Args:
            directory: made if it is not there.
            classes: class names; with them come ``label_name`` and ``new_label_name`` (empty for -1).

        Returns:
            The path of the Parquet file.

        Raises:
            ValueError: fewer names than classes.
        """
        directory, names = Path(directory), self._names(classes)
        directory.mkdir(parents=True, exist_ok=True)
        with atomic_write(directory / "verdict.csv", "w", errors="surrogateescape", newline="") as text:
            self._write_csv(text, names)
        with atomic_write(directory / "verdict.parquet", "wb") as table:
            self._write_parquet(table, names)
        return directory / "verdict.parquet"

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a verdict back.

        Args:
            path: a ``.parquet`` file, or the directory that holds ``verdict.parquet``. The CSV file beside it is for
                people.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a verdict, or a damaged one.
        """
        path = _verdict_file(path)
        try:
            columns = _read_parquet(path, _COLUMNS)
            unknown = set(_texts("action", columns["action"])) - set(ACTIONS)
            if unknown:
                raise ValueError(f"action is one of {', '.join(ACTIONS)}, not {unknown.pop()!r}")
            code = {name: i for i, name in enumerate(ACTIONS)}
            return cls(
                tuple(columns["id"]),
                _numbers("label", columns["label"], int),
                torch.tensor([code[name] for name in columns["action"]], dtype=torch.int8),
                _numbers("new_label", columns["new_label"], int),
                _numbers("score", columns["score"], float),
                tuple(columns["reason"]),
            )
        except ValueError as error:
            raise ValueError(f"{path} is damaged or not a verdict: {error}") from error

    @staticmethod
    def load_classes(path: str | Path) -> tuple[str, ...]:
        """The class names that a verdict was saved with; of a class that it does not speak of, its number.

        Args:
            path: as for `load`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not a verdict, or a damaged one.
        """
        path = _verdict_file(path)
        try:
            columns = _read_parquet(path, ("label", "new_label"), ("label_name", "new_label_name"))
            codes = [_numbers(name, columns[name], int).tolist() for name in ("label", "new_label")]
            most = max([*codes[0], *codes[1]], default=-1)
            if most >= MOST_CLASSES:
                raise ValueError(f"it speaks of class {most}, and there are at most {MOST_CLASSES:,}")
            names = [str(c) for c in range(most + 1)]
            for of, given in zip(codes, ("label_name", "new_label_name"), strict=True):
                if given in columns:
                    for c, text in set(zip(of, _texts(given, columns[given]), strict=True)):
                        if c >= 0:
                            names[c] = text
        except ValueError as error:
            raise ValueError(f"{path} is damaged or not a verdict: {error}") from error
        return tuple(names)

    def _refuse(self, wrong: Tensor, why: str) -> None:
        if wrong.any():
            row, n = int(wrong.int().argmax()), int(wrong.sum())
            raise ValueError(f"{why} (wrong in {n} of {len(self)} rows, first in row {row}: {self.id[row]!r})")

    def _names(self, classes: Sequence[str]) -> dict[str, list[str]]:
        if not classes:
            return {}
        most = max(int(self.label.max()), int(self.new_label.max())) if len(self) else -1
        if most >= len(classes):
            raise ValueError(f"classes has {len(classes)} names, but the verdict speaks of class {most}")
        names = [*classes, ""]  # the last one, at index -1, stands for no label
        return {
            "label_name": [names[i] for i in self.label.tolist()],
            "new_label_name": [names[i] for i in self.new_label.tolist()],
        }

    def _write_csv(self, file: IO[str], names: dict[str, list[str]]) -> None:
        columns: list[Iterable[Any]] = [
            map(harmless, self.id),
            self.label.tolist(),
            (ACTIONS[a] for a in self.action.tolist()),
            self.new_label.tolist(),
            map(float, self.score.numpy().astype(str)),  # the shortest text that means this float32
            map(harmless, self.reason),
            *(map(harmless, values) for values in names.values()),
        ]
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow([*_COLUMNS, *names])
        writer.writerows(zip(*columns, strict=True))

    def _write_parquet(self, file: IO[bytes], names: dict[str, list[str]]) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]

        def text(values: Sequence[str]) -> Any:
            try:
                return pa.array(values, pa.string())
            except UnicodeEncodeError:
                return pa.array([value.encode("utf-8", "surrogateescape") for value in values], pa.binary())

        columns = {
            "id": text(self.id),
            "label": pa.array(self.label.numpy()),
            "action": pa.DictionaryArray.from_arrays(pa.array(self.action.numpy()), pa.array(ACTIONS)),
            "new_label": pa.array(self.new_label.numpy()),
            "score": pa.array(self.score.numpy()),
            "reason": text(self.reason),
            **{name: text(values) for name, values in names.items()},
        }
        pyarrow.parquet.write_table(pa.table(columns), file)


def _texts(name: str, values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{name} holds texts, not {type(value).__name__}: {value!r}")
        if not value.isascii():
            try:  # what Python makes of any file name passes; other halves of surrogate pairs could not be written
                lasting = value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == value
            except UnicodeEncodeError:
                lasting = False
            if not lasting:
                raise ValueError(f"{name} {value!r} is no text that a file could hold: it has half a surrogate pair")
    return tuple(values)


def _column(name: str, values: Tensor, n: int) -> Tensor:
    """A checked copy on the CPU: float32 for the score, int64 for all else."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} is a tensor, not {type(values).__name__}")
    if tuple(values.shape) != (n,):
        raise ValueError(f"{name} has the shape {tuple(values.shape)}, but there are {n} ids: it must be ({n},)")
    if name != "score" and values.is_floating_point():
        raise ValueError(f"{name} holds whole numbers, not {values.dtype}")
    return values.detach().to("cpu", torch.float32 if name == "score" else torch.int64, copy=True)


def _numbers(name: str, values: list[Any], kind: type[int] | type[float]) -> Tensor:
    for row, value in enumerate(values):
        if not isinstance(value, kind):
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"{name} is {what}, not {value!r} (row {row})")
    try:
        return torch.tensor(values, dtype=torch.int64 if kind is int else torch.float32)
    except (RuntimeError, OverflowError, ValueError) as error:
        raise ValueError(f"{name} holds a number that is too large") from error


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(_RISKY) else text


def _verdict_file(path: str | Path) -> Path:
    """The Parquet file that is meant."""
    path = Path(path)
    if path.is_dir():
        path = path / "verdict.parquet"
    if path.suffix != ".parquet":
        raise ValueError(f"a verdict is read from its .parquet file, not from {path}: a .csv file is for people")
    if not path.is_file():
        raise FileNotFoundError(f"there is no verdict at {path}")
    return path


def _read_parquet(path: Path, needed: Sequence[str], more: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Some columns by name; of ``more`` those that there are."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with path.open("rb") as file:  # by its file object: a path may hold what Arrow's text cannot
            parquet = pyarrow.parquet.ParquetFile(file)
            there = parquet.schema_arrow.names
            _check_header(there, needed)
            names = [*needed, *(name for name in more if name in there)]
            table = parquet.read(columns=names)
            columns = {name: table[name].to_pylist() for name in names}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"its table cannot be read ({error})") from error
    return {name: [_text(v) if isinstance(v, bytes) else v for v in values] for name, values in columns.items()}


def _text(name: bytes) -> str:
    """A file name that is not UTF-8, as Python has it."""
    return name.decode("utf-8", "surrogateescape")


def _check_header(names: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing or len(set(names)) != len(names):
        raise ValueError(f"its columns are {', '.join(names) or 'none'}; it needs each of {', '.join(needed)} once")
