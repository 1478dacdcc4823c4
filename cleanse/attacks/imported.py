"""A poisoned set that another tool has made: its rows, labels and roles, and no trigger but in its files."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cleanse.attacks.base import POISON, Attack, Poisoned


class Imported(Attack):
    """What ``cleanse import`` makes of a poisoned set: which rows are poison, and what the triggered images stand for.

    The trigger is the other tool's, so that nothing can be triggered here; triggered test images are those of the
    files, where there are any.

    Args:
        origin: the tool.
        name: of the set, as its folder is called.
        testable: whether the files have triggered test images.

    Raises:
        ValueError: an argument out of range; while poisoning, no set that was given before.
    """

    def __init__(self, origin: str, name: str = "", testable: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.origin = origin
        self.name = name
        self.testable = testable
        self._made: Poisoned | None = None
        self._whom = ""

    def give(self, made: Poisoned) -> None:
        """The set, row by row that of the data module."""
        self._made = made
        poisoned = made.true_label[made.role == POISON]
        if not bool(super().eligible(poisoned).all()):  # other tools may poison images of the target class as well
            self._whom = "target" if bool((poisoned == self.target).all()) else "any"

    def eligible(self, true_label: Tensor) -> Tensor:
        """(N,) bool: the training images that the other tool may have poisoned, as far as its poison shows."""
        if self._whom == "any":
            return torch.ones_like(true_label, dtype=torch.bool)
        return true_label == self.target if self._whom == "target" else super().eligible(true_label)

    def eligible_name(self) -> str:
        named = {"any": "any class", "target": f"class {self._name(self.target)}, labels kept"}
        return named.get(self._whom) or super().eligible_name()

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        """Nothing: the trigger is in the files."""

    def trigger(self, image: Tensor) -> Tensor:
        raise ValueError(f"the trigger of this set is {self.origin}'s: its triggered test images are in its files only")

    def roles(self, true_label: Tensor, labeled: Tensor, seed: int) -> Tensor:
        return self._given().role

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
        made = self._given()
        self.check_classes(num_classes, classes)
        if made.image.shape != image.shape:
            shapes = f"{tuple(made.image.shape)}, the clean ones {tuple(image.shape)}"
            raise ValueError(f"the imported images are {shapes}: name the data set that was poisoned, at its size")
        self._say(made, labeled)
        return made

    def in_words(self) -> str:
        """The set, whom its attack poisoned, and what for."""
        return f"{self.name or 'a set'} of {self.origin} ({self.eligible_name()} -> {self.aim_name()})"

    def _given(self) -> Poisoned:
        if self._made is None:
            raise ValueError(
                "Imported poisons nothing by itself: `cleanse import` makes a frozen set of another tool's"
            )
        return self._made
