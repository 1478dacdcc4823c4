"""The augmentation study of Pal et al. 2023, Figure 1: what an augmentation of the test images leaves of SA and ASR."""

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.attacks.base import Attack
from cleanse.augment import named, variants
from cleanse.data.base import ImageDataModule
from cleanse.engine.fingerprint import Described, describe, hash_of
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner, is_rank_zero
from cleanse.experiments.evaluation import attack_figures
from cleanse.experiments.experiment import prepare
from cleanse.metrics import standard_accuracy
from cleanse.modules.base import NetworkFactory
from cleanse.modules.classifier import Classifier
from cleanse.networks import VGG16BN
from cleanse.report import results_table
from cleanse.report.box_plots import box_plots
from cleanse.utils.files import atomic_write_bytes
from cleanse.version import __version__
from cleanse.views import Batch

log = logging.getLogger("cleanse")

FIGURE_1 = (
    "NoAug", "HFlip", "VFlip", "HFlip+VFlip", "Rot15", "Rot45", "Rot90", "GNoise", "GrSc", "CJ", "GBlur_3_0.5",
    "GBlur_3_1.0", "GBlur_5_2.0", "CutOut", "RCS0.8", "RCS0.5", "RCS0.5+HFlip", "RCS0.5+VFlip", "RCS0.5area+VFlip",
    "YOCO(HFlip)", "YOCO(VFlip)", "YOCO(CJ)", "YOCO(RCS0.5)", "YOCO(RCS0.5+VFlip)",
)  # fmt: skip
"""The kinds of Figure 1. Its numbers besides RCS0.5+VFlip and the variances of GNoise are ours (D170)."""
CALIBRATION = {"area": "RCS0.5area+VFlip", "side": "RCS0.5side+VFlip"}
PAPERS_SA = 0.2
"""Pal et al. 2023, section 5.2.1: "the SA reduces to about 20%" under RCS0.5+VFlip, on CIFAR-10."""


