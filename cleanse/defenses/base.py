"""What every recipe shares: it is a LightningModule whose fit is a recipe of fits."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial

from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.data.base import ImageDataModule, Truth
from cleanse.engine.fingerprint import Described
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import Classifier, Schedule
from cleanse.networks import PreActResNet18
from cleanse.utils.check import at_least_one
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


class Outcome:
    """What a recipe returns: the verdict at once, and the classifier when somebody asks for it.

    Whoever runs a recipe can so write the verdict down before the last and often longest training begins, or do
    without it.

    Args:
        verdict: one row per training image.
        model: the classifier trained on what the verdict leaves, or what trains it, such as
            ``partial(self.classify, train.with_verdict(verdict), run)``; it is called once.
        notes: sentences about the evidence, which the summary begins with.
        clean: the images that the recipe took for clean, for whoever knows whether they are; None if it took none.
    """

    def __init__(
        self,
        verdict: Verdict,
        model: LightningModule | Callable[[], LightningModule],
        notes: Sequence[str] = (),
        clean: TrainingView | None = None,
    ) -> None:
        self.verdict = verdict
        self.notes = tuple(notes)
        self.clean = clean
        self._model = model

    @cached_property
    def model(self) -> LightningModule:
        """The classifier; trained now, unless it is already."""
        return self._model if isinstance(self._model, LightningModule) else self._model()


class Defense(Described, LightningModule):
    """A recipe: `cleanse` runs it, and ``forward`` is the cleansed classifier.

    A subclass writes `cleanse` so that it reads like its paper's algorithm, sends every fit and predict through the
    runner, and ends with ``Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))``. It sees a
    `TrainingView` and nothing else.

    The defaults are the final training of Jin, Sun, Rinard 2021 (arXiv 2105.03692), on which no defense and the oracle
    are trained too. A subclass names the arguments that are its own or have another default, and hands the others to
    this constructor by ``**kwargs``: configs, ``--help`` and cache keys see them all.

    Args:
        network: builds the network from (in_channels, num_classes).
        epochs: of the final training.
        lr: of its SGD.
        momentum: of its SGD.
        weight_decay: of its SGD.
        milestones: epochs of the final training at which the learning rate is multiplied by ``gamma``.
        gamma: see ``milestones``.
        schedule: of every classifier's learning rate: ``steps``, as ``milestones`` say (constant where a training has
            none), or ``one_cycle``, up to ``lr`` and down to 0, for short trainings such as those of ``fast.yaml``.
        nesterov: Nesterov's momentum in every classifier's SGD.
        label_smoothing: of every classifier's target, in [0, 1).

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        network: NetworkFactory = PreActResNet18,
        epochs: int = 100,
        lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        milestones: Sequence[int] = (75, 90),
        gamma: float = 0.1,
        schedule: Schedule = "steps",
        nesterov: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        at_least_one(epochs=epochs)
        self.network = network
        self.epochs = epochs
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.milestones = tuple(milestones)
        self.gamma = gamma
        self.schedule: Schedule = schedule
        self.nesterov = nesterov
        self.label_smoothing = label_smoothing
        self.model: LightningModule | None = None

    @property
    def title(self) -> str:
        """What results and tables call this recipe."""
        return type(self).__name__

    def given(self, reserved: int | None = None) -> tuple[str, ...]:
        """What the recipe is told beyond images and labels, such as ``clean:10/class``; results are marked with it.

        Args:
            reserved: how many clean images of each class the data has set aside; None for none.
        """
        return ()

    @abstractmethod
    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        """Judge every image of ``train`` and train on what is left."""

    def plan_verdict(self, train: TrainingView) -> list[Planned] | None:
        """The stages that `cleanse` will ask the runner for before it has its verdict, in their order.

        The user sees them, and how long they will take, before the first one begins; nothing is computed from them. A
        stage that may be left out is listed.

        Returns:
            None if one cannot say.
        """
        return None

    def plan_final(self, train: TrainingView) -> list[Planned]:
        """The same for the training on what the verdict will leave: no more than all images that have a label."""
        labeled = train.subset(train.labeled)
        return [replace(stage, most=True) for stage in self.plan_classifier(labeled)]

    def plan_classifier(self, train: TrainingView) -> list[Planned]:
        """The same of `classify`, whose view this is; a subclass that writes one writes the other."""
        return [Planned("classifier", self.final_classifier(train), train, self.epochs)]

    def classify(self, train: TrainingView, run: Runner) -> LightningModule:
        """The final training, on labeled images; also what the recipe is compared with (no defense, clean only)."""
        return run.fit("classifier", self.final_classifier(train), train, max_epochs=self.epochs)

    def final_classifier(self, train: TrainingView) -> Callable[[], LightningModule]:
        """Builds the classifier that the final training trains."""
        return self.classifier(train, self.milestones)

    def classifier(self, train: TrainingView, milestones: Sequence[int] = ()) -> "partial[Classifier]":
        """Builds a classifier for this data with the recipe's optimizer; constant learning rate by default."""
        return partial(
            Classifier, self.network, train.image_spec,
            lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, milestones=milestones, gamma=self.gamma,
            schedule=self.schedule, nesterov=self.nesterov, label_smoothing=self.label_smoothing,
        )  # fmt: skip

    def setup(self, stage: str) -> None:
        """Make the classifier that a checkpoint's weights belong to (``cleanse test``, ``cleanse predict``)."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.model is None and isinstance(data, ImageDataModule):
            self.model = self.final_classifier(data.training_view())()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float images in [0, 1] to (B, classes) logits of the cleansed classifier."""
        if self.model is None:
            raise ValueError("this recipe has no classifier yet: fit it, or load a checkpoint of a run")
        return self.model(image)  # type: ignore[no-any-return]


class OracleDefense(Defense):
    """A recipe that is given the truth, and whose results are marked as such."""

    def given(self, reserved: int | None = None) -> tuple[str, ...]:
        return ("truth",)

    @abstractmethod
    def cleanse(self, train: TrainingView, run: Runner, truth: Truth) -> Outcome:  # type: ignore[override]
        """Judge every image with the help of the truth."""
