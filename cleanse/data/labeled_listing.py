"""Which images of a folder a table of labels speaks of."""

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cleanse.data.folder_reader import EXTENSIONS, TABLES, FolderReader, ImageFile
from cleanse.data.label_table import LabelTable, label_order, read_labels
from cleanse.data.listing import Layout, Listing, check_folder, chosen_classes, split_off
from cleanse.data.split_names import Part, part_of, parts_among


def list_labeled(
    root: str,
    labels: str,
    layout: Layout,
    file_column: str | None = None,
    label_column: str | None = None,
) -> Listing:
    """The images below ``root`` that a table names, wherever they lie, with its labels.

    The parts are those of the table's column ``split`` (or ``is_valid``), else those of a table of the same kind with
    another part in its name (``train.csv`` and ``test.csv``, ``train/metadata.csv`` and ``test/metadata.csv``), else
    those of the folders that the images lie in. No file outside ``root`` is read, whatever the table says.

    Args:
        root: the folder.
        labels: path of the table, from the working directory or from ``root``; of a name such as ``metadata.csv`` the
            ones in ``root/train`` and beside count too.
        layout: which classes, and whether a part is held out.
        file_column, label_column: see `read_labels`.

    Raises:
        ValueError: a table that cannot be used, or that names none of the images, or one image under two labels.
    """
    check_folder(root)
    reader = FolderReader(root, layout.follow_links)
    place = _find_table(reader, labels)
    table = read_labels(place, file_column, label_column)
    index = _Index(reader)
    own_part: Part | None = "train" if _part_of_table(reader, place) == "train" else None
    found = _match(index, table, own_part)
    test_table = ""
    parts = {part for _, _, part in found.rows}
    if parts <= {None, own_part} and own_part == "train":
        beside = _tables_beside(reader, place)
        for part in ("test", "val"):
            if part in beside and (more := _match_beside(index, beside[part], file_column, label_column, part)):
                found.rows += more
                test_table = reader.id_of(beside[part])
                break
    if parts == {None}:
        found.rows = [(file, label, _part_of_file(file)) for file, label, _ in found.rows]
        if {part for _, _, part in found.rows} <= {None, "val", "test"}:  # the folders do not say
            found.rows = [(file, label, None) for file, label, _ in found.rows]
    rows = _one_label_each(found.rows, place)
    used: Part = "test" if any(part == "test" for _, _, part in rows) else "val"
    names = label_order({label for _, label, part in rows if part in (None, "train")})
    if len(names) < layout.fewest_classes:
        raise ValueError(
            f"labels: the column {table.label_column!r} of {place!r} has {len(names)} class for the images in {root!r},"
            " and at least two are needed: name another one with label_column"
        )
    if odd := sorted({label for _, label, part in rows if part == used} - set(names)):
        raise ValueError(f"labels: the test part has classes that the training part has not: {_some(odd)}")
    classes = chosen_classes(names, layout.only, layout.class_seed)
    number = {name: label for label, name in enumerate(classes)}
    chosen = {
        which: sorted(
            (replace(file, label=number[label]) for file, label, part in rows if part in which and label in number),
            key=lambda file: (file.label, file.id),
        )
        for which in ((None, "train"), (used,))
    }
    train, test = chosen[(None, "train")], chosen[(used,)] if layout.test_folder is not None else []
    _say_left_out(reader, table, index, found, rows, used)
    where = f"those of {test_table}" if test_table else f"those that {reader.id_of(place)} calls {used}"
    kept, held, test_part = split_off(train, test, where if test else "", layout.holdout, root)
    return Listing(tuple(classes), kept, held, test_part, reader.said())


_Rows = list[tuple[ImageFile, str, Part | None]]


@dataclass
class _Found:
    rows: _Rows
    missing: list[str]


