"""Labels in a table beside the images: CSV, TSV, JSON lines or Parquet."""

import csv
import io
import json
import math
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cleanse.data.split_names import Part, part_of

FILE_COLUMNS = (
    *("filename", "file", "filepath", "filenames", "path", "imagepath", "imgpath", "imagefile", "imagefilename"),
    *("imagename", "imgname", "fname", "image", "img", "imageid", "imgid", "picture", "photo", "photoid", "name"),
    *("id", "idcode", "uuid", "images", "index"),
)
LABEL_COLUMNS = (
    *("labelname", "classname", "categoryname", "label", "labels", "class", "classlabel", "category", "target"),
    *("species", "breed", "diagnosis", "dx", "groundtruth", "tag", "tags", "type", "y", "grade", "level"),
    *("labelid", "classid", "categoryid", "classidx"),
)
MISSING = frozenset(("", "nan", "<na>", "#n/a", "#na", "null", "nat"))
"""Lower-case words for a label that is none (D360); ``None`` and ``NA`` may be classes."""
PART_COLUMNS = ("split", "set", "subset", "partition", "usage", "phase", "datasplit", "fold")
FLAG_COLUMNS: dict[str, Part] = {
    **dict.fromkeys(("isvalid", "isval", "isvalidation"), "val"),
    **dict.fromkeys(("istest", "istesting"), "test"),
    **dict.fromkeys(("istrain", "istraining"), "train"),
}
_FLAGS: dict[str, Part] = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
"""Columns of truth values that mean a part where another column has the labels: a class may have such a name."""
MOST_BYTES = 2**30


@dataclass(frozen=True)
class Row:
    """One image of a table.

    Attributes:
        names: what may name its file, column by column, the likeliest first.
        label: name of its class; empty where there is none.
        part: which part it belongs to; None where the table does not say.
    """

    names: tuple[str, ...]
    label: str
    part: Part | None


@dataclass(frozen=True)
class LabelTable:
    """A table that was read, and which of its columns was taken for what."""

    path: str
    rows: tuple[Row, ...]
    file_columns: tuple[str, ...]
    label_column: str
    not_understood: str = ""
    """The column that is called like one with the parts of the data, but names none."""


