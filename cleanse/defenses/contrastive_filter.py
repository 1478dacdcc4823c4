"""Filter and relabel by the neighbors that an image has in an embedding learned without labels (kNN, energy)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.defenses.base import Defense, Outcome
from cleanse.defenses.embedding_verdict import TITLES as VOTES
from cleanse.defenses.embedding_verdict import as_verdict, judge
from cleanse.engine.runner import Runner
from cleanse.functional import Relabeling
from cleanse.modules.autoencoder import Autoencoder
from cleanse.modules.base import ImageModule, NetworkFactory
from cleanse.modules.classifier import Classifier
from cleanse.modules.embedding import Embedding
from cleanse.modules.linear_probe import LinearProbe
from cleanse.modules.simclr import SimCLR
from cleanse.modules.supcon import SupCon
from cleanse.networks import ResNet18
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

Method = Literal["knn", "energy", "knn_energy", "none"]
TITLES = {**VOTES, "none": "SupCon"}


class ContrastiveFilter(Defense):
    """Training-set cleansing by self-supervised representation (paper 002).

    Wang, Karami et al., arXiv 2210.10272. SimCLR learns an embedding from the images alone, so that poisoned images
    lie among those that they look like. An image whose neighbors (``knn``), or whose class energies (``energy``),
    speak for its label is accepted; of the others, those more certain than a percentile of the accepted ones are
    relabeled, and the rest is dropped. The classifier is a linear probe on a SupCon encoder trained on what is left.

    Departures and what the paper leaves open are SPEC C.3's resolutions; optimizer settings are those of the
    SupContrast repository. The score is the margin of the best other class over the given one, in votes or in energy
    (``knn_energy``: the mean of both ranks); the paper has no score.

    Args:
        network: builds both encoders from (in_channels, num_classes); a `cleanse.networks.Network`.
        method: ``knn``, ``energy``, ``knn_energy`` for what both agree on (appendix G), or ``none`` for the final
            training on the data as they are.
        filter: False keeps rejected images that are not relabeled (Table 3).
        relabel: False drops every rejected image instead of relabeling the certain ones (Table 3).
        encoder: ``simclr``, or the ablations ``autoencoder`` and ``supervised`` (features of a classifier trained on
            the images and labels as they are).
        k: neighbors; None for half the mean class size.
        temperature: of SimCLR and of the energies.
        percentile: lambda; rejected images more certain than this percentile of the accepted ones are relabeled.
        contrastive_augment: makes the views for SimCLR and SupCon; None for the data set's own.
        pretrain_epochs: of SimCLR.
        pretrain_batch_size: of SimCLR and SupCon, over all processes.
        pretrain_lr: of SimCLR and SupCon.
        ablation_epochs: of the autoencoder and the supervised encoder.
        epochs: of SupCon, the final training.
        supcon_temperature: its tau.
        probe_epochs: of the linear probe.
        probe_batch_size: of the linear probe.
        lr: of the linear probe.
        momentum: of all SGD.
        weight_decay: of SimCLR and SupCon; the probe has none.
        milestones: epochs of the probe at which its learning rate is multiplied by ``gamma``.
        gamma: see ``milestones``.

    Raises:
        ValueError: an argument out of range.
    """

    final_stages = 2

    def __init__(
        self,
        network: NetworkFactory = ResNet18,
        method: Method = "knn",
        filter: bool = True,
        relabel: bool = True,
        encoder: Literal["simclr", "autoencoder", "supervised"] = "simclr",
        k: int | None = None,
        temperature: float = 0.5,
        percentile: float = 80.0,
        contrastive_augment: nn.Module | None = None,
        pretrain_epochs: int = 1000,
        pretrain_batch_size: int = 1024,
        pretrain_lr: float = 0.5,
        ablation_epochs: int = 100,
        epochs: int = 1000,
        supcon_temperature: float = 0.1,
        probe_epochs: int = 100,
        probe_batch_size: int = 512,
        lr: float = 5.0,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        milestones: Sequence[int] = (60, 75, 90),
        gamma: float = 0.2,
    ) -> None:
        super().__init__(network, epochs, lr, momentum, weight_decay, milestones, gamma)
        if method not in TITLES:
            raise ValueError(f"method is one of {', '.join(TITLES)}, not {method!r}")
        if encoder not in ("simclr", "autoencoder", "supervised"):
            raise ValueError(f"encoder is simclr, autoencoder or supervised, not {encoder!r}")
        if pretrain_batch_size < 2:
            raise ValueError(f"pretrain_batch_size={pretrain_batch_size}: a contrast needs at least two images")
        self.method, self.filter, self.relabel, self.encoder = method, filter, relabel, encoder
        self.k, self.temperature, self.percentile = k, temperature, percentile
        self.contrastive_augment = contrastive_augment
        self.pretrain_epochs, self.pretrain_batch_size = pretrain_epochs, pretrain_batch_size
        self.pretrain_lr, self.ablation_epochs = pretrain_lr, ablation_epochs
        self.supcon_temperature, self.probe_epochs = supcon_temperature, probe_epochs
        self.probe_batch_size = probe_batch_size

    @property
    def title(self) -> str:
        return TITLES[self.method]

    def stages(self) -> int:
        return (0 if self.method == "none" else 2) + self.final_stages

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        if self.method == "none":
            verdict = Verdict.keep_all(train.id, train.label)
            return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))
        embedding = self.embed(train, run)
        judged = train.labeled
        if not embedding.isfinite().all():
            raise ValueError("the encoder diverged, its embedding is not finite: lower --model.pretrain_lr")
        found, score = self.judge(embedding[judged], train.label[judged])
        verdict = self._verdict(train, judged, found, score)
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))

    def embed(self, train: TrainingView, run: Runner) -> Tensor:
        """(n, d) one row for each image, from an encoder fitted on all of them."""
        images = train.image_spec
        if self.encoder == "simclr":
            build: Callable[[], ImageModule] = partial(
                SimCLR, self.network, images, self._augment(train), temperature=self.temperature,
                lr=self.pretrain_lr, momentum=self.momentum, weight_decay=self.weight_decay,
            )  # fmt: skip
            view = train.plain().with_batch_size(self.pretrain_batch_size)
            fitted = run.fit("simclr", build, view, max_epochs=self.pretrain_epochs)
        elif self.encoder == "autoencoder":
            build = partial(Autoencoder, self.network, images)
            fitted = run.fit("autoencoder", build, train.plain(), max_epochs=self.ablation_epochs)
        else:
            build = partial(Classifier, self.network, images)
            fitted = run.fit("supervised", build, train.subset(train.labeled), max_epochs=self.ablation_epochs)
        table = run.predict("embed", Embedding(fitted), train.plain())
        return table.features if self.encoder == "supervised" else table.embedding

    def judge(self, embedding: Tensor, label: Tensor) -> tuple[Relabeling, Tensor]:
        """What becomes of n labeled images, and how suspicious each is (n,) (002, Algorithm 1)."""
        if self.method == "none":
            raise ValueError("method 'none' judges no image")
        return judge(embedding, label, self.method, self.k, self.temperature, self.percentile)

    def classify(self, train: TrainingView, run: Runner) -> LightningModule:
        """SupCon, then a linear probe on its frozen encoder."""
        encoder = run.fit(
            "supcon",
            partial(
                SupCon, self.network, train.image_spec, augment=self._augment(train),
                temperature=self.supcon_temperature, lr=self.pretrain_lr, momentum=self.momentum,
                weight_decay=self.weight_decay,
            ),
            train.plain().with_batch_size(self.pretrain_batch_size),
            max_epochs=self.epochs,
        )  # fmt: skip
        probe = partial(self.final_classifier(train), encoder=encoder)
        view = train.with_batch_size(self.probe_batch_size)
        return run.fit("probe", probe, view, max_epochs=self.probe_epochs)

    def final_classifier(self, train: TrainingView) -> "partial[LinearProbe]":
        return partial(
            LinearProbe, self.network, train.image_spec,
            lr=self.lr, momentum=self.momentum, milestones=self.milestones, gamma=self.gamma,
        )  # fmt: skip

    def _augment(self, train: TrainingView) -> nn.Module | None:
        return self.contrastive_augment or train.contrastive_augment

    def _verdict(self, train: TrainingView, judged: Tensor, found: Relabeling, score: Tensor) -> Verdict:
        """The partition as a verdict, with the ablations of Table 3."""
        return as_verdict(train.id, train.label, judged, found, score, train.classes, self.filter, self.relabel)
