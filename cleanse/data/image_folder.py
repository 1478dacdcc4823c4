"""A folder of the user's own images, from wherever they come."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import __version__ as PIL_VERSION
from torch import Tensor, nn

from cleanse.data.base import ImageDataModule, Images
from cleanse.data.decode import Background, Decoded, Levels, decode_files
from cleanse.data.folder_reader import ImageFile
from cleanse.data.gray import has_color, to_gray
from cleanse.data.labeled_listing import list_labeled
from cleanse.data.listing import Layout, Listing, list_images
from cleanse.data.mapped import cache_folder, made_once
from cleanse.engine.fingerprint import hash_of
from cleanse.utils.check import side_of_images
from cleanse.views import ImageSource


class ImageFolder(ImageDataModule):
    """Images in one folder per class, or in any folders with a table of their labels.

    The folders are ``root/train/<class>/...`` and ``root/test/<class>/...``, ``root/<class>/...``, or
    ``root/<class>/train/...`` and ``root/<class>/test/...``; parts are recognized in any usual spelling (``Training``,
    ``TEST_SET``, ``valid``). Without a test folder a validation folder is the test part; without that there is none, so
    that every image is judged, unless ``holdout`` asks for one. What was made of a folder is in `understood`.

    * Classes are numbered in the order of their names. Folders inside a class folder belong to the class.
    * The short side of an image becomes ``size``, bilinear with antialiasing, and a square is cut from the middle. The
      first frame of an animation counts and the orientation that the file asks for is applied. The values of files
      with more than 8 bits become 8-bit ones by the range that all training files have together (D22).
    * A file with the name of an image (``.png``, ``.jpg``, ...) that cannot be read, has more than 89 megapixels or
      267 MB or is a link out of the folder is left out and listed as unreadable. Folders without images and those that
      systems make (``__MACOSX``, ``@eaDir``, ``.ipynb_checkpoints``, ...) are no classes.
    * mean and std are computed from the training images.
    * A part that takes more than 2 GB (``stream``) is decoded once into a file in ``cache``, as large as the images
      (150 KB each at 224 pixels), and read from there batch by batch: the memory does not depend on the number of
      images, but for the poisoned ones, which are kept in it. What a subset, gray levels or triggered test images need
      beside goes into files without a name, which vanish with the process.

    Args:
        root: the folder.
        size: side of the images in pixels after resizing.
        color: RGB (true) or gray levels (false); None for RGB if any training image has a color.
        labels: a table with the class of each image: CSV, TSV, JSON lines or Parquet, its path from the working
            directory or from ``root``; None for the folders' names.
        file_column: the table's column with the images' files or their names; None to find it.
        label_column: the table's column with the classes; None to find it.
        train_folder: name of the folder with the training part; None to recognize it.
        test_folder: name of the folder with the test part; ``auto`` to recognize it, None for no test part.
        holdout: fraction of each class, 0 to 1, exclusive, that becomes the test part where there is none: the same
            files for every seed, drawn from their names, so that a file that is added hardly moves the others.
        nested: take folders for classes although all of them have the same folders in them.
        follow_links: follow links to folders, and to files outside the root.
        only: names of the classes to use, or how many to draw; None for all.
        class_seed: draws them, the same for every seed of a run.
        background: what shows through transparent pixels.
        stream: keep the decoded images in a file instead of the memory; None for parts of more than 2 GB.
        cache: folder of these files; None for ``cleanse`` in the user's cache folder. May be emptied at any time
            between runs.
        kwargs: see `ImageDataModule`; without ``augment``, a crop after padding by size / 8, then a horizontal flip.

    Shapes:
        images (N, 1 or 3, size, size).

    Raises:
        ValueError: an argument out of range; in `load`, a folder that is missing or not laid out like this, fewer than
            two classes, a test class that is not a training class.
    """

    undescribed = ImageDataModule.undescribed | {"labels", "file_column", "label_column"}  # their content is hashed

    def __init__(
        self,
        root: str,
        size: int = 32,
        color: bool | None = None,
        labels: str | None = None,
        file_column: str | None = None,
        label_column: str | None = None,
        train_folder: str | None = None,
        test_folder: str | None = "auto",
        holdout: float | None = None,
        nested: bool = False,
        follow_links: bool = False,
        only: int | list[str] | None = None,
        class_seed: int = 0,
        background: Background = "black",
        stream: bool | None = None,
        cache: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        side_of_images(size)
        if holdout is not None and not 0 < holdout < 1:
            raise ValueError(f"holdout is the part of each class to hold out, in (0, 1), not {holdout}")
        for name, value in (("file_column", file_column), ("label_column", label_column)):
            if value is not None and labels is None:
                raise ValueError(f"{name} is a column of the table that labels names: set labels too")
        if labels is not None and (train_folder is not None or nested):
            raise ValueError(
                "train_folder and nested are about class folders: leave them out, since labels names a table"
            )
        self.root, self.size = os.path.expanduser(root), size
        self.labels, self.file_column, self.label_column = labels, file_column, label_column
        self.layout = Layout(train_folder, test_folder, holdout, only, class_seed, follow_links, nested)
        self.background = background
        self.stream, self.cache = stream, None if cache is None else os.path.expanduser(cache)
        self._color = color
        self._levels: Levels = {}
        self._decided = False
        self._listing: Listing | None = None

    def load(self, train: bool) -> Images:
        """Decode the training or the test files; those that cannot be are in ``unreadable``."""
        if not train and not self.has_test():
            raise ValueError(f"root: {self.root!r} has no test part: add a test folder, or set holdout")
        if not train and not self._decided:
            self.load(train=True)  # which decides about color and levels for both parts
        listing = self.listing()
        files = listing.train if train else listing.test
        opened = [file for file in files if not file.refused]
        decoded = self._decode(opened, train)
        image, why = decoded.image, decoded.why
        refused = {file.id: file.refused for file in files if file.refused} | {opened[i].id: why[i] for i in why}
        unreadable = tuple((file.id, file.label, refused[file.id]) for file in files if file.id in refused)
        kept = [i for i in range(len(opened)) if i not in why]
        label = torch.tensor([opened[i].label for i in kept], dtype=torch.int64)
        part = "training" if train else "test"
        if not kept:
            name, _, reason = unreadable[0]
            raise ValueError(f"root: no {part} image of {len(files)} in {self.root!r} can be read; {name!r}: {reason}")
        if train:
            self._check_classes(label, unreadable)
            self._decided = True
        if self._color is None:
            self._color = has_color(image)
        if not self._color:
            image = self._some(image, torch.arange(len(image)), to_gray)
        place = {i: row for row, i in enumerate(kept)}
        transparent = tuple(place[i] for i in decoded.transparent if i in place)
        self._note(decoded, len(files), unreadable, train)
        return Images(image, label, tuple(opened[i].id for i in kept), unreadable, transparent=transparent)

    def class_names(self) -> tuple[str, ...]:
        return self.listing().classes

    def has_test(self) -> bool:
        return bool(self.listing().test)

    def test_part(self) -> str:
        return self.listing().test_part

    def left_out(self) -> tuple[tuple[str, str], ...]:
        return self.listing().left_out

    def default_augment(self) -> list[nn.Module]:
        from kornia.augmentation import RandomHorizontalFlip  # slow to import, so only when it is used

        from cleanse.augment import PadCrop

        return [PadCrop(padding=max(1, self.size // 8)), RandomHorizontalFlip()]

    def fingerprint(self) -> str:
        """Hash of the training files' names, sizes and times, and of their classes where a table gives them."""
        listing, digest = self.listing(), hashlib.sha256()
        for file in listing.train:
            label = "" if self.labels is None else f"{listing.classes[file.label]}\0"
            digest.update(f"{file.id}\0{file.version}\0{file.refused}\0{label}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def listing(self) -> Listing:
        """The files of both parts, found once."""
        if self._listing is None:
            layout = self.layout if self._expected is None else replace(self.layout, fewest_classes=1)
            if self.labels is None:
                self._listing = list_images(self.root, layout)
            else:
                self._listing = list_labeled(self.root, self.labels, layout, self.file_column, self.label_column)
        return self._listing

    def source_at(self, images: Images) -> Callable[[int], ImageSource] | None:
        """What decodes the files at another size when a batch is asked for."""
        paths = {file.id: file.path for file in self.listing().train}
        chosen = [paths[id] for id in images.id]

        def at_size(size: int) -> ImageSource:
            def read(rows: Tensor) -> Tensor:
                some = [chosen[row] for row in rows.tolist()]
                decoded = decode_files(some, size, background=self.background, levels=self._levels)
                if decoded.why:
                    row, reason = next(iter(decoded.why.items()))
                    raise ValueError(f"root: {some[row]!r} could be read before and cannot any more ({reason})")
                return decoded.image if self._color else to_gray(decoded.image)

            assert self._train is not None
            empty = torch.empty(0, 3 if self._color else 1, size, size, dtype=torch.uint8)
            return replace(
                self._train.source,
                image=empty,
                spec={"scaled": self._train.source.spec, "size": size},
                stream=False,
                reader=read,
            )

        return at_size

    def _check_classes(self, label: Tensor, unreadable: Sequence[tuple[str, int, str]]) -> None:
        """Raises: ValueError if all images of some class are unreadable; names all such classes."""
        classes = self.listing().classes
        empty = [c for c, count in enumerate(torch.bincount(label, minlength=len(classes)).tolist()) if not count]
        if empty:
            name, _, reason = next(row for row in unreadable if row[1] == empty[0])
            which = f"class {classes[empty[0]]!r} has" if len(empty) == 1 else f"{len(empty)} classes have"
            names = "" if len(empty) == 1 else f" ({', '.join(repr(classes[c]) for c in empty[:10])})"
            raise ValueError(
                f"root: {which} no training image that can be read{names} ({name!r}: {reason}): repair the images or"
                " remove the folder"
            )

    def _note(self, decoded: Decoded, total: int, unreadable: Sequence[tuple[str, int, str]], train: bool) -> None:
        """Remember what is to be said of the files that were read."""
        found = [*self.notes]
        if unreadable and not train:  # the verdict, which names the others, is about training images
            name, _, reason = unreadable[0]
            found.append(f"left out {len(unreadable)} of {total} test images, such as {name!r} ({reason})")
        odd = {kind: span for kind, span in decoded.levels.items() if span[1] != {"int": 65535, "float": 1}[kind]}
        if decoded.wide and train and odd:
            ranges = ", ".join(f"{low:g} to {high:g}" for low, high in odd.values())
            found.append(
                f"{decoded.wide} images have more than 8 bits a value: their values {ranges} became 0 to 255, the same"
                " for all"
            )
        self.notes = tuple(dict.fromkeys(found))

    def _decode(self, files: Sequence[ImageFile], train: bool) -> Decoded:
        """Images of the files that can be read, and position to the reason of those that cannot."""
        paths, shape = [file.path for file in files], (len(files), 3, self.size, self.size)
        known: Levels = {} if train else self._levels
        if not self.streams(shape) or not files:
            decoded = decode_files(paths, self.size, background=self.background, levels=known)
            if decoded.why:
                decoded.image = decoded.image[[i for i in range(len(files)) if i not in decoded.why]]
        else:
            made_from = [
                *(os.path.realpath(self.root), self.size, PIL_VERSION, self.background, sorted(known.items())),
                [(file.id, *file.version) for file in files],
            ]

            def fill(image: Tensor) -> tuple[dict[int, str], Any]:
                made = decode_files(paths, self.size, into=image, background=self.background, levels=known)
                return made.why, {"levels": made.levels, "wide": made.wide, "transparent": made.transparent}

            image, why, note = made_once(hash_of(made_from), shape, cache_folder(self.cache), fill)
            levels = {kind: (float(low), float(high)) for kind, (low, high) in note["levels"].items()}
            decoded = Decoded(image, why, levels, note["wide"], note["transparent"])
        if train:
            self._levels = decoded.levels
        return decoded
