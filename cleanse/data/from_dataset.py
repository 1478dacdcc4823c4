"""Images that are in Python already: arrays, or any data set of (image, label)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cleanse.data.base import ImageDataModule, Images
from cleanse.data.decode import of_pillow
from cleanse.data.gray import has_color, to_gray
from cleanse.data.label_table import label_order
from cleanse.data.listing import held_out
from cleanse.data.mapped import STREAM_FROM, cache_folder, scratch
from cleanse.engine.fingerprint import hash_of
from cleanse.utils.check import side_of_images
from cleanse.utils.labels import class_names, plain_labels
from cleanse.views import ImageSource

IMAGE_KEYS = ("image", "img", "images", "picture", "pixel_values")
LABEL_KEYS = ("label", "labels", "fine_label", "class", "target", "y")


class FromDataset(ImageDataModule):
    """Arrays, or a data set of (image, label): torchvision's, Hugging Face's, or any with ``len`` and ``[i]``.

    * Images are Pillow's, or arrays and tensors of 8-bit values or of floats from 0 to 1: (H, W), (H, W, C) or
      (C, H, W). A transform that normalizes or augments has to be left out of the data set.
    * Labels are numbers or names, in any type, also with gaps; None, NaN or an empty name where there is none, and -1
      where labels are places in a list of names (D360). Classes are named by ``classes``, by the data set, or by their
      labels.
    * An id is the number of the image, or its path where the data set knows it (``samples``).
    * Parts of more than 2 GB go into a file without a name in the user's cache folder.

    Args:
        train: a pair (images, labels), or a data set.
        test: the same for the test part; None for none.
        classes: names of the classes, in label order; None for the data set's.
        size: side of the images in pixels, cut from the middle; None for their own, which then has to be one.
        holdout: fraction of each class that becomes the test part where there is none.
        kwargs: see `ImageDataModule`; without ``augment``, a crop after padding by size / 8, then a horizontal flip.

    Shapes:
        images (N, 1 or 3, H, W).

    Raises:
        ValueError: an argument out of range; in `load`, images or labels that cannot be used.

    >>> import numpy as np
    >>> data = FromDataset((np.zeros((4, 8, 8), np.uint8), ["cat", "dog", "cat", "dog"]))
    >>> data.training_view().classes, data.training_view().image_spec.size
    (('cat', 'dog'), (8, 8))
    """

    undescribed = ImageDataModule.undescribed | {"train", "test"}  # their content is hashed

    def __init__(
        self,
        train: Any,
        test: Any = None,
        classes: Sequence[str] | None = None,
        size: int | None = None,
        holdout: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        side_of_images(size)
        if holdout is not None and not 0 < holdout < 1:
            raise ValueError(f"holdout is the part of each class to hold out, in (0, 1), not {holdout}")
        if holdout is not None and test is not None:
            raise ValueError("holdout: there is a test part already: leave one of the two out")
        self.train, self.test, self.size, self.holdout = _Rows(train, "train"), test, size, holdout
        self._given_classes = None if classes is None else class_names(classes)
        self._whole: Images | None = None
        self._names: tuple[str, ...] = ()
        self._indexed = False

    def load(self, train: bool) -> Images:
        """The training or the test part."""
        if not train and not self.has_test():
            raise ValueError("FromDataset has no test part here: give test, or set holdout")
        if not train and self.test is not None:
            self._all()
            return self._part(_Rows(self.test, "test"))
        whole = self._all()
        if self.holdout is None:
            return whole
        held: set[str] = set()
        for c in range(len(self._names)):
            held.update(held_out([whole.id[row] for row in (whole.label == c).nonzero().flatten()], self.holdout))
        rows = torch.tensor([row for row, id in enumerate(whole.id) if (id in held) is not train], dtype=torch.int64)
        labeled = None if whole.labeled is None else whole.labeled[rows]
        ids = tuple(whole.id[row] for row in rows.tolist())
        return Images(self._some(whole.image, rows), whole.label[rows], ids, labeled=labeled)

    def class_names(self) -> tuple[str, ...]:
        self._all()
        return self._names

    def has_test(self) -> bool:
        return self.test is not None or self.holdout is not None

    def test_part(self) -> str:
        return "the data set given as test" if self.holdout is None else f"{self.holdout:.0%} of each class, held out"

    def default_augment(self) -> list[nn.Module]:
        from kornia.augmentation import RandomHorizontalFlip  # slow to import, so only when it is used

        from cleanse.augment import PadCrop

        return [PadCrop(padding=max(1, self._all().image.shape[-1] // 8)), RandomHorizontalFlip()]

    def fingerprint(self) -> str:
        """Hash of all images and labels."""
        whole = self._all()
        return hash_of([whole.image, whole.label, self._names])

    def source_at(self, images: Images) -> Callable[[int], ImageSource] | None:
        """What reads the data set's own images at another size; None where they have been used at their own."""
        if self.size is None:
            return None
        place = {id: row for row, id in enumerate(self._all().id)}
        rows_of = [place[id] for id in images.id]
        color = images.image.shape[1] == 3

        def at_size(size: int) -> ImageSource:
            def read(rows: Tensor) -> Tensor:
                made = np.stack([self.train.pixels(rows_of[row], size) for row in rows.tolist()])
                image = torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
                return image if color else to_gray(image)

            assert self._train is not None
            source = self._train.source
            empty = torch.empty(0, images.image.shape[1], size, size, dtype=torch.uint8)
            return replace(source, image=empty, spec={"again": source.spec, "size": size}, stream=False, reader=read)

        return at_size

    def _all(self) -> Images:
        """All images that were given as the training part, read once."""
        if self._whole is None:
            values = self.train.labels()
            own = self._given_classes or self.train.class_names()
            if own is not None and "-1" not in own:
                values = [None if value == -1 else value for value in values]
            occur = {value for value in values if value is not None}
            if not occur:
                raise ValueError("train: no image has a label")
            self._indexed = own is not None and all(isinstance(v, int) and 0 <= v < len(own) for v in occur)
            named = own is not None and all(str(value) in own for value in occur)
            self._names = own if own and (self._indexed or named) else tuple(label_order(set(map(str, occur))))
            if self._given_classes and self._names != self._given_classes:
                raise ValueError(f"classes: {_shown(self._given_classes)} are not the labels {_shown(self._names)}")
            self._whole = self._part(self.train, values)
        return self._whole

    def _part(self, rows: "_Rows", values: Sequence[Any] | None = None) -> Images:
        values = rows.labels() if values is None else values
        label = torch.tensor(rows.numbers(values, self._names, self._indexed))
        image = rows.images(self.size)
        color = has_color(image) if rows is self.train else self._all().image.shape[1] == 3
        if not color:
            image = self._some(image, torch.arange(len(image)), to_gray)
        return Images(image, label, rows.ids(), labeled=None if (label >= 0).all() else label >= 0)


