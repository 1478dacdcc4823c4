"""What every attack shares: whom it may poison, how many it does, and a frozen result that describes itself."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.engine.fingerprint import Described
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")

CLEAN, POISON, COVER = 0, 1, 2
TAKEN = 3  # by another attack; in no result
LabelMode = Literal["target", "next", "random"]
ROLES = ("clean", "poison", "cover")
FEW = 10  # poisoned images, below which there is a warning
FEW_OF_ELIGIBLE = 0.001  # the same as a share
PER_CALL = 2**28  # bytes of images that are poisoned in one call: the work in between takes several times as much


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set, frozen: the same images, labels and trigger for every stage and every epoch.

    Attributes:
        image: (N, C, H, W) uint8, triggers applied, before any augmentation (D40).
        label: (N,) int64, as the defender is given it; -1 where withheld.
        true_label: (N,) int64.
        role: (N,) int8, an index into ``ROLES``.
        trigger: (N,) int8, number of the trigger that an image carries, from 0, and -1 for none; None for 0 wherever
            the role is not clean.
    """

    image: Tensor
    label: Tensor
    true_label: Tensor
    role: Tensor
    trigger: Tensor | None = None


class Attack(Described, nn.Module):
    """Poison a training set and trigger test images.

    An attack draws its trigger and its rows once, from the data's seed, and keeps the trigger's state in buffers, so
    that ``state_dict()`` is all that is needed to trigger the same way later (D41): a new instance that loads it
    triggers the same without having poisoned anything. The rows come from a stream of random numbers of their own: for
    one seed they are the same whatever the trigger, and the trigger is the same whatever the rate.

    Exactly one of ``count``, ``poison_rate`` and ``class_rate`` says how many training images are poisoned (D43):
    ``count`` images; ``floor(poison_rate * N)`` of all N training images; or ``floor(class_rate * eligible)`` of those
    that the attack may use (`eligible`): the source class where there is one, otherwise all images that are not of
    the target class. With labels withheld from a part of the set, these numbers are those of the labeled part; the
    rest has ``unlabeled_count`` or ``unlabeled_rate`` (of the eligible images there), and, with neither, the same
    rate again, or nothing under a ``count``.

    ``labels`` says what the trigger stands for: one class, ``target``; the class after the true one, ``next``, of any
    image (all-to-all, y to y + 1 modulo the number of classes); or a class drawn for each poisoned image among the
    others, ``random`` (untargeted). With the latter two ``target`` is without meaning, every image may be poisoned, and
    every test image is measured (D57).

    Args:
        target: the class that the trigger stands for.
        source: the only class whose images are poisoned and measured; None for all but the target.
        count: poisoned images, an absolute number; 0 for a trigger alone, or for poison without a label alone.
        poison_rate: poisoned images / all training images, in (0, 1].
        class_rate: poisoned images / images that the attack may use (of the source class, of the target class for a
            clean-label attack, otherwise all that are not of the target class), in (0, 1].
        unlabeled_count: poisoned images in the unlabeled part.
        unlabeled_rate: poisoned images / eligible images in the unlabeled part, in [0, 1].
        labels: which label poisoned images are given: ``target``, ``next`` or ``random``.

    Raises:
        ValueError: not exactly one of the three numbers, both unlabeled ones, a number out of range, a source class
            that is the target, or a label mode that the attack does not have.
    """

    label_modes: tuple[LabelMode, ...] = ("target", "next", "random")
    """What ``labels`` may be; a subclass whose trigger or choice of images is made for one class has fewer."""

    testable = True
    """Whether test images can be triggered; not those of a set that came without its trigger."""

    def __init__(
        self,
        target: int = 0,
        source: int | None = None,
        count: int | None = None,
        poison_rate: float | None = None,
        class_rate: float | None = None,
        unlabeled_count: int | None = None,
        unlabeled_rate: float | None = None,
        labels: LabelMode = "target",
    ) -> None:
        super().__init__()
        self._classes: tuple[str, ...] = ()
        if type(self) is Attack:
            raise ValueError("there is no attack: name one, for example with --config attacks/badnets.yaml")
        if labels not in self.label_modes:
            raise ValueError(f"labels of {type(self).__name__} is one of {', '.join(self.label_modes)}, not {labels!r}")
        if labels != "target" and source is not None:
            raise ValueError(
                f"labels={labels} is about images of every class, not of source {source}: set source to null, or labels"
                " to target"
            )
        self.labels = labels
        self.target = target
        self.source = source
        self.count = count
        self.poison_rate = poison_rate
        self.class_rate = class_rate
        self.unlabeled_count = unlabeled_count
        self.unlabeled_rate = unlabeled_rate
        given = {"count": count, "poison_rate": poison_rate, "class_rate": class_rate}
        if sum(v is not None for v in given.values()) != 1:
            shown = ", ".join(f"{k}={v}" for k, v in given.items())
            raise ValueError(
                f"{type(self).__name__} takes exactly one of {shown}: set one, and the others to null, as in"
                " --data.attack.class_rate null"
            )
        if unlabeled_count is not None and unlabeled_rate is not None:
            raise ValueError(f"set unlabeled_count ({unlabeled_count}) or unlabeled_rate ({unlabeled_rate}), not both")
        for name, number in (("count", count), ("unlabeled_count", unlabeled_count)):
            if number is not None and number < 0:
                raise ValueError(f"{name} is a number of images, 0 or more, not {number}")
        for name, rate in (("poison_rate", poison_rate), ("class_rate", class_rate)):
            if rate is not None and not 0 < rate <= 1:
                none = "" if rate else ": no attack is --data.attack null"
                raise ValueError(f"{name} is a fraction above 0 and at most 1, not {rate}{none}")
        if unlabeled_rate is not None and not 0 <= unlabeled_rate <= 1:
            raise ValueError(f"unlabeled_rate is a fraction between 0 and 1, not {unlabeled_rate}")
        if source == target:
            raise ValueError(f"source and target are both class {target}: an attack needs two different classes")

    @property
    def parts(self) -> "tuple[Attack, ...]":
        """The attacks that are measured, each with one trigger; this one, unless it is made of others."""
        return (self,)

    def look(self, image: Tensor, id: Sequence[str]) -> None:
        """See the clean training images before rows are chosen; most attacks choose by the label alone.

        Args:
            image: (N, C, H, W) uint8.
            id: of each image.
        """

    def learn(self, clean: TrainingView, role: Tensor, seed: int, run: Runner) -> None:
        """Train whatever the trigger needs (a surrogate model), before anything is poisoned; most attacks need nothing.

        Args:
            clean: the training view without any attack, all labels true.
            role: (N,) int8, of `roles`: what will be poisoned.
            seed: of `poison`.
            run: makes each training a stage of the run.
        """

    def plan_learn(self, clean: TrainingView, role: Tensor) -> list[Planned]:
        """The stages that `learn` will ask for; a stand-in with the same network where one needs what another trains.

        Args:
            clean: as for `learn`.
            role: likewise.
        """
        return []

    @property
    def learned(self) -> Tensor | None:
        """What `learn` found, for the description of the poisoned data; None if nothing."""
        return None

    @abstractmethod
    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        """Draw the trigger's state for images of ``shape`` (C, H, W) into buffers; called once, before `trigger`.

        Raises:
            ValueError: the trigger does not fit the image.
        """

    @abstractmethod
    def trigger(self, image: Tensor) -> Tensor:
        """Trigger test images: (B, C, H, W) uint8 to the same, a copy."""

    def poison_image(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Trigger training images; the same as `trigger` unless the attack is asymmetric."""
        return self.trigger(image)

    def eligible(self, true_label: Tensor) -> Tensor:
        """(N,) bool: the training images that may be poisoned."""
        return self.measured(true_label)

    def measured(self, true_label: Tensor) -> Tensor:
        """(N,) bool: the test images that ASR is measured on, of the source class or not of the target (D42)."""
        if self.labels != "target":
            return torch.ones_like(true_label, dtype=torch.bool)
        return true_label != self.target if self.source is None else true_label == self.source

    def aim(self, true_label: Tensor, num_classes: int) -> Tensor | None:
        """(N,) int64: the class that a model with the backdoor sees in each triggered image; None for any but the true.

        Args:
            true_label: (N,) int64.
            num_classes: C.
        """
        if self.labels == "random":
            return None
        return (true_label + 1) % num_classes if self.labels == "next" else torch.full_like(true_label, self.target)

    def poison(
        self,
        image: Tensor,
        true_label: Tensor,
        labeled: Tensor,
        num_classes: int,
        seed: int,
        in_place: bool = False,
        classes: Sequence[str] = (),
    ) -> Poisoned:
        """Freeze a poisoned copy of a training set.

        Args:
            image: (N, C, H, W) uint8, clean.
            true_label: (N,) int64.
            labeled: (N,) bool, False where the defender gets no label (the poison there keeps its place, unlabeled).
            num_classes: number of classes.
            seed: everything that is drawn comes from it.
            in_place: write into ``image``, for a set too large for a copy.
            classes: names of the classes, for what is logged; numbers stand for those that have none.

        Raises:
            ValueError: a class out of range, a trigger larger than the image, more poison than eligible images.
        """
        self.check_classes(num_classes, classes)
        generator, rows_generator = streams(seed)
        self.draw((image.shape[1], image.shape[2], image.shape[3]), generator)
        role = self._roles(true_label, labeled, rows_generator)
        poisoned, label = image if in_place else image.clone(), torch.where(labeled, true_label, -1)
        self._write(poisoned, label, true_label, role, num_classes, generator, rows_generator)
        result = Poisoned(poisoned, label, true_label, role, torch.where(role == CLEAN, -1, 0).to(torch.int8))
        self._say(result, labeled)
        return result

    def check_classes(self, num_classes: int, classes: Sequence[str] = ()) -> None:
        """Refuse classes that the data does not have.

        Args:
            num_classes: number of classes.
            classes: their names, which are remembered for what is logged.

        Raises:
            ValueError: a class out of range.
        """
        self._classes = tuple(classes)
        for name, number in (("target", self.target), ("source", self.source)):
            if number is not None and not 0 <= number < num_classes:
                named = f" ({', '.join(map(repr, self._classes))})" if 0 < len(self._classes) <= 20 else ""
                raise ValueError(
                    f"{name} class {number} is out of range: the data has classes 0 to {num_classes - 1}{named}"
                )

    def _write(
        self,
        image: Tensor,
        label: Tensor,
        true_label: Tensor,
        role: Tensor,
        num_classes: int,
        generator: torch.Generator,
        rows_generator: torch.Generator,
    ) -> None:
        """Put the trigger into the rows of ``image`` that ``role`` names, and their new labels into ``label``."""
        most = max(1, PER_CALL // image[0].numel())
        for kind in (POISON, COVER):
            rows = (role == kind).nonzero().flatten()
            for some in torch.split(rows, most) if len(rows) else ():
                image[some] = self._change(image[some], some, kind, generator)
        changed = (role == POISON) & (label >= 0)
        aim = self.aim(true_label, num_classes)
        if aim is None:
            others = torch.randint(1, num_classes, true_label.shape, generator=rows_generator)
            aim = (true_label + others) % num_classes
        label[changed] = aim[changed]

    def _say(self, result: Poisoned, labeled: Tensor) -> None:
        """Log what was done."""
        log.info(self.describe_counts(result))
        self._warn_if_few(self.counts(result, labeled))

    def roles(self, true_label: Tensor, labeled: Tensor, seed: int) -> Tensor:
        """Which rows `poison` will change, given the same arguments.

        Args:
            true_label: (N,) int64.
            labeled: (N,) bool, False where the defender gets no label.
            seed: of `poison`.

        Returns:
            (N,) int8, an index into ``ROLES``.

        Raises:
            ValueError: more poison than eligible images.
        """
        return self._roles(true_label, labeled, streams(seed)[1])

    def _roles(
        self, true_label: Tensor, labeled: Tensor, generator: torch.Generator, taken: Tensor | None = None
    ) -> Tensor:
        """The roles, with no row that is ``taken``, (N,) bool, by another attack."""
        role = torch.full((len(true_label),), CLEAN, dtype=torch.int8)
        if taken is not None:
            role[taken] = TAKEN
        for part, is_labeled in ((labeled, True), (~labeled, False)):
            eligible = self.eligible(true_label) & part
            rows = (eligible & (role == CLEAN)).nonzero().flatten()
            n, why = self._how_many(int(eligible.sum()), int(part.sum()), is_labeled)
            if n > len(rows):
                where = "labeled" if is_labeled else "unlabeled"
                free = "" if taken is None else " and not poisoned by another attack"
                raise ValueError(
                    f"{why} asks for {n} poisoned {where} images, but only {len(rows)} are eligible"
                    f" ({self.eligible_name()}){free}: lower it to at most what is there"
                )
            role[self._choose(rows, n, generator)] = POISON
        self._add_covers(role, true_label, labeled, generator)
        role[role == TAKEN] = CLEAN
        return role

    def counts(self, poisoned: Poisoned, part: Tensor | None = None) -> dict[str, int]:
        """How many training images are ``poisoned``, ``eligible``, ``all`` and ``cover``.

        Args:
            poisoned: what `poison` returned.
            part: (N,) bool, the rows to count; None for all.
        """
        part = torch.ones_like(poisoned.label, dtype=torch.bool) if part is None else part
        return {
            "poisoned": int((part & (poisoned.role == POISON)).sum()),
            "eligible": int((part & self.eligible(poisoned.true_label)).sum()),
            "all": int(part.sum()),
            "cover": int((part & (poisoned.role == COVER)).sum()),
        }

    def describe_counts(self, poisoned: Poisoned) -> str:
        """One line with both the poison rate and the class rate, for the log; papers mean either (D43)."""
        given = poisoned.label >= 0
        parts: list[tuple[str, Tensor | None]] = [("", None)]
        if not given.all():
            parts += [("labeled: ", given), ("unlabeled: ", ~given)]
        lines = []
        for name, part in parts:
            n = self.counts(poisoned, part)
            poison_rate, class_rate = _percent(n["poisoned"], n["all"]), _percent(n["poisoned"], n["eligible"])
            text = f"{n['poisoned']} of {n['all']} images poisoned (poison rate {poison_rate})"
            text += f", of {n['eligible']} eligible (class rate {class_rate})"
            lines.append(name + text + (f", {n['cover']} cover images" if n["cover"] else ""))
        return f"{self.in_words()}: {'; '.join(lines)}"

    def in_words(self) -> str:
        """The attack, whom it poisons, and what for."""
        return f"{type(self).__name__} ({self.eligible_name()} -> {self.aim_name()})"

    def aim_name(self) -> str:
        """What the trigger stands for, in words."""
        return {"next": "the next class", "random": "a random other class"}.get(self.labels, self._name(self.target))

    def _warn_if_few(self, n: Mapping[str, int]) -> None:
        """Say so if the labeled part has fewer poisoned images than as a rule teach a model the trigger (D56)."""
        asked = max(self.count or 0, self.poison_rate or 0, self.class_rate or 0)
        if asked and n["poisoned"] < max(FEW, FEW_OF_ELIGIBLE * n["eligible"]):
            log.warning(
                "%s: only %d of %d labeled images that may be poisoned are; fewer than %d, or than %.1f %%, as a rule"
                " teach no model the trigger: raise count, poison_rate or class_rate",
                type(self).__name__, n["poisoned"], n["eligible"], FEW, 100 * FEW_OF_ELIGIBLE,
            )  # fmt: skip

    def _name(self, number: int) -> str:
        """A class as people know it: its name where there is one that is not its number."""
        name = self._classes[number] if number < len(self._classes) else str(number)
        return name if name == str(number) else repr(name)

    def eligible_name(self) -> str:
        """Whom the attack may poison, in words."""
        if self.labels != "target":
            return "any class"
        return f"not of class {self._name(self.target)}" if self.source is None else f"class {self._name(self.source)}"

    def _how_many(self, eligible: int, total: int, is_labeled: bool) -> tuple[int, str]:
        """The number of images to poison in one part, and the argument that says so."""
        if not is_labeled and self.unlabeled_count is not None:
            return self.unlabeled_count, f"unlabeled_count={self.unlabeled_count}"
        if not is_labeled and self.unlabeled_rate is not None:
            return fraction(self.unlabeled_rate, eligible), f"unlabeled_rate={self.unlabeled_rate}"
        if self.count is not None:
            return (self.count if is_labeled else 0), f"count={self.count}"
        if self.poison_rate is not None:
            return fraction(self.poison_rate, total), f"poison_rate={self.poison_rate}"
        return fraction(self.class_rate or 0.0, eligible), f"class_rate={self.class_rate}"

    def _choose(self, rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Which ``n`` of the eligible ``rows`` are poisoned."""
        return rows[torch.randperm(len(rows), generator=generator)[:n]]

    def _add_covers(self, role: Tensor, true_label: Tensor, labeled: Tensor, generator: torch.Generator) -> None:
        """Mark cover rows (trigger, true label) in ``role``; most attacks have none."""

    def _change(self, image: Tensor, rows: Tensor, kind: int, generator: torch.Generator) -> Tensor:
        """The images (B, C, H, W) of these rows (B,) of the training set, all of one kind, with the trigger."""
        return self.poison_image(image, generator)

    def _require_drawn(self) -> None:
        """Raises: ValueError if there is no trigger yet."""
        if not self._buffers:
            raise ValueError(
                f"{type(self).__name__} has no trigger yet: poison a training set first, or load the state_dict of"
                " the attack that did"
            )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Make room for another instance's trigger: buffers appear in `draw`, and their shapes depend on the images."""
        fresh = not self._buffers
        for key, value in state_dict.items():
            name = key.removeprefix(prefix)
            if not key.startswith(prefix) or "." in name or not isinstance(value, Tensor):
                continue
            mine = self._buffers.get(name)
            if fresh or (mine is not None and (mine.shape, mine.dtype) != (value.shape, value.dtype)):
                self.register_buffer(name, torch.empty_like(value))
        super()._load_from_state_dict(state_dict, prefix, *args)


def streams(seed: int) -> tuple[torch.Generator, torch.Generator]:
    """Random numbers of the trigger and of the rows: neither depends on how many the other draws."""
    generator = torch.Generator().manual_seed(seed)
    return generator, torch.Generator().manual_seed(int(torch.randint(2**31, (1,), generator=generator)))


def fraction(rate: float, total: int) -> int:
    """``floor(rate * total)``, but of the decimal number that was written.

    >>> int(0.29 * 100), fraction(0.29, 100)
    (28, 29)
    """
    return int(rate * total + 1e-9)


def draw_covers(role: Tensor, allowed: Tensor, labeled: Tensor, rate: float, generator: torch.Generator) -> None:
    """Make ``fraction(rate, images)`` rows of each part, labeled or not, cover images.

    Args:
        role: (N,) int8, changed in place.
        allowed: (N,) bool, the rows that may be drawn; of these, those that are clean so far.
        labeled: (N,) bool.
        rate: cover images / all images of a part; the attack's ``cover_rate``.
        generator: the rows come from it.

    Raises:
        ValueError: fewer rows are left than are asked for.

    >>> role, every = torch.tensor([POISON, CLEAN, CLEAN]), torch.ones(3, dtype=torch.bool)
    >>> draw_covers(role, torch.tensor([True, False, True]), every, 0.34, torch.Generator())
    >>> role.tolist()
    [1, 0, 2]
    """
    for part, name in ((labeled, "labeled"), (~labeled, "unlabeled")):
        rows = ((role == CLEAN) & allowed & part).nonzero().flatten()
        n = fraction(rate, int(part.sum()))
        if n > len(rows):
            raise ValueError(
                f"cover_rate={rate} asks for {n} {name} cover images, but only {len(rows)} are not poisoned and may be"
                " covers: lower it to at most what is there"
            )
        role[rows[torch.randperm(len(rows), generator=generator)[:n]]] = COVER


def stamp(image: Tensor, pattern: Tensor, mask: Tensor) -> Tensor:
    """Copies of images that show a pattern wherever a mask says so.

    Args:
        image: (B, C, H, W) uint8.
        pattern: (C, H, W) uint8.
        mask: (H, W) bool.

    Raises:
        ValueError: the trigger was drawn for images of another shape.

    >>> stamp(torch.zeros(1, 1, 1, 3), torch.full((1, 1, 3), 9.0), torch.tensor([[False, True, False]]))
    tensor([[[[0., 9., 0.]]]])
    """
    if image.shape[1:] != pattern.shape:
        drawn, given = tuple(pattern.shape), tuple(image.shape[1:])
        raise ValueError(f"the trigger was drawn for images of {drawn} (channels, height, width), not of {given}")
    return torch.where(mask.to(image.device), pattern.to(image.device), image)


def match_channels(color: Tensor, channels: int) -> Tensor:
    """Colors for images with ``channels`` channels: as they are for 3, their luminance (ITU-R 601) for 1.

    Args:
        color: (3, ...) red, green and blue in 0..255.
        channels: 1 or 3.

    Returns:
        (channels, ...) uint8, rounded.

    Raises:
        ValueError: another number of channels.

    >>> match_channels(torch.tensor([255, 0, 0]), 1).tolist()
    [76]
    """
    if channels not in (1, 3):
        raise ValueError(f"a trigger in color goes on images with 1 or 3 channels, not {channels}")
    color = color.double()
    if channels == 1:
        color = 0.299 * color[:1] + 0.587 * color[1:2] + 0.114 * color[2:]
    return color.round().clamp(0, 255).to(torch.uint8)


@runtime_checkable
class AdaptsToData(Protocol):
    """A module whose layers are made when its data is known, such as `cleanse.modules.Classifier`."""

    def adapt_to(self, view: TrainingView) -> None:
        """Make the layers for the images of ``view``."""


def build_for(build: Callable[[], LightningModule], view: TrainingView) -> LightningModule:
    """The module of a factory that knows nothing of the data, with its layers made for ``view``.

    Raises:
        ValueError: the factory makes a module that cannot adapt.
    """
    module = build()
    if not isinstance(module, AdaptsToData):
        raise ValueError(
            f"surrogate: {type(module).__name__} has no adapt_to(view) that makes its layers: give a module"
            " such as cleanse.modules.Classifier or cleanse.modules.SimCLR"
        )
    module.adapt_to(view)
    return module


def plan_surrogate(build: Callable[[], LightningModule], view: TrainingView, epochs: int) -> Planned:
    """The attacker's own training, of a factory that knows nothing of the data."""
    return Planned("surrogate", partial(build_for, build, view), view, epochs)


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "none"