class Row(NamedTuple):
    """One model, one draw of one augmentation; no ASR where no image counts for it."""

    attack: str
    augmentation: str
    variant: str
    draw: int
    sa: float
    asr: float | None


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        directory: of the run.
        rows: one per attack, variant of an augmentation, and draw.
        table: the means as text, one line per augmentation.
    """

    directory: Path
    rows: list[Row]
    table: str


class AugmentationStudy(Described, LightningModule):
    """Train a backdoored model for each attack, and show it augmented test images.

    Pal et al. 2023, sections 3 and 5.1.

    The models are trained on the labeled part of the data (``labeled``; all of it without that argument). Every
    augmentation is applied to the clean test set (SA) and to the fully triggered one (ASR). This is no defense: it
    reads the truth. `cleanse fit` runs it and writes a table and two box plots over the attacks, of the means over
    the draws.

    It also settles how "cropping 0.5 part of the image" is to be read (D160): the SA under RCS0.5+VFlip for
    both readings, and which one is closer to the paper's 20 % for CIFAR-10.

    Args:
        network: builds the network from (in_channels, num_classes).
        attacks: each poisons the data in turn; the data's own attack, if it has one, comes first.
        augmentations: names as in Figure 1 (`cleanse.augment.named`).
        draws: of every augmentation that draws anything.
        epochs: of every model; the paper's SGD, as for the teacher of `SelfTraining`.
        lr, momentum, weight_decay: of SGD.
        milestones: epochs at which the learning rate is multiplied by ``gamma``; the paper's is 100.
        gamma: see ``milestones``.

    Raises:
        ValueError: an unknown augmentation, one that is named twice, or a number out of range.
    """

    def __init__(
        self,
        network: NetworkFactory = VGG16BN,
        attacks: Sequence[Attack] = (),
        augmentations: Sequence[str] = FIGURE_1,
        draws: int = 6,
        epochs: int = 200,
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        milestones: Sequence[int] = (100, 200),
        gamma: float = 0.5,
    ) -> None:
        super().__init__()
        if draws < 1 or epochs < 1:
            raise ValueError(f"draws and epochs are at least 1, not {draws} and {epochs}")
        if not augmentations or len(set(augmentations)) < len(augmentations):
            raise ValueError(f"augmentations is a list of different names, not {list(augmentations)}")
        for name in augmentations:
            for variant in variants(name):
                named(variant)
        self.network = network
        self.attacks = tuple(attacks)
        self.augmentations = augmentations
        self.draws = draws
        self.epochs = epochs
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.milestones = tuple(milestones)
        self.gamma = gamma

    def study(self, data: ImageDataModule, run: Runner, config: str = "", threads: int | None = None) -> Study:
        """Train, augment, measure, and write the run's directory.

        Args:
            data: poisoned anew for each attack.
            run: makes every training and every table a stage; the run's directory is made beside them.
            config: yaml that repeats the run.
            threads: CPU threads of this process; None to go by the size of the images.

        Raises:
            ValueError: there is no attack, one is there twice, or bad data.
        """
        attacks = [*([] if data.attack is None else [data.attack]), *self.attacks]
        if not attacks:
            raise ValueError("there is no attack to study: set --model.attacks, or add --config attacks/badnets.yaml")
        names = attack_names(attacks)
        asked = dict.fromkeys([*self.augmentations, *CALIBRATION.values()])
        rows: list[Row] = []
        made: list[Any] = []
        for name, attack in zip(names, attacks, strict=True):
            poisoned = type(data)(**{**data.arguments, "attack": attack})
            prepare(poisoned, run, threads)
            log.info("%s", name)
            train = poisoned.training_view()
            if not made:
                run.expect([stage for _ in attacks for stage in self._plan(poisoned, asked)])
            model = run.fit("teacher", self._classifier(poisoned), train.subset(train.labeled), max_epochs=self.epochs)
            for augmentation in asked:
                rows += self._measure(name, augmentation, attack, model, poisoned, run)
            made.append([train, poisoned.clean_test()])
        directory = (
            run.root
            / f"augmentation_study-{type(data).__name__.lower()}-{hash_of([self, made, run.seed, run.fixed()])}"
        )
        calibration = {k: _mean(rows, v, "sa") for k, v in CALIBRATION.items()}
        shown = [r for r in rows if r.augmentation in self.augmentations]
        table = results_table(
            {a: {"sa": _mean(rows, a, "sa"), "asr": _mean(rows, a, "asr")} for a in self._sorted(rows)}
        )
        found: dict[str, Any] = {
            "attacks": names, "data": type(data).__name__, "seed": run.seed, "draws": self.draws,
            "calibration_area_sa": calibration["area"], "calibration_side_sa": calibration["side"],
            "calibration_reading": min(calibration, key=lambda k: abs(calibration[k] - PAPERS_SA)),
            "version": __version__, "rows": [r._asdict() for r in shown],
        }  # fmt: skip
        if is_rank_zero():
            self._save(directory, config, found, shown, names)
        run.screen.summary(len(run.stages) - run.computed)
        return Study(directory, shown, f"{table}\n{_calibration(found)}")

    def _plan(self, data: ImageDataModule, asked: Iterable[str]) -> list[Planned]:
        """The stages of one attack; of another, the triggered images may be others."""
        train, build = data.training_view(), self._classifier(data)
        stages = [Planned("teacher", build, train.subset(train.labeled), self.epochs)]
        for augmentation in asked:
            draws = sum(self.draws if named(variant).stochastic else 1 for variant in variants(augmentation))
            for name, view in (("test", data.clean_test()), ("triggered", data.triggered_test())):
                if view is not None:
                    passes = float(draws * len(view))
                    stages.append(Planned(f"augmented_{name}", build, view, most=True, passes=passes))
        return stages

    def _measure(
        self, name: str, augmentation: str, attack: Attack, model: LightningModule, data: ImageDataModule, run: Runner
    ) -> list[Row]:
        """All draws of all variants of an augmentation."""
        which: list[tuple[str, int]] = []
        modules: list[nn.Module] = []
        for variant in variants(augmentation):
            made = named(variant)
            draws = self.draws if made.stochastic else 1
            which += [(variant, draw) for draw in range(draws)]
            modules += [made.module] * draws
        seen, clean, triggered = Draws(model, modules), data.clean_test(), data.triggered_test()
        if clean is None or triggered is None:
            raise ValueError(f"{name} has no triggered test set: the data need a test part")
        plain = run.predict("augmented_test", seen, clean).prediction
        fooled = run.predict("augmented_triggered", seen, triggered).prediction
        measured, num_classes = attack.measured(clean.label), clean.num_classes
        return [
            Row(
                name, augmentation, variant, draw,
                standard_accuracy(plain[:, i], clean.label).item(),
                attack_figures(plain[measured, i], fooled[:, i], triggered.label, attack, num_classes)["asr"],
            )
            for i, (variant, draw) in enumerate(which)
        ]  # fmt: skip

    def _classifier(self, data: ImageDataModule) -> "partial[Classifier]":
        train = data.training_view()
        return partial(
            Classifier, self.network, train.image_spec,
            lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, milestones=self.milestones,
            gamma=self.gamma,
        )  # fmt: skip

    def _sorted(self, rows: Sequence[Row]) -> list[str]:
        """No augmentation first, then from the highest ASR to the lowest, then those without one."""
        asr = {a: _mean(rows, a, "asr") for a in self.augmentations}
        return sorted(asr, key=lambda a: (a != "NoAug", math.isnan(asr[a]), -asr[a]))

    def _save(
        self, directory: Path, config: str, found: Mapping[str, Any], rows: Sequence[Row], names: Sequence[str]
    ) -> None:
        order = self._sorted(rows)
        pictures = box_plots(box_values(rows, order, names), names)
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(Row._fields)
        writer.writerows(rows)
        directory.mkdir(parents=True, exist_ok=True)
        files = {
            "config.yaml": config.encode(), "study.csv": table.getvalue().encode(),
            "study.json": (json.dumps(found, indent=1) + "\n").encode(), "study.png": pictures["png"],
            "study.svg": pictures["svg"], "study.md": _markdown(found, rows, order, names).encode(),
        }  # fmt: skip
        for name, content in files.items():
            atomic_write_bytes(directory / name, content)


class Draws(LightningModule):
    """Predict each image once through each of several augmentations; it is not trained.

    Args:
        module: with a ``predict_step``, fitted by a runner.
        augmentations: images (B, C, H, W) in [0, 1] to the same; one that is there twice is drawn twice.
    """

    def __init__(self, module: LightningModule, augmentations: Sequence[nn.Module]) -> None:
        super().__init__()
        self.module = module
        self.augmentations = nn.ModuleList(augmentations)
        self.stage_key = hash_of({"draws": describe(list(augmentations)), "of": module})

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``prediction`` is (B, augmentations) int64."""
        seen = [
            self.module.predict_step({**batch, "image": augment(batch["image"])}, batch_idx)["prediction"]
            for augment in self.augmentations
        ]
        return {"index": batch["index"], "prediction": torch.stack(seen, 1)}


