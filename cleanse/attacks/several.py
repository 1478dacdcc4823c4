"""Several attacks at once: each with its own trigger, target and rate, on images of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cleanse.attacks.base import CLEAN, Attack, Poisoned, streams
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.views import TrainingView


class Several(Attack):
    """Poison one training set with several attacks, each on rows that no other one has.

    Several targets, or several triggers of one target as in backdoor-toolbox's k-way attack. The attacks choose their
    rows one after the other, the first first; rates and counts are each one's own, of the whole training set. An image
    that may serve two attacks serves one: a row that an earlier attack has changed, as poison or as cover, is not
    eligible any more.

    Each trigger is measured alone, on its own triggered copy of the test set: ASR, RA and TMR are the means over the
    triggers, ``asr_max`` is the highest ASR, and ``asr_1``, ``tpr_1`` and so on are each one's, in this order (D280).
    Triggers with other ``labels`` are measured otherwise (D57): look at each one's figures, not at the means.
    `trigger`, `measured` and `aim` are those of the first; the others are in ``parts``.

    Args:
        attacks: at least two, each with its rate; one of several stands for its own attacks.

    Raises:
        ValueError: fewer than two attacks; while poisoning, what any of them refuses, or too few rows that are left.

    >>> from cleanse.attacks import BadNets
    >>> two = Several([BadNets(target=0, count=2), BadNets(target=1, count=3, corner="upper_left")])
    >>> label = torch.arange(40) % 4
    >>> found = two.poison(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), label, label >= 0, 4, seed=0)
    >>> torch.bincount(found.trigger[found.trigger >= 0].long()).tolist()
    [2, 3]
    """

    def __init__(self, attacks: list[Attack]) -> None:
        parts = [part for attack in attacks for part in attack.parts]
        if len(parts) < 2:
            raise ValueError(f"attacks is a list of at least two attacks, not {len(parts)}: name one by itself")
        super().__init__(target=parts[0].target, count=0)
        self.attacks = nn.ModuleList(parts)
        self._own: list[Tensor] | None = None

    @property
    def parts(self) -> tuple[Attack, ...]:
        return tuple(part for part in self.attacks if isinstance(part, Attack))

    def look(self, image: Tensor, id: Sequence[str]) -> None:
        for part in self.parts:
            part.look(image, id)

    def plan_learn(self, clean: TrainingView, role: Tensor) -> list[Planned]:
        return [stage for part, own in self._chosen() for stage in part.plan_learn(clean, own)]

    def learn(self, clean: TrainingView, role: Tensor, seed: int, run: Runner) -> None:
        for (part, own), part_seed in zip(self._chosen(), self._seeds(seed), strict=True):
            part.learn(clean, own, part_seed, run)

    @property
    def learned(self) -> Tensor | None:
        found = [part.learned for part in self.parts]
        known = [one.flatten().double() for one in found if one is not None]
        return torch.cat(known) if known else None

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        for part in self.parts:
            part.draw(shape, generator)

    def trigger(self, image: Tensor) -> Tensor:
        return self.parts[0].trigger(image)

    def measured(self, true_label: Tensor) -> Tensor:
        return self.parts[0].measured(true_label)

    def aim(self, true_label: Tensor, num_classes: int) -> Tensor | None:
        return self.parts[0].aim(true_label, num_classes)

    def eligible(self, true_label: Tensor) -> Tensor:
        """(N,) bool: the training images that any of the attacks may poison."""
        return torch.stack([part.eligible(true_label) for part in self.parts]).any(0)

    def roles(self, true_label: Tensor, labeled: Tensor, seed: int) -> Tensor:
        role = torch.full((len(true_label),), CLEAN, dtype=torch.int8)
        self._own = []
        for part, part_seed in zip(self.parts, self._seeds(seed), strict=True):
            own = part._roles(true_label, labeled, streams(part_seed)[1], role != CLEAN)
            self._own.append(own)
            role = torch.maximum(role, own)
        return role

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
        self.check_classes(num_classes, classes)
        poisoned, label = image if in_place else image.clone(), torch.where(labeled, true_label, -1)
        role = torch.full((len(true_label),), CLEAN, dtype=torch.int8)
        trigger = torch.full_like(role, -1)
        for number, (part, part_seed) in enumerate(zip(self.parts, self._seeds(seed), strict=True)):
            generator, rows_generator = streams(part_seed)
            part.draw((image.shape[1], image.shape[2], image.shape[3]), generator)
            own = part._roles(true_label, labeled, rows_generator, role != CLEAN)
            part._write(poisoned, label, true_label, own, num_classes, generator, rows_generator)
            part._say(Poisoned(poisoned, label, true_label, own), labeled)
            trigger[own != CLEAN] = number
            role = torch.maximum(role, own)
        return Poisoned(poisoned, label, true_label, role, trigger)

    def check_classes(self, num_classes: int, classes: Sequence[str] = ()) -> None:
        for part in self.parts:
            part.check_classes(num_classes, classes)

    def describe_counts(self, poisoned: Poisoned) -> str:
        """One line over all attacks."""
        n = self.counts(poisoned)
        return f"Several: {n['poisoned']} of {n['all']} images poisoned with {len(self.parts)} triggers"

    def eligible_name(self) -> str:
        return " | ".join(part.eligible_name() for part in self.parts)

    def aim_name(self) -> str:
        return " | ".join(part.aim_name() for part in self.parts)

    def _chosen(self) -> list[tuple[Attack, Tensor]]:
        """Each attack with its own roles of the rows."""
        if self._own is None:
            raise ValueError("Several chooses the rows of each attack before any of them learns: call `roles` first")
        return list(zip(self.parts, self._own, strict=True))

    def _seeds(self, seed: int) -> list[int]:
        """One for each attack, so that two of the same kind draw other triggers and rows."""
        drawn: list[Any] = torch.randint(
            2**31, (len(self.parts),), generator=torch.Generator().manual_seed(seed)
        ).tolist()
        return [int(number) for number in drawn]
