"""What all data modules share: read once, limit, poison, and hand out views."""

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cleanse.attacks.base import CLEAN, POISON, Attack
from cleanse.augment import SimCLRAugment
from cleanse.data.decode import Background
from cleanse.data.findings import copy_warnings, label_warnings, overlap_warnings, pixel_warnings
from cleanse.data.mapped import STREAM_FROM, cache_folder, gathered, per_chunk
from cleanse.data.understood import Understood
from cleanse.engine.fingerprint import Described, describe, hash_of
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.views import Batch, ImageSource, ImageView, TrainingView

log = logging.getLogger("cleanse")


@dataclass(frozen=True)
class Images:
    """What a data set's files hold, before any attack.

    Attributes:
        image: (N, C, H, W) uint8.
        label: (N,) int64.
        id: a file path relative to the root, or the index as text.
        unreadable: (id, label, why) of files that had to be left out.
        labeled: (N,) bool, False where nobody is given the label, and where it may be -1 for unknown; None for all.
        transparent: rows that have transparent pixels in their files.
    """

    image: Tensor
    label: Tensor
    id: tuple[str, ...]
    unreadable: tuple[tuple[str, int, str], ...] = ()
    labeled: Tensor | None = None
    transparent: tuple[int, ...] = ()


@dataclass(frozen=True)
class Truth:
    """What only the evaluation may know about the training rows.

    Attributes:
        true_label: (N,) int64.
        role: (N,) int8, an index into `cleanse.attacks.ROLES`.
        trigger: (N,) int8, number of the trigger that an image carries, from 0, and -1 for none; None for 0 wherever
            the role is not clean.
    """

    true_label: Tensor
    role: Tensor
    trigger: Tensor | None = None

    @property
    def poisoned(self) -> Tensor:
        """(N,) bool."""
        return self.role == POISON

    @property
    def carried(self) -> Tensor:
        """(N,) int8: the number of the trigger that an image carries, from 0; -1 for none."""
        return torch.where(self.role == CLEAN, -1, 0).to(torch.int8) if self.trigger is None else self.trigger

    def count(self, role: int) -> int:
        """How many rows have this role."""
        return int((self.role == role).sum())