def attack_names(attacks: Sequence[Attack]) -> list[str]:
    """Short and different: the class, and of several of one class the arguments in which they differ.

    Raises:
        ValueError: the same attack twice.

    >>> from cleanse.attacks import BadNets, Blend
    >>> attack_names([BadNets("gray", count=1), BadNets("rgb", count=1), Blend(count=1)])
    ['BadNets gray', 'BadNets rgb', 'Blend']
    """
    names = []
    for attack in attacks:
        alike = [a for a in attacks if type(a) is type(attack)]
        differ = [k for k in attack.arguments if len({hash_of(a.arguments[k]) for a in alike}) > 1]
        told = [
            value if isinstance(value := attack.arguments[k], str) else f"{k}={json.dumps(describe(value))}"
            for k in differ
        ]
        names.append(" ".join([type(attack).__name__, *told]))
    if len(set(names)) < len(names):
        raise ValueError(f"an attack is there twice: {', '.join(names)}")
    return names


def box_values(
    rows: Sequence[Row], augmentations: Sequence[str], attacks: Sequence[str]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """What Figure 1 draws a box of: one value for each attack, the mean over its draws and variants (D171).

    Returns:
        title of the panel to augmentation to attack to its value, alone in a list.

    >>> rows = [Row("Blend", "CJ", "CJ", draw, sa=0.5 + draw / 10, asr=1.0) for draw in (0, 1)]
    >>> box_values(rows, ["CJ"], ["Blend"])["Standard accuracy (SA)"]
    {'CJ': {'Blend': [0.55]}}
    """
    return {
        title: {a: {n: [_mean(rows, a, key, n)] for n in attacks} for a in augmentations}
        for title, key in (("Standard accuracy (SA)", "sa"), ("Attack success rate (ASR)", "asr"))
    }


def _mean(rows: Sequence[Row], augmentation: str, figure: str, attack: str | None = None) -> float:
    """Over the attacks, of the mean over the variants and draws; NaN of none."""
    found = [
        value
        for r in rows
        if r.augmentation == augmentation and (attack is None or r.attack == attack)
        if (value := getattr(r, figure)) is not None
    ]  # every attack has the same number of rows
    return fmean(found) if found else math.nan


def _calibration(found: Mapping[str, Any]) -> str:
    return (
        f"SA under RCS0.5+VFlip: {found['calibration_area_sa']:.1%} with half the area, "
        f"{found['calibration_side_sa']:.1%} with half the side; {found['calibration_reading']} is closer to the 20 % "
        "that Pal et al. have on CIFAR-10"
    )


def _markdown(found: Mapping[str, Any], rows: Sequence[Row], order: Sequence[str], names: Sequence[str]) -> str:
    """The means, attack by attack, and the picture."""
    lines = [
        f"# SA and ASR under augmentation, {found['data']}", "", "![Box plots](study.png)", "",
        f"Means in per cent, over {found['draws']} draws where an augmentation draws anything; sorted by ASR. "
        f"{_calibration(found)}.", "",
        "| augmentation | " + " | ".join(f"SA, {n} | ASR, {n}" for n in names) + " | SA | ASR |",
        "|---|" + "--:|" * (2 * len(names) + 2),
    ]  # fmt: skip
    for augmentation in order:
        means = [_mean(rows, augmentation, f, n) for n in (*names, None) for f in ("sa", "asr")]
        cells = ["-" if math.isnan(value) else f"{100 * value:.1f}" for value in means]
        lines.append(f"| {augmentation} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