class _Rows:
    """One part: how many images it has, and how each of them and its label are got."""

    def __init__(self, source: Any, part: str) -> None:
        self.part, self.pair = part, isinstance(source, (tuple, list)) and len(source) == 2 and _is_many(source[0])
        self.source = source
        if self.pair:
            images, labels = source
            if not isinstance(images, (np.ndarray, Tensor, list, tuple)):  # a series, which counts by its own index
                images = list(images)
            labels = _labels_of(labels, part)
            self.source = (images, labels)
            if len(images) != len(labels):
                raise ValueError(f"{part}: there are {len(images)} images but {len(labels)} labels")
        elif isinstance(source, Mapping) or hasattr(source, "columns"):
            keys = list(source if isinstance(source, Mapping) else source.columns)
            raise ValueError(
                f"{part} is a {type(source).__name__} with {_shown([str(key) for key in keys])}: give a pair (images,"
                " labels) of two of them, or the one that is the data set"
            )
        elif not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
            raise ValueError(
                f"{part} is a pair (images, labels), or a data set with len and [i], not {type(source).__name__}"
            )
        if not len(self):
            raise ValueError(f"{part} has no image")

    def __len__(self) -> int:
        return len(self.source[0]) if self.pair else len(self.source)

    def labels(self) -> list[Any]:
        """The labels as plain Python values, None where there is none."""
        if self.pair:
            return list(self.source[1])
        known = getattr(self.source, "targets", None)
        if known is not None and len(known) == len(self) and getattr(self.source, "target_transform", None) is None:
            return _labels_of(known, self.part)
        key = self._key(LABEL_KEYS)
        if key is not None and hasattr(self.source, "features"):  # Hugging Face: the column alone, no image is decoded
            return _labels_of(list(self.source[key]), self.part)
        return _labels_of([self._item(i)[1] for i in range(len(self))], self.part)

    def class_names(self) -> tuple[str, ...] | None:
        """The data set's own names of its classes, if it has any."""
        if self.pair:
            return None
        key, source = self._key(LABEL_KEYS), self.source
        feature = getattr(source, "features", None)
        if isinstance(feature, Mapping) and key in feature:
            names = getattr(feature[key], "names", None)
        else:
            while getattr(source, "classes", None) is None and hasattr(source, "dataset"):
                source = source.dataset  # torch.utils.data.Subset
            names = getattr(source, "classes", None)
        return None if names is None else tuple(map(str, names))

    def numbers(self, values: Sequence[Any], names: Sequence[str], indexed: bool) -> list[int]:
        """The number of each label among the names; -1 where there is none.

        Args:
            values: the labels.
            names: of the classes.
            indexed: whether a label is a place in ``names``; else it is one of them.

        Raises:
            ValueError: a label that no class has.
        """
        number: dict[Any, int] = {c if indexed else name: c for c, name in enumerate(names)}
        found = []
        for row, value in enumerate(values):
            c = -1 if value is None else number.get(value if indexed else str(value))
            if c is None:
                known = _shown(names)
                raise ValueError(f"{self.part}: image {row} has the label {value!r}, and the classes are {known}")
            found.append(c)
        return found

    def ids(self) -> tuple[str, ...]:
        """Paths where the data set knows them, else numbers."""
        samples = getattr(self.source, "samples", None)
        if not self.pair and isinstance(samples, list) and len(samples) == len(self) and len(samples[0]) == 2:
            paths = tuple(str(path) for path, _ in samples)
            if len(set(paths)) == len(paths):
                return paths
        return tuple(map(str, range(len(self))))

    def images(self, size: int | None) -> Tensor:
        """(N, 3, H, W) uint8, in memory or in a file."""
        first = self.pixels(0, size)
        shape = (len(self), 3, *first.shape[:2])
        large = torch.Size(shape).numel() > STREAM_FROM
        image = scratch(shape, cache_folder(None)) if large else torch.empty(shape, dtype=torch.uint8)
        for i in range(len(self)):
            pixels = self.pixels(i, size)
            if pixels.shape != first.shape:
                raise ValueError(
                    f"{self.part}: image {i} has {pixels.shape[:2]} pixels, and the first {first.shape[:2]}: set size"
                )
            image[i] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        return image

    def pixels(self, i: int, size: int | None) -> NDArray[np.uint8]:
        """(H, W, 3) of one image."""
        image = self.source[0][i] if self.pair else self._item(i)[0]
        try:
            return of_pillow(_as_pillow(image), size)
        except ValueError as error:
            raise ValueError(f"{self.part}: image {i} cannot be used: {error}") from error
        except Exception as error:  # a file that is decoded only now makes Pillow raise about anything
            raise ValueError(f"{self.part}: image {i} cannot be used: {_one_line(error)}") from error

    def _item(self, i: int) -> tuple[Any, Any]:
        try:
            row = self.source[i]
        except Exception as error:  # the data set is the user's own
            raise ValueError(f"{self.part}: item {i} cannot be read: {_one_line(error)}") from error
        if isinstance(row, Mapping):
            keys = [self._key(names) for names in (IMAGE_KEYS, LABEL_KEYS)]
            if keys[0] is None or keys[1] is None:
                raise ValueError(
                    f"{self.part}: a row has {', '.join(map(repr, row))}, and an image and a label are needed: rename"
                    " them to image and label"
                )
            return row[keys[0]], row[keys[1]]
        if not isinstance(row, (tuple, list)) or len(row) < 2:
            raise ValueError(f"{self.part}: item {i} is no pair (image, label) but {type(row).__name__}")
        return row[0], row[1]

    def _key(self, names: Sequence[str]) -> str | None:
        if self.pair:
            return None
        row: Any = getattr(self.source, "features", None)
        row = row if isinstance(row, Mapping) else self.source[0]
        return next((name for name in names if name in row), None) if isinstance(row, Mapping) else None