def read_labels(path: str, file_column: str | None = None, label_column: str | None = None) -> LabelTable:
    """The rows of a table.

    The column with the file and the one with the label are found by their names, as Hugging Face's image folders
    (``file_name``, ``label``), Kaggle (``id``, ``label``) and others write them; a table with one column of 0 and 1
    for each class is understood too. A CSV file may have commas, semicolons, tabs, bars or, as lists of images often
    have, spaces. Whole numbers are the same class however they are written (``1`` and ``1.0``).

    Args:
        path: of the file.
        file_column: name of the column with the image's file, or its name without extension; None to find it.
        label_column: name of the column with the class; None to find it.

    Raises:
        ValueError: not a table, a column that is missing or cannot be found, or labels that are fractions.
    """
    columns, values = _read(path)
    if not values:
        raise ValueError(f"labels: {path!r} has no row")
    plain = {column: _plain(column) for column in columns}
    for argument, name in (("file_column", file_column), ("label_column", label_column)):
        if name is not None and name not in columns:
            raise ValueError(f"{argument}: {path!r} has no column {name!r}, but {_list(columns)}")
    if file_column is not None:
        files = [file_column]
    else:
        known = [c for c in columns if plain[c] in FILE_COLUMNS and c != label_column]
        files = sorted(known, key=lambda c: FILE_COLUMNS.index(plain[c]))
        if not files:
            raise ValueError(
                f"labels: no column of {path!r} ({_list(columns)}) is called like one with files, such as file_name or"
                " id: name it with file_column"
            )
    if twice := next((c for c in columns if c and columns.count(c) > 1 and c in (*files, label_column)), None):
        raise ValueError(f"labels: {path!r} has the column {twice!r} twice: rename one")
    part = next((c for c in columns if plain[c] in PART_COLUMNS and _names_parts(values, columns.index(c))), None)
    flag = next((c for c in columns if plain[c] in FLAG_COLUMNS), None)
    rest = [i for i, c in enumerate(columns) if c not in (*files, part, flag) and c]
    if label_column is None:
        candidates = [c for c in columns if plain[c] in LABEL_COLUMNS and c not in files]
        label_column = min(candidates, key=lambda c: LABEL_COLUMNS.index(plain[c]), default=None)
        if label_column is not None and columns.count(label_column) > 1:
            raise ValueError(f"labels: {path!r} has the column {label_column!r} twice: rename one")
    one_hot = label_column is None and _one_hot(values, rest)
    if label_column is None and not one_hot:
        if len(rest) != 1:
            raise ValueError(
                f"labels: no column of {path!r} ({_list(columns)}) is called like one with classes, such as label: name"
                " it with label_column"
            )
        label_column = columns[rest[0]]
    if part is None and flag is None and not one_hot:
        flag = next(
            (c for c in columns if plain[c] in _FLAGS and c != label_column and _truths(values, c, columns)), None
        )
    if one_hot:
        labels = [columns[next(i for i in rest if row[i].lower() in _ONES)] for row in values]
    else:
        labels = _labels([row[columns.index(str(label_column))] for row in values])
        if fraction := _fraction_among_numbers(labels):
            raise ValueError(
                f"labels: the column {label_column!r} of {path!r} has fractions, such as {fraction}, which are no"
                " classes: name a column of classes with label_column, or write each class as a word or a whole number"
            )
    rows = []
    for row, label in zip(values, labels, strict=True):
        names = tuple(row[columns.index(c)] for c in files)
        which = part_of(row[columns.index(part)]) if part else None
        belongs = which[0] if which else None
        if flag and belongs is None:
            yes: Part = FLAG_COLUMNS.get(plain[flag]) or _FLAGS[plain[flag]]
            no: Part = "test" if yes == "train" else "train"
            belongs = yes if row[columns.index(flag)].lower() in ("true", "1", "1.0", "yes", "y", "t") else no
        rows.append(Row(names, label, belongs))
    like_one = next((c for c in columns if plain[c] in PART_COLUMNS and c != label_column), "")
    return LabelTable(
        path,
        tuple(rows),
        tuple(files),
        "one column a class" if one_hot else str(label_column),
        "" if part or flag else like_one,
    )


def label_order(labels: set[str]) -> list[str]:
    """Names of classes in label order: by their number if all are numbers, else by name.

    >>> label_order({"10", "9", "1"}), label_order({"dog", "cat"})
    (['1', '9', '10'], ['cat', 'dog'])
    """
    numbers = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels)
    return sorted(labels, key=lambda label: (int(label), label) if numbers else (0, label))


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "", column).lower()


def _names_parts(rows: Sequence[Sequence[str]], column: int) -> bool:
    return any(part_of(row[column]) for row in rows[:1000])


def _truths(rows: Sequence[Sequence[str]], column: str, columns: Sequence[str]) -> bool:
    """Whether a column has nothing but truth values in it."""
    return all(row[columns.index(column)].lower() in _ZEROS | _ONES for row in rows)


def _labels(cells: Sequence[str]) -> list[str]:
    """Cells as names of classes, "" where there is none; of numbers, whole ones without a fraction.

    Names are in the composed form of Unicode, in which the same name is written in one way.
    """
    names = ["" if cell.lower() in MISSING else unicodedata.normalize("NFC", cell) for cell in cells]
    if all(not name or re.fullmatch(r"[+-]?[0-9]{1,18}(\.[0-9]*)?", name) for name in names):
        names = [re.sub(r"\.0*$", "", name) for name in names]
    return names


