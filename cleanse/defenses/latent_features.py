"""The features of a network that is trained on the data as they are, backdoor included."""

from torch import Tensor

from cleanse.defenses.base import Defense
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.modules.base import ImageModule
from cleanse.modules.embedding import Embedding
from cleanse.views import TrainingView


def plan_latent_features(defense: Defense, train: TrainingView) -> list[Planned]:
    """The stages of `latent_features`."""
    stages = defense.plan_classifier(train.subset(train.labeled))
    return [*stages, Planned("features", stages[-1].build, train.plain())]


def latent_features(defense: Defense, train: TrainingView, run: Runner) -> Tensor:
    """(n, D) float, one row for each image of ``train``; the training is the recipe's own final one, on all labels.

    Raises:
        ValueError: no image has a label, or the network diverged.
    """
    if not train.labeled.any():
        raise ValueError("no training image has a label, so that no network can be trained on them: raise labeled")
    model = defense.classify(train.subset(train.labeled), run)
    assert isinstance(model, ImageModule)
    features = run.predict("features", Embedding(model), train.plain()).features
    if wrong := int((~features.isfinite().all(1)).sum()):
        raise ValueError(
            f"the network diverged, its features are not finite for {wrong} of {len(features)} images: lower --model.lr"
        )
    return features