class ImageDataModule(Described, LightningDataModule):
    """Base of all data modules: training images, poisoned if an attack is given, and clean and triggered test images.

    A subclass reads its files in `load`. `training_view` is what a recipe receives; `clean_test` and `triggered_test`
    and ``truth`` are for the evaluation only.

    Args:
        attack: poisons the training set; None for data that is used as it is.
        batch_size: over all processes together.
        augment: batched training augmentations in order; None for the data set's own (`default_augment`).
        limit_train: use a stratified subset of this many training images.
        limit_test: the same for test images.
        labeled: fraction of the training images whose label is given; None for all. Which ones: row numbers
            modulo 10, so that it is the same for every seed (D20).
        reserve_clean: set this many images of each class aside before the attack: no part of the training set, none of
            the test part; a recipe that needs clean images gets them with their labels (`reserved_view`, D240).
        seed: of the subset and of everything the attack draws; None for the run's seed.

    Raises:
        ValueError: for arguments out of range.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    undescribed = frozenset({"root", "download", "augment", "batch_size", "stream", "cache"})
    fresh = False  # whether `load` returns images that nobody else holds, so that they can be poisoned where they are
    stream: bool | None = False
    cache: str | None = None
    notes: tuple[str, ...] = ()  # what `load` has to say of the files
    background: Background = "black"  # what shows through transparent pixels

    def __init__(
        self,
        attack: Attack | None = None,
        batch_size: int = 128,
        augment: list[nn.Module] | None = None,
        limit_train: int | None = None,
        limit_test: int | None = None,
        labeled: float | None = None,
        reserve_clean: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        numbers = {"batch_size": batch_size, "limit_train": limit_train, "limit_test": limit_test}
        for name, value in {**numbers, "reserve_clean": reserve_clean}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is a number of images, at least 1, not {value}")
        if labeled is not None and not 0 < labeled <= 1:
            raise ValueError(f"labeled is the fraction of training images with a label, in (0, 1], not {labeled}")
        self.attack, self.batch_size, self.augment = attack, batch_size, augment
        self.limit_train, self.limit_test, self.labeled, self.seed = limit_train, limit_test, labeled, seed
        self.reserve_clean = reserve_clean
        self._with_reserve: Images | None = None  # the training images and, behind them, those set aside
        self._train: TrainingView | None = None
        self._read: Images | None = None
        self._expected: tuple[str, ...] | None = None

    @abstractmethod
    def load(self, train: bool) -> Images:
        """Read the whole training or test part.

        Raises:
            ValueError: the files are missing or cannot be used; says what to do.
        """

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in label order; called after `load`."""

    def has_test(self) -> bool:
        """Whether there is a test part; `load` is asked for it only then."""
        return True

    def test_part(self) -> str:
        """What the test part is, in words."""
        return "its own"

    def left_out(self) -> tuple[tuple[str, str], ...]:
        """Files and folders that are not read, each with the reason; called after `load`."""
        return ()

    def expect_classes(self, names: Sequence[str]) -> None:
        """Number the classes as a finished run does: by their names, which have to be among ``names``.

        Args:
            names: the run's classes, in label order. The data may have a part of them, in any order.

        Raises:
            ValueError: the data was read already. (`setup` raises it for a class that is not among ``names``.)
        """
        if self._train is not None or self._read is not None:
            raise ValueError("expect_classes has to come before the data is read")
        self._expected = tuple(names)

    def default_augment(self) -> list[nn.Module]:
        """The training augmentation when none is given."""
        return []

    def contrastive_augment(self) -> nn.Module:
        """What makes two views of an image for contrastive learning: SimCLR's, unless that would change a class."""
        return SimCLRAugment()

    def fingerprint(self) -> Any:
        """For data without a fixed content (a user's folder): what changes when the files change."""
        return None

    def spec(self) -> dict[str, Any]:
        """Class, arguments, attack and seed: what decides every image and label; never a path."""
        shown = {k: v for k, v in self.arguments.items() if k not in self.undescribed | {"limit_test"}}
        learned = None if self.attack is None else self.attack.learned
        return {
            "data": type(self).__qualname__,
            "with": describe({**shown, "seed": self.seed or 0}),
            "files": self.fingerprint(),
            **({} if self._expected is None else {"classes": list(self._expected)}),
            **({} if learned is None else {"learned": describe(learned)}),
        }

    # --- reading and poisoning ---
    def plan_attack(self) -> list[Planned]:
        """What `learn_attack` will ask for; nothing where the attack trains nothing, or has done so."""
        if self.attack is None or self._train is not None or type(self.attack).learn is Attack.learn:
            return []
        return self.attack.plan_learn(*self._before_attack(self.attack))

    def learn_attack(self, run: Runner) -> None:
        """Let an attack that trains something do so, on the clean training set and before anything else happens."""
        if self.attack is not None and self._train is None:
            self.attack.learn(*self._before_attack(self.attack), self.seed or 0, run)

    def _before_attack(self, attack: Attack) -> tuple[TrainingView, Tensor]:
        """The clean training set, and what an attack will do with each image."""
        clean = self._clean()
        attack.look(clean.image, clean.id)
        return self._view(clean, None), attack.roles(clean.label, _given(clean), self.seed or 0)

    def without_attack(self) -> Self:
        """A copy without the attack, before anything is poisoned; its images are read once for both."""
        if self._train is not None:
            raise ValueError("without_attack has to come before the data is poisoned")
        self._clean()
        other = copy(self)
        other.attack = None
        return other

    def setup(self, stage: str | None = None) -> None:
        """Read and poison, once."""
        if self._train is not None:
            return
        seed, clean = self.seed or 0, self._clean()
        given = _given(clean)
        image, label = clean.image, torch.where(given, clean.label, -1)
        role = torch.full((len(label),), CLEAN, dtype=torch.int8)
        trigger: Tensor | None = None
        if self.attack is not None:
            self.attack.look(clean.image, clean.id)
            # streamed: in a file that cannot change; with images set aside: in a copy
            alone = self.fresh or self.streams(image.shape) or self._with_reserve is not None
            poisoned = self.attack.poison(
                image, clean.label, given, len(self.classes), seed, in_place=alone, classes=self.classes
            )
            image, label, role, trigger = poisoned.image, poisoned.label, poisoned.role, poisoned.trigger
        self.truth = Truth(clean.label, role, trigger)
        self.unreadable, self._transparent = clean.unreadable, clean.transparent
        self._train = self._view(replace(clean, image=image, label=label), self.attack)
        self._read = None
        self._test: ImageView | None = None

    def _clean(self) -> Images:
        """The chosen training images as they are in the files, without those set aside, read once."""
        if self._read is None:
            images = self._named(self.chosen())
            given = _given(images)
            if self.labeled is not None:
                given &= torch.arange(len(given)) % 10 < round(10 * self.labeled)
            self._read = self._set_aside(replace(images, labeled=given))
        return self._read

    def _set_aside(self, images: Images) -> Images:
        """The images without ``reserve_clean`` of each class, which then lie behind them in one tensor."""
        if self.reserve_clean is None:
            return images
        if self.attack is None and self.fingerprint() is not None:
            raise ValueError(
                f"reserve_clean={self.reserve_clean}: nobody knows which images of this folder are clean; leave it out"
                " (--data.reserve_clean null), and let the recipe take the most certain ones (--model.clean certain)"
            )
        rows = reserved_rows(images.label, _given(images), self.reserve_clean, self.classes, self.seed or 0)
        aside = torch.zeros(len(images.label), dtype=torch.bool)
        aside[rows] = True
        n, order = len(aside) - len(rows), torch.cat([(~aside).nonzero().flatten(), rows])
        folder = cache_folder(self.cache) if self.streams(images.image.shape) else None
        whole = _picked(images, order, gathered(images.image, order, folder))
        self._with_reserve = whole
        log.info("%d images are set aside as clean ones, %d of each class", len(rows), self.reserve_clean)
        return _picked(whole, torch.arange(n), whole.image[:n])

    def _named(self, images: Images) -> Images:
        """The images with the numbers that their classes have in the run that expects them, if one does."""
        own = self.class_names()
        self.classes = own if self._expected is None else self._expected
        if self._expected is None:
            return images
        if unknown := [name for name in own if name not in self._expected]:
            raise ValueError(
                f"the data has classes that the run was not trained on: {_names(unknown)}; it knows"
                f" {_names(self._expected)}: rename them, or leave them out"
            )
        number = torch.tensor([self._expected.index(name) for name in own])
        label = torch.where(images.label >= 0, number[images.label.clamp_min(0)], images.label)
        return replace(images, label=label)

    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of the images, which are read for it."""
        image = self._clean().image if self._train is None else self._train.source.image
        return tuple(image.shape[1:])

    def chosen(self) -> Images:
        """The training images, limited, as they are in the files."""
        train = self.load(train=True)
        _check_labels(train, self.class_names())
        if self.limit_train is None or self.limit_train >= len(train.label):
            return train
        rows = stratified_subset(train.label, self.limit_train, self.seed or 0)
        return _picked(train, rows, self._some(train.image, rows))

    def _view(self, images: Images, attack: Attack | None) -> TrainingView:
        whole = images
        if self._with_reserve is not None and attack is self.attack:
            whole = self._with_reserve
            if images.image.data_ptr() != whole.image.data_ptr():  # poisoned in a copy of its own
                whole.image[: len(images.image)] = images.image
        mean, std = (self.mean, self.std) if self.mean else _statistics(images.image)
        spec = self.spec()
        if attack is not self.attack:  # as of data without it: what an attack trains is shared by all its settings
            spec = {**spec, "with": {**spec["with"], "attack": None}}
            spec.pop("learned", None)
        source = ImageSource(
            whole.image,
            whole.id,
            self.classes,
            mean,
            std,
            hash_of(spec),
            self.contrastive_augment(),
            self.streams(images.image.shape),
            at_size=None if attack is not None else self.source_at(whole),
        )
        augment = self.default_augment() if self.augment is None else self.augment
        return TrainingView(source, torch.arange(len(images.image)), images.label, augment, self.batch_size)

    def training_view(self) -> TrainingView:
        """The training set as the defender gets it."""
        self.setup()
        assert self._train is not None
        return self._train

    def reserved_view(self) -> TrainingView | None:
        """The images of ``reserve_clean`` with their true labels, none of which is in `training_view`; None without."""
        train = self.training_view()
        if self._with_reserve is None:
            return None
        rows = torch.arange(len(train), len(self._with_reserve.label))
        return TrainingView(train.source, rows, self._with_reserve.label[rows], train.augment, self.batch_size)

    def images_at(self, size: int) -> TrainingView:
        """The training set at another size, for an encoder that wants that; see `ImageView.at_size`.

        Images with a simulated attack are scaled from those that were poisoned: read from their files, the clean ones
        would be sharper than the poisoned ones (D26).
        """
        return self.training_view().at_size(size)

    def source_at(self, images: Images) -> Callable[[int], ImageSource] | None:
        """What reads the same images from their files at another size; None where there are no larger ones."""
        return None

    def measured_view(self) -> ImageView:
        """The test part or, without one, all training images with their labels: what a finished run is tested on."""
        test, train = self.clean_test(), self.training_view()
        if test is not None:
            return test
        return ImageView(train.source, train.rows, self.truth.true_label, (), self.batch_size)

    def understood(self) -> Understood:
        """What was made of the data, for people: classes, counts, what was left out, and what is odd."""
        train, test = self.training_view(), self.clean_test()
        id, hashes = train.id, train.source.hashes[: len(train)]  # without those set aside
        group = train.duplicate_group
        warnings = [
            *self.notes,
            *label_warnings(train.label, self.classes),
            *pixel_warnings(train.source.image[: len(train)], hashes, id, self._transparent, self.background),
            *copy_warnings(group, train.label, id, self.classes),
            *([] if test is None else overlap_warnings(hashes, test.source.hashes, test.id)),
        ]
        counts = [
            torch.bincount(view.label[view.label >= 0], minlength=len(self.classes)).tolist()
            for view in (train, test)
            if view is not None
        ]
        return Understood(
            data=type(self).__name__,
            classes=self.classes,
            train=tuple(counts[0]),
            withheld=int((train.label < 0).sum()),
            test=() if test is None else tuple(counts[1]),
            test_part="" if test is None else self.test_part(),
            left_out=self.left_out(),
            warnings=tuple(warnings),
        )

    def clean_test(self) -> ImageView | None:
        """All test images with their true labels; None without a test part."""
        self.setup()
        if not self.has_test():
            return None
        if self._test is None:
            test = self.load(train=False)
            _check_labels(test, self.class_names())
            test = self._named(test)
            chosen = stratified_subset(test.label, self.limit_test, self.seed or 0)
            self._test = self._test_view(
                self._some(test.image, chosen), test.label[chosen], tuple(test.id[i] for i in chosen.tolist())
            )
        return self._test

    def triggered_test(self) -> ImageView | None:
        """The test images that ASR is measured on, triggered, with their true labels; of several triggers the first.

        None without an attack, or without a test part.
        """
        if self.attack is None or not self.attack.testable or self.clean_test() is None:
            return None
        return self._triggered_with(0)

    def triggered_tests(self) -> tuple[ImageView, ...]:
        """The same for each of the attack's triggers, in the order of its ``parts``; none without an attack."""
        if self.attack is None or not self.attack.testable or self.clean_test() is None:
            return ()
        return tuple(self._triggered_with(number) for number in range(len(self.attack.parts)))

    def _triggered_with(self, number: int) -> ImageView:
        """The test images with one of the triggers."""
        clean, attack = self.clean_test(), self.attack
        assert attack is not None
        assert clean is not None
        part = attack.parts[number]
        rows = part.measured(clean.label).nonzero().flatten()
        if not len(rows):
            raise ValueError(no_trigger(part, self.classes))
        return self.triggered_from(self._some(clean.source.image, rows, part.trigger), rows)

    def triggered_from(self, image: Tensor, rows: Tensor) -> ImageView:
        """A view of triggered test images, with their true labels.

        Args:
            image: (m, C, H, W) uint8.
            rows: (m,) int64, the test images that these are of.
        """
        clean = self.clean_test()
        assert clean is not None
        return self._test_view(image, clean.label[rows], tuple(clean.source.id[i] for i in rows.tolist()))

    def _test_view(self, image: Tensor, label: Tensor, ids: tuple[str, ...]) -> ImageView:
        train = self.training_view()
        spec, streamed = {"test": describe(image)}, self.streams(image.shape)
        source = ImageSource(image, ids, self.classes, train.mean, train.std, spec, stream=streamed)
        return ImageView(source, torch.arange(len(image)), label, (), self.batch_size)

    # --- images that stay on disk ---
    def streams(self, shape: Sequence[int]) -> bool:
        """Whether images of this shape (N, C, H, W) stay in a file and are read batch by batch."""
        return math.prod(shape) > STREAM_FROM if self.stream is None else self.stream

    def _some(self, image: Tensor, rows: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        if change is None and len(rows) == len(image):  # sorted: all of them
            return image
        folder = cache_folder(self.cache) if self.streams(image.shape) else None
        return gathered(image, rows, folder, change)

    # --- Lightning: a plain module given as `model` is fitted on the training view ---
    def _with_trainer(self, view: ImageView) -> ImageView:
        view.trainer = self.trainer
        return view

    def train_dataloader(self) -> DataLoader[Tensor]:
        return self._with_trainer(self.training_view()).train_dataloader()

    def test_dataloader(self) -> DataLoader[Tensor]:
        return self._with_trainer(self._tested()).predict_dataloader()

    def predict_dataloader(self) -> DataLoader[Tensor]:
        return self._with_trainer(self._tested()).predict_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        training = self.trainer is not None and self.trainer.training
        return self._with_trainer(self.training_view() if training else self._tested()).on_after_batch_transfer(
            batch, dataloader_idx
        )

    def _tested(self) -> ImageView:
        test = self.clean_test()
        if test is None:
            raise ValueError(
                f"{type(self).__name__} has no test part here: give it a test folder, or hold a part of each class out"
                " with --data.holdout 0.2"
            )
        return test


def stratified_subset(label: Tensor, limit: int | None, seed: int) -> Tensor:
    """Sorted row numbers of a subset of ``limit`` images with the classes in (nearly) the same shares.

    Args:
        label: (N,) int64.
        limit: how many; None or N and more for all.
        seed: draws the rows.

    >>> stratified_subset(torch.tensor([0] * 6 + [1] * 3), 3, seed=0).shape
    torch.Size([3])
    """
    if limit is None or limit >= len(label):
        return torch.arange(len(label))
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(label), generator=generator)
    within = torch.zeros(len(label), dtype=torch.float64)
    # each image's place within its class, as a fraction: the lowest `limit` are a fair share
    for c in torch.unique(label):
        rows = shuffled[label[shuffled] == c]
        within[rows] = (torch.arange(len(rows), dtype=torch.float64) + 0.5) / len(rows)
    return shuffled[within[shuffled].argsort(stable=True)[:limit]].sort().values