def _fraction_among_numbers(labels: Sequence[str]) -> str:
    """The first label that is a fraction where all are numbers, as the targets of a regression are; empty for none.

    >>> _fraction_among_numbers(["1", "0.5"]), _fraction_among_numbers(["1", "", "3"])
    ('0.5', '')
    >>> _fraction_among_numbers(["0.5", "cat"])  # a name that looks like a number
    ''
    """
    numbers = [label for label in labels if label]
    if not all(re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", label.lower()) for label in numbers):
        return ""
    return next((label for label in numbers if not float(label).is_integer()), "")


_ZEROS, _ONES = frozenset(("0", "0.0", "false")), frozenset(("1", "1.0", "true"))


def _one_hot(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> bool:
    """Whether every row has a 1 in exactly one of at least two columns, and 0 in the others."""
    return len(columns) > 1 and all(
        sum(row[i].lower() in _ONES for i in columns) == 1 and all(row[i].lower() in _ZEROS | _ONES for i in columns)
        for row in rows
    )


def _read(path: str) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the rows as text."""
    if not os.path.isfile(path):
        raise ValueError(f"labels: there is no file {path!r}")
    if os.path.getsize(path) > MOST_BYTES:
        raise ValueError(f"labels: {path!r} has more than {MOST_BYTES} bytes")
    kind = os.path.splitext(path)[1].lower()
    if kind in (".xlsx", ".xls", ".ods", ".gz", ".zip", ".feather", ".arrow", ".pkl", ".mat", ".h5"):
        raise ValueError(f"labels: {path!r} ends in {kind}: save or unpack it as .csv, .tsv, .jsonl, .json or .parquet")
    try:
        if kind == ".parquet":
            return _of_records(_parquet(path))
        with open(path, "rb") as file:
            content = file.read()
        coding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = content.decode(coding, "surrogateescape")
        if kind in (".jsonl", ".ndjson"):
            return _of_records([json.loads(line) for line in text.split("\n") if line.strip()])
        if kind == ".json":
            records = json.loads(text)
            if not isinstance(records, list):
                raise ValueError("it is no list of objects with named values")
            return _of_records(records)
        return _csv(text)
    except (ValueError, csv.Error, RecursionError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"labels: {path!r} cannot be read as a table ({why})") from error


def _parquet(path: str) -> list[dict[str, Any]]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        table = pyarrow.parquet.read_schema(path)
        flat = [field.name for field in table if not pa.types.is_nested(field.type) and not _binary(pa, field.type)]
        inside = [field.name for field in table if field.name not in flat]
        if not flat or (inside and not any(_plain(name) in FILE_COLUMNS for name in flat)):
            raise ValueError("it holds no plain column; a data set with its images inside is for cleanse.data")
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path, columns=flat).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    return rows


def _binary(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _csv(text: str) -> tuple[list[str], list[list[str]]]:
    if "\0" in text:
        raise ValueError("it has zero bytes")
    text = text.lstrip("\r\n")
    if told := re.match(r"sep=([,;\t|])[\r\n]+", text):  # Excel's way to say it
        text = text[told.end() :]
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    delimiter = max(",;\t|", key=first.count)
    if delimiter not in first and len(first.split()) > 1:  # lists of images: a file, a space, a class
        rows = [line.rsplit(None, 1) for line in re.split(r"[\r\n]+", text) if line.strip()]
    else:
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True)
        rows = [[cell.strip() for cell in row] for row in reader if row]
    if not rows:
        return [], []
    columns, width = rows[0], len(rows[0])
    if width < 2:
        raise ValueError("it has a single column")
    if any(_extension(cell) for cell in columns):  # no header: the first row is an image
        first_file = next(i for i, cell in enumerate(columns) if _extension(cell))
        columns = ["file_name" if i == first_file else f"column {i + 1}" for i in range(width)]
        rows.insert(0, columns)
    for number, row in enumerate(rows[1:], 2):
        if len(row) > width:
            raise ValueError(f"row {number} has {len(row)} cells, and the first {width}")
    return columns, [row + [""] * (width - len(row)) for row in rows[1:]]


def _extension(cell: str) -> bool:
    from cleanse.data.folder_reader import EXTENSIONS

    return os.path.splitext(cell)[1].lower() in EXTENSIONS


def _of_records(records: Sequence[Any]) -> tuple[list[str], list[list[str]]]:
    if not all(isinstance(record, dict) for record in records):
        raise ValueError("a line is not an object with named values")
    columns = list(dict.fromkeys(str(key) for record in records for key in record))
    nested = {str(key) for record in records for key in record if isinstance(record[key], (dict, list))}
    columns = [column for column in columns if column not in nested]
    if records and not columns:
        raise ValueError("it holds no plain column")
    return columns, [[_text(record.get(column)) for column in columns] for record in records]


def _text(value: Any) -> str:
    """A value as a name; a whole number that a table kept as a float without its zeros."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _list(columns: Sequence[str]) -> str:
    return ", ".join(map(repr, columns[:12])) + (" ..." if len(columns) > 12 else "")