def _is_many(images: Any) -> bool:
    """Whether something holds many images, not a row of a data set: a pair of pairs is a data set of two."""
    if isinstance(images, (np.ndarray, Tensor)):
        return images.ndim >= 3 or images.dtype == object
    if isinstance(images, (list, tuple)):
        return not (images and isinstance(images[-1], (int, str)))
    return hasattr(images, "__len__") and hasattr(images, "__iter__") and not isinstance(images, (str, bytes, Mapping))


def _labels_of(labels: Any, part: str) -> list[Any]:
    """The labels as ints, strings or None.

    Raises:
        ValueError: see `plain_labels`.
    """
    try:
        return plain_labels(labels)
    except ValueError as error:
        raise ValueError(f"{part}: {error}") from error


def _one_line(error: Exception) -> str:
    """The kind of an error and the first words of it."""
    said = repr(" ".join(str(error).split()))[1:-1][:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _as_pillow(image: Any) -> Any:
    """Any kind of image as Pillow's."""
    from PIL import Image

    if isinstance(image, Image.Image):
        return image
    if image is None or isinstance(image, (str, bytes, PathLike, Mapping)):
        hint = "give an image for every label" if image is None else "open or decode it first"
        raise ValueError(f"it is of type {type(image).__name__}, not an image or an array: {hint}")
    if isinstance(image, Tensor):
        if image.is_meta:
            raise ValueError("it is a tensor without values")
        image = image.detach().cpu()
        image = image.to_dense() if image.layout != torch.strided else image
        array = (image.float() if image.is_floating_point() else image).numpy()  # NumPy has no bfloat16
        array = array.transpose(1, 2, 0) if array.ndim == 3 and array.shape[0] in (1, 3, 4) else array
    else:
        array = np.asarray(image)
        if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
            array = array.transpose(1, 2, 0)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or not array.size:
        raise ValueError(f"its shape is {array.shape}, not (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"its values are floats from {low:.3g} to {high:.3g}, not from 0 to 1: leave the normalization out"
            )
        array = (array * 255).round()
    elif array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise ValueError(f"its values are {array.dtype} from {array.min()} to {array.max()}, not from 0 to 255")
    array = np.ascontiguousarray(array.astype(np.uint8))
    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