def reserved_rows(label: Tensor, given: Tensor, count: int, classes: Sequence[str], seed: int) -> Tensor:
    """Sorted row numbers of ``count`` images of each class that have a label, drawn from the seed (D240).

    Args:
        label: (N,) int64.
        given: (N,) bool, which images have a label.
        count: of each class.
        classes: names, in label order.
        seed: draws the rows.

    Raises:
        ValueError: a class would have no labeled image left.

    >>> reserved_rows(torch.tensor([0, 0, 0, 1, 1]), torch.ones(5, dtype=torch.bool), 1, ("cat", "dog"), seed=0).shape
    torch.Size([2])
    """
    size = label[given].bincount(minlength=len(classes))
    if int(size.min()) <= count:
        name, has = classes[int(size.argmin())], int(size.min())
        most = f"reserve {has - 1} or fewer" if has > 1 else "leave reserve_clean out, or this class"
        raise ValueError(
            f"reserve_clean={count} of each class, but class {name!r} has {has} labeled training images, and at least"
            f" one is to be trained on: {most}"
        )
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(label), generator=generator)
    shuffled = shuffled[given[shuffled]]
    return torch.cat([shuffled[label[shuffled] == c][:count] for c in range(len(classes))]).sort().values


def _given(images: Images) -> Tensor:
    """(N,) bool: which labels the defender gets."""
    return torch.ones(len(images.label), dtype=torch.bool) if images.labeled is None else images.labeled.clone()


