"""Self-training whose first labels come from clusters of an embedding learned without labels (simclr_self_training)."""

import logging
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.nn.functional import normalize

from cleanse.defenses.self_training import PseudoLabels, SelfTraining
from cleanse.engine.runner import Runner
from cleanse.functional import cluster_labels, cluster_vote
from cleanse.modules.base import NetworkFactory
from cleanse.modules.embedding import Embedding
from cleanse.modules.simclr import SimCLR
from cleanse.networks import VGG16BN, ResNet18
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")


class SimCLRSelfTraining(SelfTraining):
    """Self-training with SimCLR (paper 000, Algorithm 2).

    SimCLR learns from all images without their labels, K-means finds as many clusters as there are classes in its
    features of the labeled images, and each cluster gets the label that most of its members are given. An image's
    label in the first iteration is that of the nearest cluster. The rest is Algorithm 1 without its augmentation; the
    first model is still the one that was trained on the labeled images.

    Departures (SPEC B.3.21-23): features are brought to length one for the clusters and for the assignment; the
    confidence of the first iteration, which the paper leaves open, is a softmax over negative squared distances.
    Where two clusters get the same label, a class may have none and is missing in the first iteration: it is named.

    Args:
        network: builds the teacher and the final model from (in_channels, num_classes).
        encoder: builds SimCLR's encoder; a `cleanse.networks.Network`.
        contrastive_augment: makes the views for SimCLR; None for the data set's own.
        pretrain_epochs, pretrain_batch_size, pretrain_lr, pretrain_weight_decay, temperature: of SimCLR (SGD, cosine).
        clusters: K; None for one for each class.
        iterations, fraction, relabel_last, teacher_epochs, iteration_epochs, iteration_milestones, epochs, lr,
            momentum, weight_decay, milestones, gamma: see `SelfTraining`.

    Raises:
        ValueError: an argument out of range; while it runs, fewer labeled images than clusters, or a training that
            diverged.
    """

    def __init__(
        self,
        network: NetworkFactory = VGG16BN,
        encoder: NetworkFactory = ResNet18,
        contrastive_augment: nn.Module | None = None,
        pretrain_epochs: int = 1000,
        pretrain_batch_size: int = 512,
        pretrain_lr: float = 0.6,
        pretrain_weight_decay: float = 1e-6,
        temperature: float = 0.5,
        clusters: int | None = None,
        iterations: int = 4,
        fraction: float = 0.3,
        relabel_last: bool = False,
        teacher_epochs: int = 200,
        iteration_epochs: int = 150,
        iteration_milestones: Sequence[int] = (100,),
        epochs: int = 300,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        milestones: Sequence[int] = (100, 200),
        gamma: float = 0.5,
    ) -> None:
        super().__init__(
            network, None, "plain", "all", iterations, fraction, relabel_last, teacher_epochs, iteration_epochs,
            iteration_milestones, epochs, lr, momentum, weight_decay, milestones, gamma,
        )  # fmt: skip
        if pretrain_batch_size < 2:
            raise ValueError(f"pretrain_batch_size={pretrain_batch_size}: a contrast needs at least two images")
        if clusters is not None and clusters < 1:
            raise ValueError(f"clusters is a number, at least 1, or null for one for each class, not {clusters}")
        self.encoder, self.contrastive_augment, self.clusters = encoder, contrastive_augment, clusters
        self.pretrain_epochs, self.pretrain_batch_size = pretrain_epochs, pretrain_batch_size
        self.pretrain_lr, self.pretrain_weight_decay = pretrain_lr, pretrain_weight_decay
        self.temperature = temperature

    @property
    def title(self) -> str:
        return "SimCLR-Self-Training"

    def first_labels(self, train: TrainingView, run: Runner) -> PseudoLabels:
        """Each image's nearest cluster of labeled images, and the label that most of these are given."""
        build = partial(
            SimCLR, self.encoder, train.image_spec,
            self.contrastive_augment or train.contrastive_augment, temperature=self.temperature,
            base_temperature=None, lr=self.pretrain_lr, momentum=self.momentum, weight_decay=self.pretrain_weight_decay,
        )  # fmt: skip
        view = train.unlabeled().plain().with_batch_size(self.pretrain_batch_size)
        simclr = run.fit("simclr", build, view, max_epochs=self.pretrain_epochs)
        feature = run.predict("embed", Embedding(simclr), train.unlabeled().plain()).features
        if not feature.isfinite().all():
            raise ValueError("SimCLR diverged, its features are not finite: lower --model.pretrain_lr")
        return self.vote(feature, train)

    def vote(self, feature: torch.Tensor, train: TrainingView) -> PseudoLabels:
        """Clusters of the labeled images' features (n, D), and what they make of every image."""
        from sklearn.cluster import KMeans  # takes a second to import

        clusters, given = self.clusters or train.num_classes, train.label[train.labeled]
        if len(given) < clusters:
            raise ValueError(f"{len(given)} labeled images cannot make {clusters} clusters: raise labeled")
        unit = normalize(feature.double(), dim=1)
        fitted = KMeans(clusters, n_init=10, random_state=0).fit(unit[train.labeled].numpy())
        member = torch.from_numpy(fitted.labels_).long()
        of_cluster = cluster_labels(member, given, clusters, train.num_classes)
        pure = (of_cluster[member] == given).float().mean().item()
        log.info("%d clusters: %.1f %% of the labeled images are in one of their own label", clusters, 100 * pure)
        return PseudoLabels(*cluster_vote(feature, torch.from_numpy(fitted.cluster_centers_), of_cluster))
