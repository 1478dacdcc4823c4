"""Neural attention distillation: a backdoored network learns to look where its fine-tuned copy looks."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn

from cleanse.defenses.base import Outcome
from cleanse.defenses.clean_images import CleanImagesDefense
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.modules.attention_distillation import BETA, AttentionDistillation
from cleanse.modules.classifier import warm_start
from cleanse.modules.label_loss import LabelLoss
from cleanse.utils.check import at_least_one
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


class NAD(CleanImagesDefense):
    """Li et al. 2021, "Neural Attention Distillation" (arXiv 2101.05930).

    A network is trained on the data as they are. A copy of it, fine-tuned on a few clean images, is the teacher; the
    network itself is then trained on the same images so that three of its attention maps become those of the teacher.
    The classifier is this network, and the verdict keeps every image: none is judged. The score says how much less
    probable the given label has become.

    The paper's text was not at hand: numbers are those of the released code, which has 5 % of the training images as
    clean ones; the network is not, and there is no Cutout (D252). What is open: D240, D241, D251.

    Args:
        beta: weights of the three maps; 500, 1000 and 1000 for maps of 32, 16 and 8 pixels a side (D251).
        teacher_epochs: of the fine-tuning; 10.
        teacher_lr: of its SGD, constant; 0.01 (D252).
        distill_epochs: of the distillation; 20.
        distill_lr: of its SGD; 0.1.
        distill_milestones: its epochs at which the learning rate is multiplied by ``gamma``; (2,).
        distill_batch_size: of both, over all processes; 64.
        distill_weight_decay: of both; 1e-4.
        augment: of both, in order; None for the data's. Without any, the backdoor stays (docs/results.md).
        **kwargs: the other arguments of `CleanImagesDefense` and `Defense`; ``epochs`` and the rest are those of the
            training on the data as they are.

    Raises:
        ValueError: an argument out of range; while it runs, no clean images, or a network without three feature maps.
    """

    def __init__(
        self,
        beta: Sequence[float] = BETA,
        teacher_epochs: int = 10,
        teacher_lr: float = 0.01,
        distill_epochs: int = 20,
        distill_lr: float = 0.1,
        distill_milestones: Sequence[int] = (2,),
        distill_batch_size: int = 64,
        distill_weight_decay: float = 1e-4,
        augment: list[nn.Module] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(beta) != 3 or min(beta) < 0:
            raise ValueError(f"beta are the weights of three maps, 0 or more, not {tuple(beta)}")
        at_least_one(
            teacher_epochs=teacher_epochs, distill_epochs=distill_epochs, distill_batch_size=distill_batch_size
        )
        self.beta = tuple(beta)
        self.teacher_epochs = teacher_epochs
        self.teacher_lr = teacher_lr
        self.distill_epochs = distill_epochs
        self.distill_lr = distill_lr
        self.distill_milestones = tuple(distill_milestones)
        self.distill_batch_size = distill_batch_size
        self.distill_weight_decay = distill_weight_decay
        self.augment = augment

    @property
    def title(self) -> str:
        return "NAD"

    def plan_verdict(self, train: TrainingView) -> list[Planned] | None:
        first = self.plan_clean_images(train)
        if first is None:
            return None
        view = train.subset(train.labeled)
        attacked = self.plan_classifier(view)
        build, few = self._phase(train), self._few(view)
        shared: dict[str, Any] = {"data": few, "images": self.most_clean_images(train), "most": True}
        teacher = Planned("teacher", build, epochs=self.teacher_epochs, **shared)
        student = Planned("student", build, epochs=self.distill_epochs, **shared)
        tables = [Planned(name, build, view.plain()) for name in ("label_before", "label_after")]
        return [*first, *attacked, teacher, student, *tables]

    def plan_final(self, train: TrainingView) -> list[Planned]:
        """Nothing: the verdict needs the classifier."""
        return []

    def cleanse(self, train: TrainingView, run: Runner, reserved: TrainingView | None) -> Outcome:  # type: ignore[override]
        self._phase(train)()  # before anything is trained: the network has its three maps
        clean = self._few(self.clean_images(train, run, reserved))
        labeled = train.subset(train.labeled)
        # the network as the data make it
        attacked = self.classify(labeled, run)
        # the teacher: fine-tuned on the clean images
        tune = self._phase(train, lr=self.teacher_lr)
        teacher = run.fit("teacher", partial(warm_start, tune, attacked), clean, max_epochs=self.teacher_epochs)
        # the student: cross-entropy, and the distance of its attention maps from the teacher's
        distill = self._phase(
            train, lr=self.distill_lr, milestones=self.distill_milestones, teacher=teacher, beta=self.beta
        )
        student = run.fit("student", partial(warm_start, distill, attacked), clean, max_epochs=self.distill_epochs)
        before, after = (
            run.predict(name, LabelLoss(model), labeled.plain()).probability
            for name, model in (("label_before", attacked), ("label_after", student))
        )
        reasons = [""] * len(labeled)
        verdict = Verdict.of_labeled(train.id, train.label, train.labeled, labeled.label, before - after, reasons)
        return Outcome(verdict, student, clean=clean)

    def _few(self, clean: TrainingView) -> TrainingView:
        """Clean images in the batches and with the augmentation of fine-tuning and distillation."""
        view = clean.with_batch_size(self.distill_batch_size)
        return view if self.augment is None else view.augmented_by(self.augment)

    def _phase(self, train: TrainingView, **arguments: Any) -> "partial[AttentionDistillation]":
        shared = {
            "momentum": self.momentum,
            "weight_decay": self.distill_weight_decay,
            "gamma": self.gamma,
            "nesterov": True,
        }
        return partial(
            AttentionDistillation, self.network, train.image_spec, **{"milestones": (), **shared, **arguments}
        )