def _picked(images: Images, rows: Tensor, image: Tensor) -> Images:
    """Some rows, whose images are ``image`` already."""
    place = {row: i for i, row in enumerate(rows.tolist())}
    return replace(
        images,
        image=image,
        label=images.label[rows],
        id=tuple(images.id[i] for i in rows.tolist()),
        labeled=None if images.labeled is None else images.labeled[rows],
        transparent=tuple(place[row] for row in images.transparent if row in place),
    )


def _statistics(image: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, in [0, 1], over all training images as they are (poison included)."""
    counts = torch.zeros(image.shape[1], 256, dtype=torch.float64)
    for part in torch.split(image, max(1, per_chunk(image) // 8)):  # bincount works on a copy in int64
        for c in range(image.shape[1]):
            counts[c] += torch.bincount(part[:, c].reshape(-1), minlength=256)
    level = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * level).sum(1) / counts.sum(1)
    std = ((counts * level**2).sum(1) / counts.sum(1) - mean**2).clamp_min(1e-8).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())


def _check_labels(images: Images, classes: tuple[str, ...]) -> None:
    if not len(images.label):
        raise ValueError("the data set has no image")
    label = images.label if images.labeled is None else images.label[images.labeled | (images.label != -1)]
    low, high = (int(label.min()), int(label.max())) if len(label) else (0, 0)
    if low < 0 or high >= len(classes):
        raise ValueError(
            f"labels run from {low} to {high}, but the data has {len(classes)} classes: 0 to {len(classes) - 1}"
        )


def no_trigger(attack: Attack, classes: Sequence[str]) -> str:
    """What is wrong when no test image may carry the trigger."""
    source = "" if attack.source is None else f" (source class {classes[attack.source]!r})"
    return f"no test image may carry the trigger{source}: raise limit_test"


def _names(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
