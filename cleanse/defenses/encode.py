"""Every image as a row of numbers, by an encoder that a recipe can choose."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.defenses.base import Defense
from cleanse.encoders.frozen import OnePass
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.modules.autoencoder import Autoencoder
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import Classifier
from cleanse.modules.embedding import Embedding
from cleanse.modules.simclr import SimCLR
from cleanse.utils.check import at_least_one
from cleanse.views import TrainingView

ENCODERS = ("simclr", "autoencoder", "supervised", "pretrained")


@runtime_checkable
class Encoder(Protocol):
    """Any object that can stand for the words of ``--model.encoder``, such as a frozen network."""

    def encode(self, train: TrainingView, run: Runner) -> Tensor:
        """(n, d) float, one row for each image of ``train``."""


class EncodingDefense(Defense):
    """A recipe that judges images by where they lie in an embedding; `encode` makes it.

    An encoder that learns from images alone puts poisoned images among those that they look like. A subclass says in
    `simclr` with which settings its paper trains that encoder.

    Args:
        encoder: ``simclr``; or an ablation of the papers: ``autoencoder``, ``supervised`` (the features of a classifier
            trained on images and labels as they are), ``pretrained`` (those of the argument of this name, which is not
            trained here); or an object with ``encode(train, run)``, such as those of `cleanse.encoders`, which see the
            images at their own size.
        encoder_network: builds the encoder's network from (in_channels, num_classes); None for ``network``.
        pretrained: makes an encoder that somebody else has trained, such as `cleanse.encoders.Pretrained`; it sees the
            images of the training set, at the size that a classifier is trained on.
        features: of SimCLR and the autoencoder: ``embedding``, what the projector or the code's layer gives, or
            ``features``, what the network gives before it. Other encoders have features only.
        contrastive_augment: makes the views for contrastive training; None for the data set's own.
        pretrain_epochs: of SimCLR.
        pretrain_batch_size: of SimCLR, over all processes.
        pretrain_lr: of SimCLR.
        ablation_epochs: of the autoencoder and the supervised encoder; None for ``pretrain_epochs``.
        **kwargs: the other arguments of `Defense`.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        encoder: Literal["simclr", "autoencoder", "supervised", "pretrained"] | Encoder = "simclr",
        encoder_network: NetworkFactory | None = None,
        pretrained: Callable[[], LightningModule] | None = None,
        features: Literal["embedding", "features"] = "embedding",
        contrastive_augment: nn.Module | None = None,
        pretrain_epochs: int = 1000,
        pretrain_batch_size: int = 1024,
        pretrain_lr: float = 0.5,
        ablation_epochs: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(encoder, str) and encoder not in ENCODERS:
            raise ValueError(f"encoder is {', '.join(ENCODERS)} or an object with encode(train, run), not {encoder!r}")
        if not isinstance(encoder, (str, Encoder)):
            raise ValueError(f"encoder: {type(encoder).__name__} has no encode(train, run) that gives a row an image")
        if (encoder == "pretrained") != (pretrained is not None):
            raise ValueError("encoder=pretrained and the argument pretrained belong together: give both or neither")
        if pretrain_batch_size < 2:
            raise ValueError(f"pretrain_batch_size={pretrain_batch_size}: a contrast needs at least two images")
        self.encoder = encoder
        self.encoder_network = self.network if encoder_network is None else encoder_network
        self.pretrained = pretrained
        self.features = features
        self.contrastive_augment = contrastive_augment
        at_least_one(pretrain_epochs=pretrain_epochs, ablation_epochs=ablation_epochs)
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_batch_size = pretrain_batch_size
        self.pretrain_lr = pretrain_lr
        self.ablation_epochs = pretrain_epochs if ablation_epochs is None else ablation_epochs

    def simclr(self, train: TrainingView) -> "partial[SimCLR]":
        """Builds SimCLR as the recipe's paper trains it."""
        raise NotImplementedError

    def augmentation(self, train: TrainingView) -> nn.Module | None:
        """What makes two views of an image."""
        return train.contrastive_augment if self.contrastive_augment is None else self.contrastive_augment

    def plan_encode(self, train: TrainingView) -> list[Planned] | None:
        """The stages of `encode`; None for an encoder of somebody else's, who knows how many it has."""
        if isinstance(self.encoder, OnePass):
            return [self.encoder.plan(train)]
        if not isinstance(self.encoder, str):
            return None
        if self.pretrained is not None:
            return [Planned("embed", self.pretrained, train.plain())]
        fit = self._fit_of(train)
        return [fit, Planned("embed", fit.build, train.plain())]

    def _fit_of(self, train: TrainingView) -> Planned:
        """The training of an encoder that is trained here."""
        if self.encoder == "simclr":
            view = train.plain().with_batch_size(self.pretrain_batch_size)
            return Planned("simclr", self.simclr(train), view, self.pretrain_epochs)
        if self.encoder == "autoencoder":
            coder = partial(Autoencoder, self.encoder_network, train.image_spec)
            return Planned("autoencoder", coder, train.plain(), self.ablation_epochs)
        classifier = partial(Classifier, self.encoder_network, train.image_spec)
        return Planned("supervised", classifier, train.subset(train.labeled), self.ablation_epochs)

    def encode(self, train: TrainingView, run: Runner) -> Tensor:
        """(n, d) float, one row for each image of ``train``, with a label or without.

        Raises:
            ValueError: another number of rows than of images, or rows that are not finite.
        """
        if not isinstance(self.encoder, str):
            rows = self.encoder.encode(train, run)
        elif self.pretrained is not None:
            rows = run.predict("embed", self.pretrained(), train.plain()).features
        else:
            todo = self._fit_of(train)
            fitted: Any = run.fit(todo.name, todo.build, todo.data, max_epochs=todo.epochs)
            table = run.predict("embed", Embedding(fitted), train.plain())
            wanted = "features" if self.encoder == "supervised" else self.features
            rows = table.features if wanted == "features" else table.embedding
        if rows.ndim != 2 or len(rows) != len(train):
            raise ValueError(f"the encoder gives {tuple(rows.shape)}, not (n, d) with n = {len(train)} images")
        if wrong := int((~rows.isfinite().all(1)).sum()):
            trained = isinstance(self.encoder, str) and self.pretrained is None
            raise ValueError(
                f"the encoder {'diverged, its embedding is' if trained else 'gives features that are'} not finite for "
                f"{wrong} of {len(rows)} images: "
                f"{'lower --model.pretrain_lr' if trained else 'its weights are damaged or do not fit, choose others'}"
            )
        return rows
