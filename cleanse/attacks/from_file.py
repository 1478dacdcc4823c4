"""Poisoned images that somebody else has made, in an array beside the clean set."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cleanse.attacks.base import Attack
from cleanse.attacks.label_consistent import add_levels, corners


class FromFile(Attack):
    """Replace images of the target class by those of an array, with the trigger on them; labels stay.

    Turner, Tsipras, Madry, "Label-Consistent Backdoor Attacks", 2019, https://arxiv.org/abs/1912.02771, publish every
    training image of CIFAR-10 once more, made hard to recognize with a GAN or with an attack (``gan_0_2.npy``,
    ``two_300.npy``, ``inf_8.npy``, ...), which Jin, Sun, Rinard 2021 (arXiv 2105.03692) poison with. Give such a file
    as ``poison_from``. Rows may be poisoned where they are of the target class and the file differs from the clean set.
    ``class_rate`` counts among those. Test images get the trigger alone.

    The array is NumPy's .npy of (N, H, W, C) uint8 in the order of torchvision's data set: row i stands for the image
    whose id is i, or, where there are as many rows as images, for the i-th image. Nothing pickled is read (D281).

    Args:
        poison_from: the .npy file.
        stamp: put the trigger on the file's images; false where they carry it, as those do that Turner et al.'s script
            ``generate_poisoned_dataset.py`` writes: then ``class_rate`` of 1 takes all that it has poisoned.
        pattern: the trigger: ``corners``, all four; ``corner``, the lower right one alone.
        amplitude: what white pixels of the trigger add and black ones take away, in levels; 255 sets them.

    Raises:
        ValueError: an argument out of range; while poisoning, a file that is missing, is no such array, or has another
            number or shape of images.
    """

    label_modes = ("target",)
    added: Tensor  # (H, W) int16, the levels that are added to each channel

    def __init__(
        self,
        poison_from: str,
        stamp: bool = True,
        pattern: Literal["corners", "corner"] = "corners",
        amplitude: int = 255,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 1 <= amplitude <= 255:
            raise ValueError(f"amplitude is in levels, 1 to 255, not {amplitude}")
        self.poison_from = poison_from
        self.stamp = stamp
        self.pattern = pattern
        self.amplitude = amplitude
        self._place: Tensor | None = None  # (N,) the row of the file for each image
        self._differs: Tensor | None = None  # (N,) bool

    def spec(self) -> dict[str, Any]:
        """For cache keys: the arguments, with the content of the file instead of its path."""
        digest = hashlib.sha256()
        try:
            with open(os.path.expanduser(self.poison_from), "rb") as file:
                while block := file.read(2**24):
                    digest.update(block)
        except OSError as error:
            raise self._cannot(f"cannot be read ({error.strerror})") from error
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class": name, "with": {**self.arguments, "poison_from": digest.hexdigest()[:16]}}

    def look(self, image: Tensor, id: Sequence[str]) -> None:
        made, count = self._array(), len(image)
        shape = (image.shape[2], image.shape[3], image.shape[1])
        if made.ndim != 4 or made.dtype != np.uint8 or made.shape[1:] != shape:
            raise self._cannot(
                f"has {made.shape} {made.dtype}, but it takes (N, {shape[0]}, {shape[1]}, {shape[2]}) uint8"
            )
        if len(made) == count:
            place = torch.arange(count)
        else:
            numbers = [int(one) if one.isdecimal() else -1 for one in id]
            if min(numbers) < 0 or max(numbers) >= len(made):
                raise self._cannot(f"has {len(made)} images and the training set {count}: it takes one for each")
            place = torch.tensor(numbers)
        differs = torch.zeros(count, dtype=torch.bool)
        for rows in torch.split(torch.arange(count), 2048):
            differs[rows] = (self._rows(made, place[rows]) != image[rows]).flatten(1).any(1)
        self._place, self._differs = place, differs

    def eligible(self, true_label: Tensor) -> Tensor:
        """(N,) bool: images of the target class that the file has changed."""
        chosen = true_label == self.target
        return chosen if self._differs is None or len(self._differs) != len(chosen) else chosen & self._differs

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        self.register_buffer("added", corners(shape[1], shape[2], self.pattern == "corners", self.amplitude))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        return add_levels(image, self.added)

    def _change(self, image: Tensor, rows: Tensor, kind: int, generator: torch.Generator) -> Tensor:
        if self._place is None:
            raise ValueError("FromFile looks at the clean images before it poisons: let the data module prepare them")
        made = self._rows(self._array(), self._place[rows])
        return self.trigger(made) if self.stamp else made

    def eligible_name(self) -> str:
        return f"class {self._name(self.target)} where {os.path.basename(self.poison_from)!r} differs, labels kept"

    def _array(self) -> Any:
        try:
            made = np.load(os.path.expanduser(self.poison_from), mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise self._cannot(f"cannot be read ({error.strerror or error})") from error
        except (ValueError, EOFError) as error:  # objects, which are pickled, or no array at all
            raise self._cannot("is no .npy array of numbers") from error
        if not isinstance(made, np.ndarray):
            raise self._cannot("is an archive of arrays: take the .npy file out of it")
        return made

    @staticmethod
    def _rows(made: Any, place: Tensor) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(made[place.numpy()])).permute(0, 3, 1, 2).contiguous()

    def _cannot(self, why: str) -> ValueError:
        return ValueError(f"poison_from: {self.poison_from!r} {why}")