class _Index:
    """The images below a root, by path, by name and by name without extension."""

    def __init__(self, reader: FolderReader) -> None:
        self.reader, self.files = reader, reader.images(reader.root, -1)
        for extension in TABLES:
            reader.skipped.pop(extension, None)
        self.by_path = {file.id: file for file in self.files}
        self.by_name: defaultdict[str, list[ImageFile]] = defaultdict(list)
        for file in self.files:
            name = posixpath.basename(file.id)
            self.by_name[name].append(file)
            self.by_name[posixpath.splitext(name)[0]].append(file)
        self.composed = {unicodedata.normalize("NFC", file.id): file.id for file in self.files}
        self.composed |= {unicodedata.normalize("NFC", name): name for name in self.by_name}

    def folder_of(self, table: LabelTable) -> str:
        """Where a table lies, relative to the root."""
        return self.reader.id_of(os.path.dirname(os.path.abspath(table.path)))

    def find(self, name: str, folder: str, part: Part | None) -> ImageFile | None:
        """The file that a cell of a table in a folder means.

        Raises:
            ValueError: there are several.
        """
        name = name.replace("\\", "/")
        if posixpath.normpath(posixpath.join(folder, name)).startswith("../") and ".." in name.split("/"):
            return None
        for path in (posixpath.join(folder, name), name):
            path = posixpath.normpath(path)
            if (file := self.by_path.get(path) or self.by_path.get(self._as_written(path))) is not None:
                return file
        wanted = name.split("/")
        last = wanted[-1]
        stem, extension = posixpath.splitext(last)
        last = last if last in self.by_name else self._as_written(last)
        files = self.by_name.get(last) or (self.by_name.get(stem) if extension.lower() in EXTENSIONS else None) or []
        if len(files) > 1 and len(wanted) > 1:  # the longest path that fits: tables are moved with a part of it
            fits = [_common_end(file.id.split("/")[:-1], wanted[:-1]) for file in files]
            files = [file for file, fit in zip(files, fits, strict=True) if fit == max(fits)]
        if len(files) > 1 and part is not None:
            files = [file for file in files if _part_of_file(file) == part] or files
        if len(files) > 1:
            raise ValueError(
                f"labels: {name!r} may be {_some([file.id for file in files])}: write the path in the table"
            )
        return files[0] if files else None

    def _as_written(self, name: str) -> str:
        """The name of a file that is the same in another form of Unicode, as macOS writes it."""
        return self.composed.get(unicodedata.normalize("NFC", name), name)


