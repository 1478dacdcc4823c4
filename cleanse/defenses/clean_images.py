"""Recipes that need a few clean images, and the two ways to come by them."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from cleanse.defenses.base import Defense, Outcome
from cleanse.defenses.contrastive_filter import ContrastiveFilter
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.functional import lowest_of_class
from cleanse.utils.check import at_least_one
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


class CleanImagesDefense(Defense):
    """A recipe that takes a few clean images of each class, with their labels.

    Published methods are given them. Whoever has a stranger's images is not: with ``certain`` they are those training
    images that another recipe is most certain to keep, so that nobody knows how many of them really are clean; where
    an attack is simulated, the experiment measures it (``clean_purity``, D241).

    Args:
        clean: ``reserved``, the images that ``--data.reserve_clean`` set aside before the attack; or ``certain``.
        clean_per_class: how many of each class with ``certain``.
        certain_by: makes the recipe that chooses them; None for ``knn_energy`` with the settings of its paper.
        **kwargs: the other arguments of `Defense`.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        clean: Literal["reserved", "certain"] = "reserved",
        clean_per_class: int = 10,
        certain_by: Callable[[], Defense] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least_one(clean_per_class=clean_per_class)
        self.clean = clean
        self.clean_per_class = clean_per_class
        self.certain_by = partial(ContrastiveFilter, method="knn_energy") if certain_by is None else certain_by

    def given(self, reserved: int | None = None) -> tuple[str, ...]:
        return (f"clean:{reserved}/class",) if self.clean == "reserved" else ()

    def check_reserve(self, reserved: TrainingView | None) -> None:
        """Refuse data without clean images where there must be some.

        Raises:
            ValueError: says how to come by them.
        """
        if self.clean == "reserved" and reserved is None:
            raise ValueError(
                f"{self.title} needs clean images: set some of each class aside (--data.reserve_clean 10), or let it"
                " take those that another recipe is most certain of (--model.clean certain)"
            )

    def plan_clean_images(self, train: TrainingView) -> list[Planned] | None:
        """The stages of `clean_images`; None if the recipe that chooses them cannot say."""
        return [] if self.clean == "reserved" else self.certain_by().plan_verdict(train)

    def most_clean_images(self, train: TrainingView) -> int:
        """How many clean images there will be at most, for the plan: those of the data that are not in ``train``."""
        beside = len(train.source.id) - len(train)
        return beside if self.clean == "reserved" else self.clean_per_class * train.num_classes

    def clean_images(self, train: TrainingView, run: Runner, reserved: TrainingView | None) -> TrainingView:
        """The clean images: those set aside, or the most certain ones of ``train``.

        Args:
            train: all training images.
            run: makes the stages of ``certain_by``.
            reserved: those set aside; None for none.

        Raises:
            ValueError: none were set aside, or too few images of a class are kept.
        """
        self.check_reserve(reserved)
        if self.clean == "reserved" and reserved is not None:
            return reserved
        return most_certain(train, self.certain_by().cleanse(train, run).verdict, self.clean_per_class)

    @abstractmethod
    def cleanse(self, train: TrainingView, run: Runner, reserved: TrainingView | None) -> Outcome:  # type: ignore[override]
        """Judge every image of ``train`` with the help of clean ones.

        Args:
            train: the training images; none of ``reserved`` is among them, and both are of one source.
            run: the runner.
            reserved: clean images with their labels; None if none were set aside.
        """


def most_certain(train: TrainingView, verdict: Verdict, count: int) -> TrainingView:
    """The ``count`` kept images of each class that a verdict suspects least.

    Raises:
        ValueError: a class has fewer kept images.
    """
    label = verdict.label.masked_fill(~verdict.kept, -1)
    size = label[label >= 0].bincount(minlength=train.num_classes)
    if int(size.min()) < count:
        name, has = train.classes[int(size.argmin())], int(size.min())
        fewer = f"ask for {has} or fewer, or " if has else ""
        raise ValueError(
            f"clean_per_class={count}, but only {has} images of class {name!r} are kept by the recipe that chooses"
            f" them: {fewer}set clean images aside (--data.reserve_clean)"
        )
    return train.subset(lowest_of_class(verdict.score, label, count))
