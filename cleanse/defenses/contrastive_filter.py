"""Filter and relabel by the neighbors that an image has in an embedding learned without labels (kNN, energy)."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.defenses.base import Outcome
from cleanse.defenses.encode import EncodingDefense
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.functional import (
    combine,
    energy_scores,
    first_of_each,
    knn_scores,
    margin,
    mean_rank,
    relabel_confident,
)
from cleanse.modules.base import NetworkFactory
from cleanse.modules.linear_probe import LinearProbe
from cleanse.modules.simclr import SimCLR
from cleanse.modules.supcon import SupCon
from cleanse.networks import ResNet18
from cleanse.utils.check import at_least_one
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")

Method = Literal["knn", "energy", "knn_energy", "none"]
TITLES = {"knn": "kNN", "energy": "Energy", "knn_energy": "kNN_Energy", "none": "SupCon"}
FAVORS = "%s: votes then favor the large ones and energies the small ones; by_size corrects both"


class ContrastiveFilter(EncodingDefense):
    """Training-set cleansing by self-supervised representation.

    Wang et al. 2022, arXiv 2210.10272. SimCLR learns an embedding from the images alone, so that poisoned images
    lie among those that they look like. An image whose neighbors (``knn``), or whose class energies (``energy``),
    speak for its label is accepted; of the others, those more certain than a percentile of the accepted ones are
    relabeled, and the rest is dropped. The classifier is a linear probe on a SupCon encoder trained on what is left.

    What the paper leaves open is D70 to D83. The score is the margin of the best other class over the given one, in
    votes or in energy (``knn_energy``: the mean of both ranks); the paper has no score.

    Args:
        network: builds both encoders from (in_channels, num_classes); a `cleanse.networks.Network`.
        method: ``knn``, ``energy``, ``knn_energy`` for what both agree on (appendix G), or ``none`` for the final
            training on the data as they are.
        filter: False keeps rejected images that are not relabeled (Table 3).
        relabel: False drops every rejected image instead of relabeling the certain ones (Table 3).
        k: neighbors; None for half the mean class size.
        by_size: where a class has more than twice the images of another, divide votes by the size of a class, take T of
            each predicted class, and let no class of one image be predicted (D84, D85). False as in the paper, whose
            classes are equal.
        temperature: of SimCLR and of the energies.
        percentile: lambda; rejected images more certain than this percentile of the accepted ones are relabeled.
        ablation_epochs: of the autoencoder and the supervised encoder.
        final: the final training: ``supcon`` and a linear probe, as in the paper, or a ``classifier`` as other recipes
            train it, with ``epochs``, ``lr``, ``milestones`` and the batches of the data.
        epochs: of SupCon or the classifier, the final training.
        supcon_temperature: its tau.
        probe_epochs: of the linear probe.
        probe_batch_size: of the linear probe.
        lr: of the linear probe, or of the classifier.
        weight_decay: of SimCLR and SupCon, or of SimCLR and the classifier; the probe has none.
        milestones: epochs of the probe or the classifier at which its learning rate is multiplied by ``gamma``.
        gamma: see ``milestones``.
        **kwargs: the other arguments of `EncodingDefense`; ``momentum`` is that of all SGD, and ``pretrain_batch_size``
            and ``pretrain_lr`` hold for SupCon too.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        network: NetworkFactory = ResNet18,
        method: Method = "knn",
        filter: bool = True,
        relabel: bool = True,
        k: int | None = None,
        by_size: bool = True,
        temperature: float = 0.5,
        percentile: float = 80.0,
        ablation_epochs: int | None = 100,
        final: Literal["supcon", "classifier"] = "supcon",
        epochs: int = 1000,
        supcon_temperature: float = 0.1,
        probe_epochs: int = 100,
        probe_batch_size: int = 512,
        lr: float = 5.0,
        weight_decay: float = 1e-4,
        milestones: Sequence[int] = (60, 75, 90),
        gamma: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            network=network,
            ablation_epochs=ablation_epochs,
            epochs=epochs,
            lr=lr,
            weight_decay=weight_decay,
            milestones=milestones,
            gamma=gamma,
            **kwargs,
        )
        at_least_one(k=k, probe_epochs=probe_epochs, probe_batch_size=probe_batch_size)
        if not 0 <= percentile <= 100:
            raise ValueError(f"percentile is between 0 and 100, not {percentile}")
        self.final = final
        self.method = method
        self.filter = filter
        self.relabel = relabel
        self.k = k
        self.by_size = by_size
        self.temperature = temperature
        self.percentile = percentile
        self.supcon_temperature = supcon_temperature
        self.probe_epochs = probe_epochs
        self.probe_batch_size = probe_batch_size

    @property
    def title(self) -> str:
        return TITLES[self.method]

    def plan_verdict(self, train: TrainingView) -> list[Planned] | None:
        return [] if self.method == "none" else self.plan_encode(train)

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        """Algorithm 1, by its line numbers."""
        notes = []
        if self.method == "none":
            verdict = Verdict.keep_all(train.id, train.label)
        else:
            if not self.by_size and (unequal := unequal_classes(train.label, train.duplicate_group)):
                notes.append(f"{(FAVORS % unequal).capitalize()}.")
            z = self.encode(train, run)  # lines 3 and 5: SimCLR on all images, z_i = L(E(x_i))
            z = z.to(device_of(run))
            verdict = self.verdict(z, train.label, train.id, train.classes, train.duplicate_group)  # lines 4 to 15
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run), notes)  # lines 16, 17

    def verdict(
        self, z: Tensor, label: Tensor, id: Sequence[str], classes: Sequence[str], group: Tensor | None = None
    ) -> Verdict:
        """Lines 4 to 15 of Algorithm 1: accept, relabel or drop every image by its place among the others.

        Args:
            z: (n, d) float, the embedding of each image.
            label: (n,) int64, as given; an image with -1 has none, and is dropped.
            id: n names.
            classes: class names, for the reasons.
            group: (n,) int64, equal where images are copies, which then have one vote; None if there are none.
        """
        given = label >= 0
        place = given.nonzero().flatten() if group is None else group[given]
        first = first_of_each(place.to(z.device), label[given].to(z.device))
        z, y = z[given.to(z.device)][first.rows], label[given].to(z.device)[first.rows]
        size = y.bincount()
        unequal = unequal_classes(y)
        by_size = bool(unequal) and self.by_size
        if by_size:
            log.info("%s: votes are divided by the size of a class, and each class has a threshold of its own", unequal)
        elif unequal:
            log.warning(FAVORS, unequal)

        votes = []  # line 6: the class decision c_i, and what each class has of image i, votes or energy
        if self.method in ("knn", "knn_energy"):
            votes.append(knn_scores(z, y, self.k, by_size=by_size))
        if self.method in ("energy", "knn_energy"):
            energy = energy_scores(z, y, self.temperature)
            if by_size:
                energy[:, size == 1] = -torch.inf  # one image is no class that others could belong to
            own = energy.gather(1, y[:, None])[:, 0]
            votes.append(
                (torch.where(own >= energy.amax(1), y, energy.argmax(1)), energy)
            )  # a tie is for the label (D361)

        # lines 7 to 15: accepted where c_i = y_i; T is a percentile of the accepted; relabeled where rejected above T
        found = [
            relabel_confident(y, c, scores.amax(1).float(), self.percentile, by_class=by_size) for c, scores in votes
        ]
        result = found[0] if len(found) == 1 else combine(*found)  # appendix G
        margins = [margin(scores, y) for _, scores in votes]
        score = margins[0] if len(margins) == 1 else mean_rank(margins)
        log.info(
            "%s accepts %d of %d images; of the others, %d are certain enough to be relabeled, %d of them exactly as "
            "certain as the most certain accepted ones",
            self.title, int(result.accepted.sum()), len(y), int(result.relabeled.sum()), int(result.as_certain.sum()),
        )  # fmt: skip

        accepted, voted = result.accepted[first.back], result.label[first.back]
        relabeled = result.relabeled[first.back] & self.relabel  # the ablation of Table 3 relabels or filters alone
        dropped = ~(accepted | relabeled) & self.filter
        new_label = torch.where(relabeled, voted, label[given].to(voted)).masked_fill(dropped, -1)
        reasons = [
            "" if kept else f"looks like {classes[new]!r}" if moved else "does not look like its class"
            for kept, moved, new in zip(accepted.tolist(), relabeled.tolist(), new_label.tolist(), strict=True)
        ]
        return Verdict.of_labeled(id, label, given, new_label.cpu(), score[first.back].cpu(), reasons)

    def simclr(self, train: TrainingView) -> "partial[SimCLR]":
        return partial(
            SimCLR,
            self.encoder_network,
            train.image_spec,
            self.augmentation(train),
            temperature=self.temperature,
            lr=self.pretrain_lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    def classify(self, train: TrainingView, run: Runner) -> LightningModule:
        """SupCon, then a linear probe on its frozen encoder; or a classifier."""
        if self.final == "classifier":
            return super().classify(train, run)
        view = train.plain().with_batch_size(self.pretrain_batch_size)
        encoder = run.fit("supcon", self.supcon(train), view, max_epochs=self.epochs)
        probe = partial(self.probe(train), encoder=encoder)
        return run.fit("probe", probe, train.with_batch_size(self.probe_batch_size), max_epochs=self.probe_epochs)

    def plan_classifier(self, train: TrainingView) -> list[Planned]:
        if self.final == "classifier":
            return super().plan_classifier(train)
        view = train.plain().with_batch_size(self.pretrain_batch_size)
        probe = self.probe(train), train.with_batch_size(self.probe_batch_size), self.probe_epochs
        return [Planned("supcon", self.supcon(train), view, self.epochs), Planned("probe", *probe)]

    def supcon(self, train: TrainingView) -> "partial[SupCon]":
        return partial(
            SupCon,
            self.network,
            train.image_spec,
            augment=self.augmentation(train),
            temperature=self.supcon_temperature,
            lr=self.pretrain_lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )

    def final_classifier(self, train: TrainingView) -> Callable[[], LightningModule]:
        if self.final == "classifier":
            return super().final_classifier(train)
        return self.probe(train)

    def probe(self, train: TrainingView) -> "partial[LinearProbe]":
        """Builds the linear probe."""
        return partial(
            LinearProbe,
            self.network,
            train.image_spec,
            lr=self.lr,
            momentum=self.momentum,
            milestones=self.milestones,
            gamma=self.gamma,
        )


def device_of(run: Runner) -> torch.device:
    """Where votes are counted: on the GPU, unless there is none or the run is on the CPU."""
    accelerator = getattr(run, "arguments", {}).get("accelerator", "auto")
    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")


def unequal_classes(label: Tensor, group: Tensor | None = None) -> str:
    """Where one class has more than twice the images of another, so that votes and energies do not compare.

    Args:
        label: (n,) int64; -1 has no class.
        group: (n,) int64, equal where images are copies, which count once in a class; None if there are none.

    Returns:
        how many they have, in words; nothing where they are equal enough.

    >>> unequal_classes(torch.tensor([0, 0, 0, 0, 0, 2, 2, -1]))
    'classes have 2 to 5 images'
    """
    if group is not None:
        label = label[first_of_each(group, label).rows]
    size = label[label >= 0].bincount()
    least, most = int(size[size > 0].min()), int(size.max())
    return f"classes have {least} to {most} images" if most > 2 * least else ""