def _match(index: _Index, table: LabelTable, own_part: Part | None) -> _Found:
    """The files of a table's rows; of several columns that could name them the one that names most.

    Raises:
        ValueError: it names no image.
    """
    some, folder = table.rows[:: max(1, len(table.rows) // 200)], index.folder_of(table)
    hits = [sum(_is_there(index, row.names[c], folder) for row in some) for c in range(len(table.file_columns))]
    best = hits.index(max(hits))
    found = _Found([], [])
    for row in table.rows:
        part = row.part or own_part
        file = index.find(row.names[best], folder, part) if row.names[best] else None
        if file is None:
            found.missing.append(row.names[best])
        elif row.label:
            found.rows.append((file, row.label, part))
    if not found.rows:
        column = table.file_columns[best]
        raise ValueError(
            f"labels: none of the {len(table.rows)} rows of {table.path!r} has a label and, in the column {column!r}"
            f" (such as {table.rows[0].names[best]!r}), one of the {len(index.files)} images below the root: name the"
            " columns with file_column and label_column"
        )
    return found


def _is_there(index: _Index, name: str, folder: str) -> bool:
    try:
        return bool(name) and index.find(name, folder, None) is not None
    except ValueError:
        return True


def _match_beside(index: _Index, path: str, file_column: str | None, label_column: str | None, part: Part) -> _Rows:
    """The rows of another part's table; none if it has no labels, as Kaggle's test tables."""
    try:
        return _match(index, read_labels(path, file_column, label_column), part).rows
    except ValueError:
        return []


def _find_table(reader: FolderReader, labels: str) -> str:
    """Path of the table that ``labels`` means.

    Raises:
        ValueError: there is none.
    """
    labels = os.path.expanduser(labels)
    top = parts_among(folders := reader.folders(reader.root))
    trains = [folders[name] for name, part in top.items() if part == "train"]
    places = [labels, *(os.path.join(folder, labels) for folder in (reader.root, *trains))]
    for place in places:
        if os.path.isfile(place):
            return place
    tables = [reader.id_of(os.path.join(f, n)) for f in (reader.root, *trains) for n in reader.files(f, TABLES)]
    there = f"; there is {_some(tables)}" if tables else ""
    raise ValueError(f"labels: there is no file {labels!r}, here or in {reader.root!r}{there}")


def _part_of_table(reader: FolderReader, path: str) -> Part | None:
    """What a table's name, or that of its folder, says of its rows."""
    for name in (os.path.splitext(os.path.basename(path))[0], os.path.basename(os.path.dirname(reader.id_of(path)))):
        if (found := part_of(name)) is not None:
            return found[0]
    return None


def _tables_beside(reader: FolderReader, path: str) -> dict[Part, str]:
    """Tables of the other parts: beside this one, or of the same name in the folders beside its own."""
    folder, name = os.path.split(os.path.abspath(path))
    stem, extension = os.path.splitext(name)
    found: dict[Part, str] = {}
    if part_of(stem) is not None:
        stems = {os.path.splitext(other)[0]: other for other in sorted(os.listdir(folder)) if other.endswith(extension)}
        for other, part in parts_among(stems).items():
            if part_of(other)[1:] == part_of(stem)[1:]:  # type: ignore[index]
                found.setdefault(part, os.path.join(folder, stems[other]))
    else:
        parent = os.path.dirname(folder)
        for other, part in parts_among(sorted(os.listdir(parent))).items():
            if os.path.isfile(place := os.path.join(parent, other, name)):
                found.setdefault(part, place)
    return found


def _part_of_file(file: ImageFile) -> Part | None:
    """What the folders on the way to a file say."""
    found = [part for name in file.id.split("/")[:-1] if (part := part_of(name)) is not None]
    return found[0][0] if found else None


def _one_label_each(rows: _Rows, place: str) -> _Rows:
    """The rows without repetitions.

    Raises:
        ValueError: a file has two labels, or is in two parts.
    """
    seen: dict[str, tuple[str, Part | None]] = {}
    found: _Rows = []
    for file, label, part in rows:
        if file.id not in seen:
            found.append((file, label, part))
        before = seen.setdefault(file.id, (label, part))
        if before[0] != label:
            raise ValueError(f"labels: {place!r} gives {file.id!r} the labels {before[0]!r} and {label!r}: leave one")
        if before[1] != part:
            raise ValueError(f"labels: {file.id!r} is in two parts of the data, {before[1]} and {part}")
    return found


def _say_left_out(
    reader: FolderReader, table: LabelTable, index: _Index, found: _Found, rows: _Rows, used: Part
) -> None:
    """What of the folder and of the table is not read."""
    name = reader.id_of(table.path)
    known = {file.id for file, _, _ in rows}
    if rest := [file.id for file in index.files if file.id not in known]:
        reader.left_out[f"{len(rest)} images"] = f"{name} gives them no label: {_some(rest)}"
    if table.not_understood:
        reader.left_out[f"the column {table.not_understood!r} of {name}"] = "its values name no part of the data"
    if found.missing:
        reader.left_out[f"{len(found.missing)} rows of {name}"] = f"their images are not there: {_some(found.missing)}"
    if other := [file.id for file, _, part in rows if part not in (None, "train", used)]:
        reader.left_out[f"{len(other)} images of the validation part"] = f"the test part is used: {_some(other)}"


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    """How many last parts of two paths are equal."""
    count = 0
    while count < min(len(first), len(second)) and first[-1 - count] == second[-1 - count]:
        count += 1
    return count


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
