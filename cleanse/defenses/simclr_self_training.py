"""Self-training whose first labels come from clusters of an embedding learned without labels."""

import logging
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn.functional import normalize

from cleanse.defenses.self_training import PseudoLabels, SelfTraining
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.functional import cluster_labels, cluster_vote
from cleanse.modules.base import NetworkFactory
from cleanse.modules.embedding import Embedding
from cleanse.modules.simclr import SimCLR
from cleanse.networks import ResNet18
from cleanse.utils.check import at_least_one
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")


class SimCLRSelfTraining(SelfTraining):
    """Self-training with SimCLR.

    Pal, Wang, Yao, Liu 2023, "Towards Understanding How Self-training Tolerates Data Backdoor Poisoning", Algorithm 2.
    SimCLR learns from all images without their labels, K-means finds as many clusters as there are classes in its
    features of the labeled images, and each cluster gets the label that most of its members are given. An image's
    label in the first iteration is that of the nearest cluster. The rest is Algorithm 1 without its augmentation; the
    first model is still the one that was trained on the labeled images (D154).

    Departures from the paper, which leaves these open: features are brought to length one for the assignment too
    (D151); the confidence of the first iteration is a softmax over negative squared distances (D152). Where two
    clusters get the same label, a class may have none and is missing in the first iteration: it is named (D153).

    Args:
        encoder: builds SimCLR's encoder from (in_channels, num_classes); a `cleanse.networks.Network`. The paper's is
            ResNet-18.
        contrastive_augment: makes the views for SimCLR; None for the data set's own (D155).
        pretrain_epochs: of SimCLR; the paper's 1000.
        pretrain_batch_size: of SimCLR; the paper's 512.
        pretrain_lr: of SimCLR's SGD; the paper's 0.6.
        pretrain_weight_decay: of SimCLR's SGD; the paper's 1e-6.
        temperature: of SimCLR's loss; the paper's 0.5.
        clusters: K; None for one for each class.
        **kwargs: the arguments of `SelfTraining` but for ``augmentation``, ``label_view`` and ``learn_from``.

    Raises:
        ValueError: an argument out of range; while it runs, fewer labeled images than clusters, or a training that
            diverged.
    """

    def __init__(
        self,
        encoder: NetworkFactory = ResNet18,
        contrastive_augment: nn.Module | None = None,
        pretrain_epochs: int = 1000,
        pretrain_batch_size: int = 512,
        pretrain_lr: float = 0.6,
        pretrain_weight_decay: float = 1e-6,
        temperature: float = 0.5,
        clusters: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(augmentation=None, label_view="plain", learn_from="all", **kwargs)
        at_least_one(pretrain_epochs=pretrain_epochs)
        if pretrain_batch_size < 2:
            raise ValueError(f"pretrain_batch_size={pretrain_batch_size}: a contrast needs at least two images")
        if clusters is not None and clusters < 1:
            raise ValueError(f"clusters is a number, at least 1, or null for one for each class, not {clusters}")
        self.encoder = encoder
        self.contrastive_augment = contrastive_augment
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_batch_size = pretrain_batch_size
        self.pretrain_lr = pretrain_lr
        self.pretrain_weight_decay = pretrain_weight_decay
        self.temperature = temperature
        self.clusters = clusters

    @property
    def title(self) -> str:
        return "SimCLR-Self-Training"

    def plan_pseudo_label(self, train: TrainingView, n: int) -> list[Planned]:
        if n > 1:
            return super().plan_pseudo_label(train, n)
        build, images = self.simclr(train), train.unlabeled().plain()
        view = images.with_batch_size(self.pretrain_batch_size)
        return [Planned("simclr", build, view, self.pretrain_epochs), Planned("embed", build, images)]

    def simclr(self, train: TrainingView) -> "partial[SimCLR]":
        augment = train.contrastive_augment if self.contrastive_augment is None else self.contrastive_augment
        return partial(
            SimCLR, self.encoder, train.image_spec, augment, temperature=self.temperature, base_temperature=None,
            lr=self.pretrain_lr, momentum=self.momentum, weight_decay=self.pretrain_weight_decay,
        )  # fmt: skip

    def pseudo_label(self, train: TrainingView, model: LightningModule, n: int, run: Runner) -> PseudoLabels:
        """In the first iteration the label of each image's nearest cluster; then what the model says."""
        if n > 1:
            # else forward-pass x_l and x_u through the model to create pseudo-labels
            return super().pseudo_label(train, model, n, run)
        from sklearn.cluster import KMeans  # takes a second to import

        given, images = train.label[train.labeled], train.unlabeled().plain()
        clusters = train.num_classes if self.clusters is None else self.clusters
        if len(given) < clusters:
            raise ValueError(f"{len(given)} labeled images cannot make {clusters} clusters: raise labeled")
        # Train the SimCLR representation encoder network f with D_L and D_U
        view = images.with_batch_size(self.pretrain_batch_size)
        simclr = run.fit("simclr", self.simclr(train), view, max_epochs=self.pretrain_epochs)
        # Representation embedding h = f(D_L), and of the others for later
        feature = run.predict("embed", Embedding(simclr), images).features
        if not feature.isfinite().all():
            raise ValueError("SimCLR diverged, its features are not finite: lower --model.pretrain_lr")
        # C clusters <- K-means clustering of normalized h
        unit = normalize(feature.double(), dim=1)
        fitted = KMeans(clusters, n_init=10, random_state=0).fit(unit[train.labeled].numpy())
        member = torch.from_numpy(fitted.labels_).long()
        # y_c <- cluster pseudo-labels through majority voting
        of_cluster = cluster_labels(member, given, clusters, train.num_classes)
        pure = (of_cluster[member] == given).float().mean().item()
        log.info("%d clusters: %.1f %% of the labeled images are in one of their own label", clusters, 100 * pure)
        # if n == 1: predict pseudo-labels for x_l and x_u using y_c
        return PseudoLabels(*cluster_vote(feature, torch.from_numpy(fitted.cluster_centers_), of_cluster))
