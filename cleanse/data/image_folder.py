"""A folder of the user's own images, from wherever they come."""

import hashlib
import logging
import os
from collections.abc import Sequence

import torch
from PIL import __version__ as PIL_VERSION
from torch import Tensor, nn

from cleanse.attacks.base import Attack
from cleanse.data.base import ImageDataModule, Images
from cleanse.data.decode import decode_files
from cleanse.data.listing import ImageFile, Listing, list_images
from cleanse.data.mapped import cache_folder, made_once, per_chunk
from cleanse.engine.fingerprint import hash_of

log = logging.getLogger("cleanse")


class ImageFolder(ImageDataModule):
    """Images in one folder per class.

    The folders are ``root/train/<class>/...`` and ``root/test/<class>/...``, or ``root/<class>/...``.
    Without a ``test`` folder (or with ``test_folder`` null) a part of each class is held out as the test set, drawn
    once and for all from the names of the files: the same for every seed, and a file that is added or removed hardly
    moves the others. The verdict is about the rest.

    * Classes are numbered in the order of their folders' names. Folders inside a class folder belong to the class.
    * The short side of an image becomes ``size``, bilinear with antialiasing, and a square is cut from the middle. The
      first frame of an animation counts, the EXIF orientation is applied, transparency lies on black, 16-bit gray
      becomes 8-bit.
    * A file with the name of an image (``.png``, ``.jpg``, ...) that cannot be read, has more than 89 megapixels or
      267 MB or is a link out of the folder is left out and listed as unreadable. Other files, hidden ones and links
      to folders are skipped, with a warning that counts them.
    * mean and std are computed from the training images.
    * A part that takes more than 2 GB (``stream``) is decoded once into a file in ``cache``, as large as the images
      (150 KB each at 224 pixels), and read from there batch by batch: the memory does not depend on the number of
      images, but for the poisoned ones, which are kept in it. What a subset, gray levels or triggered test images need
      beside goes into files without a name, which vanish with the process.

    Args:
        root: the folder.
        size: side of the images in pixels after resizing.
        color: RGB (true) or gray levels (false); None for RGB if any training image has a color.
        test_fraction: of each class that is held out when there is no ``test`` folder, rounded; 0 to 1, exclusive.
        follow_links: follow links to folders, and to files outside the root.
        test_folder: name of the folder beside ``train`` with the test images (``val`` for ImageNet); None to hold out
            a part of ``train`` whatever is beside it.
        only: names of the classes to use, or how many to draw; None for all.
        class_seed: draws them, the same for every seed of a run.
        stream: keep the decoded images in a file instead of the memory; None for parts of more than 2 GB.
        cache: folder of these files; None for ``cleanse`` in the user's cache folder. May be emptied at any time
            between runs.
        attack: poisons the training set, for a rehearsal; None takes it as it is.
        batch_size: over all processes together.
        augment: batched training augmentations; None for a crop after padding by size / 8, then a horizontal flip.
        limit_train: use a stratified subset of this many training images.
        limit_test: the same for test images.
        labeled: fraction of the training images whose label is given; None for all.
        seed: of the subset and of the attack; None for the run's seed.

    Shapes:
        images (N, 1 or 3, size, size).

    Raises:
        ValueError: an argument out of range; in `load`, a folder that is missing or not laid out like this, a class
            without images, a test class that is not a training class.
    """

    def __init__(
        self,
        root: str,
        size: int = 32,
        color: bool | None = None,
        test_fraction: float = 0.2,
        follow_links: bool = False,
        test_folder: str | None = "test",
        only: int | list[str] | None = None,
        class_seed: int = 0,
        stream: bool | None = None,
        cache: str | None = None,
        attack: Attack | None = None,
        batch_size: int = 128,
        augment: list[nn.Module] | None = None,
        limit_train: int | None = None,
        limit_test: int | None = None,
        labeled: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(attack, batch_size, augment, limit_train, limit_test, labeled, seed)
        if size < 1:
            raise ValueError(f"size is the side of the images in pixels, at least 1, not {size}")
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction is the part of each class to hold out, in (0, 1), not {test_fraction}")
        self.root, self.size = os.path.expanduser(root), size
        self.test_fraction, self.follow_links = test_fraction, follow_links
        self.test_folder, self.only, self.class_seed = test_folder, only, class_seed
        self.stream, self.cache = stream, None if cache is None else os.path.expanduser(cache)
        self._color = color
        self._listing: Listing | None = None

    def load(self, train: bool) -> Images:
        """Decode the training or the test files; those that cannot be are in ``unreadable``."""
        if not train and self._color is None:
            self.load(train=True)  # which decides about color for both parts
        listing = self._list()
        files = listing.train if train else listing.test
        opened = [file for file in files if not file.refused]
        image, why = self._decode(opened)
        refused = {file.id: file.refused for file in files if file.refused} | {opened[i].id: why[i] for i in why}
        unreadable = tuple((file.id, file.label, refused[file.id]) for file in files if file.id in refused)
        if unreadable and not train:  # the verdict, which names the others, is about training images
            name, _, reason = unreadable[0]
            log.warning("left out %d of %d test images, such as %a (%s)", len(unreadable), len(files), name, reason)
        kept = [i for i in range(len(opened)) if i not in why]
        label = torch.tensor([opened[i].label for i in kept], dtype=torch.int64)
        part = "training" if train else "test"
        if not kept:
            name, _, reason = unreadable[0]
            raise ValueError(f"root: no {part} image of {len(files)} in {self.root!r} can be read; {name!r}: {reason}")
        if train:
            for c, count in enumerate(torch.bincount(label, minlength=len(listing.classes)).tolist()):
                if not count:
                    name, _, reason = next(row for row in unreadable if row[1] == c)
                    known = f"class {listing.classes[c]!r} has no training image that can be read"
                    raise ValueError(f"root: {known} ({name!r}: {reason}): repair its images or remove the folder")
        if self._color is None:
            self._color = any(bool((part != part[:, :1]).any()) for part in torch.split(image, per_chunk(image)))
        if not self._color:
            image = self._some(image, torch.arange(len(image)), _gray)
        return Images(image, label, tuple(opened[i].id for i in kept), unreadable)

    def class_names(self) -> tuple[str, ...]:
        return self._list().classes

    def default_augment(self) -> list[nn.Module]:
        from cleanse.augment import Flip, PadCrop

        return [PadCrop(padding=max(1, self.size // 8)), Flip()]

    def fingerprint(self) -> str:
        """Hash of the training files' names, sizes and times."""
        digest = hashlib.sha256()
        for file in self._list().train:
            digest.update(f"{file.id}\0{file.version}\0{file.refused}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    def _decode(self, files: Sequence[ImageFile]) -> tuple[Tensor, dict[int, str]]:
        """Images of the files that can be read, and position to the reason of those that cannot."""
        paths, shape = [file.path for file in files], (len(files), 3, self.size, self.size)
        if not self.streams(shape) or not files:
            image, why = decode_files(paths, self.size)
            return (image[[i for i in range(len(files)) if i not in why]] if why else image), why
        made_from = [os.path.realpath(self.root), self.size, PIL_VERSION, [(file.id, *file.version) for file in files]]
        return made_once(
            hash_of(made_from), shape, cache_folder(self.cache),
            lambda image: decode_files(paths, self.size, into=image)[1],
        )  # fmt: skip

    def _list(self) -> Listing:
        if self._listing is None:
            self._listing = list_images(
                self.root, self.test_fraction, self.follow_links, self.test_folder, self.only, self.class_seed
            )  # fmt: skip
        return self._listing


def _gray(image: Tensor) -> Tensor:
    """Luminance (ITU-R 601, in Pillow's integers) of (N, 3, H, W) uint8, (N, 1, H, W); gray levels stay as they are."""
    red, green, blue = (image[:, c : c + 1].int() for c in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)
