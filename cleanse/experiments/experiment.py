"""One experiment: poison, cleanse, evaluate, compare, and write the run's directory."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from cleanse.attacks.base import COVER, POISON, ROLES
from cleanse.data.base import ImageDataModule
from cleanse.data.conflicting import conflicting_labels
from cleanse.defenses import Defense, OracleDefense, Outcome
from cleanse.defenses.oracle import oracle_verdict
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.runner import Runner, is_rank_zero
from cleanse.experiments.epoch_evaluation import EpochEvaluation
from cleanse.experiments.evaluation import evaluate, judge
from cleanse.report import results_table, save_run
from cleanse.report.content import GALLERY, RunContent, with_attention, with_images
from cleanse.report.summary import flagged_rate, summarize
from cleanse.verdict import Verdict
from cleanse.version import __version__
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")

Comparison = Literal["none", "oracle"]
CLASSIFIER = ("sa", "asr", "ra", "tmr")
"""The figures of a classifier, which a comparison has too."""


@dataclass(frozen=True)
class Experiment:
    """What an experiment found.

    Attributes:
        directory: of the run.
        results: flat and JSON-ready (DESIGN section 5).
        verdict: one row per training image, unreadable files included.
        table: the figures as text, one line per recipe.
        summary: the verdict in words.
    """

    directory: Path
    results: dict[str, Any]
    verdict: Verdict
    table: str
    summary: str


def run_experiment(
    defense: Defense,
    data: ImageDataModule,
    run: Runner,
    compare: Sequence[Comparison] | None = None,
    config: str = "",
    watch: bool = False,
    baseline: bool = False,
) -> Experiment:
    """Run a recipe and everything that shows what it did.

    Args:
        defense: the recipe; afterwards its ``model`` is the cleansed classifier.
        data: with or without an attack.
        run: where stages are kept; the run's directory is made beside them.
        compare: the recipe's final training on all images (``none``) and on the clean ones only (``oracle``, which
            reads the truth; only with an attack). None for both with an attack, and neither without.
        config: yaml that repeats the run.
        watch: log SA and ASR after every epoch of every classifier that is trained; changes no result.
        baseline: run the recipe once more on the images that were kept, the best stand-in for data of nearly this size
            without an attack: what it flags there is its own.

    Raises:
        ValueError: for bad data or arguments, before anything is trained where possible.
    """
    simulated = data.attack is not None
    wanted = (("none", "oracle") if simulated else ()) if compare is None else tuple(compare)
    if "oracle" in wanted and not simulated:
        raise ValueError("there is no attack to know the truth about: leave 'oracle' out of --compare")
    is_oracle = isinstance(defense, OracleDefense)
    if baseline and is_oracle:
        raise ValueError("a recipe that reads the truth flags nothing of its own: leave --baseline out")
    prepare(data, run)
    attacked = dict(run.seconds)  # what the attack trained
    train = data.training_view()
    run.watchers = [EpochEvaluation(data)] if watch else []
    _describe_data(data)
    run.screen.total = (
        len(attacked)
        + defense.stages() * (2 if baseline else 1)
        + (1 + len(wanted)) * (2 if simulated else 1)
        + len(wanted) * defense.final_stages
    )
    outcome: Outcome = defense.cleanse(train, run, data.truth) if is_oracle else defense.cleanse(train, run)  # type: ignore[call-arg]
    defense.model = outcome.model
    seconds = {k: v for k, v in run.seconds.items() if k not in attacked}  # of the recipe: evaluation follows
    figures = {**dict.fromkeys(CLASSIFIER), **evaluate(outcome.model, data, run)}
    figures |= (
        judge(outcome.verdict, data.truth) if simulated else dict.fromkeys(("tpr", "fpr", "auroc", "relabel_accuracy"))
    )
    verdict = outcome.verdict.with_dropped(data.unreadable, "unreadable: ")
    recipe = defense.title
    rows = {}
    for name in wanted:
        truth = oracle_verdict(train, data.truth) if name == "oracle" else Verdict.keep_all(train.id, train.label)
        run.prefix = f"{name}/"
        model = defense.classify(train.with_verdict(truth), run)
        run.prefix = ""
        rows["no defense" if name == "none" else "clean images only (oracle)"] = (
            name,
            evaluate(model, data, run) | judge(truth, data.truth),
        )
    again = _baseline(defense, train.subset(outcome.verdict.kept), run) if baseline else None
    counts = verdict.counts()
    results: dict[str, Any] = {
        **figures, "kept": counts["kept"], "relabelled": counts["relabeled"], "dropped": counts["dropped"],
        "unreadable": len(data.unreadable),
        "baseline_flagged": None if again is None else flagged_rate(again),
        "poisoned": data.truth.count(POISON) if simulated else None,
        "cover": data.truth.count(COVER) if simulated else None,
        "train_images": len(train), "test_images": len(data.clean_test()),
        **{f"{short}_{k}": v for short, fig in rows.values() for k, v in fig.items() if k in CLASSIFIER},
        "seconds": round(sum(seconds.values()), 3), **{f"seconds_{name}": round(s, 3) for name, s in seconds.items()},
        "recipe": recipe, "attack": type(data.attack).__name__ if data.attack else None, "data": type(data).__name__,
        "seed": run.seed, "oracle": is_oracle, "version": __version__,
    }  # fmt: skip
    ordered = {n: rows[n][1] for n in rows if rows[n][0] == "none"} | {recipe: figures}
    ordered |= {n: rows[n][1] for n in rows if rows[n][0] == "oracle"}
    title = "-".join(filter(None, (recipe.lower(), results["data"].lower(), (results["attack"] or "").lower())))
    asked = [*wanted, *(["baseline"] if baseline else [])]
    directory = run.root / f"{title}-{hash_of([defense, train, data.clean_test(), run.seed, asked, run.fixed()])}"
    summary = summarize(outcome.verdict, data.classes, len(data.unreadable), again)
    if is_rank_zero():
        save_run(directory, config, verdict, data.classes, results, defense, run.stages, summary)
    run.screen.summary(len(run.stages) - run.computed)
    return Experiment(directory, results, verdict, results_table(ordered), summary)


def prepare(data: ImageDataModule, run: Runner) -> None:
    """Download what is missing, let the data's own draws follow the run's seed, and let the attack train its models."""
    run.prepare(data)
    data.seed = run.seed if data.seed is None else data.seed
    data.learn_attack(run)


def _baseline(defense: Defense, kept: TrainingView, run: Runner) -> Verdict | None:
    """The recipe's verdict on the images that it kept; None if it cannot work with them."""
    run.prefix = "baseline/"
    try:
        return defense.cleanse(kept, run).verdict
    except ValueError as error:  # what was found before is not lost for it
        log.warning("the baseline was not measured, on the %d images that are kept: %s", len(kept), error)
        return None
    finally:
        run.prefix = ""


def illustrate(run: RunContent, data: ImageDataModule, defense: Defense, most: int = GALLERY) -> RunContent:
    """Add what only the run's data can show: pictures, true roles, and where the classifiers look on a trigger.

    Args:
        run: what its directory holds.
        data: the very data, prepared.
        defense: the recipe; its weights are not used.
        most: images in a gallery.

    Raises:
        ValueError: the data lack an image of the verdict.
    """
    view, attack = data.training_view(), data.attack
    run = with_images(run, view, None if attack is None else data.truth.role, ROLES, most)
    if attack is None:
        return run
    try:
        clean, triggered = data.clean_test(), data.triggered_test()
    except (ValueError, OSError) as error:
        return replace(run, no_attention=str(error))
    if triggered is None:
        return run
    return with_attention(run, clean, triggered, attack.measured(clean.label), defense.final_classifier(view))


def _describe_data(data: ImageDataModule) -> None:
    """Say what is trained on, and what had to be left out; the attack has said what it did."""
    train = data.training_view()
    labeled = int(train.labeled.sum())
    some = "" if labeled == len(train) else f", {labeled} of them with a label"
    log.info("%s: %d training images of %d classes%s", type(data).__name__, len(train), train.num_classes, some)
    for file, _, why in data.unreadable[:10]:
        log.warning("left out: %s (%s)", ascii(file)[1:-1], why)
    if len(data.unreadable) > 10:
        log.warning("... and %d more unreadable files; the verdict names them all", len(data.unreadable) - 10)
    counts = torch.bincount(train.label[train.label >= 0], minlength=train.num_classes).tolist()
    for text, few in (("no training image has", 0), ("a single training image has, too few to judge it by,", 1)):
        named = [ascii(name) for name, count in zip(data.classes, counts, strict=True) if count == few]
        if named:
            more = f" and {len(named) - 10} more" if len(named) > 10 else ""
            log.warning("%s the label %s%s", text, ", ".join(named[:10]), more)
    groups = conflicting_labels(train.source.image, train.label)
    for group in groups[:5]:
        twins = ", ".join(f"{train.id[i]!a} as {data.classes[train.label[i]]!a}" for i in group[:5])
        log.warning("the same image under different labels: %s%s", twins, ", ..." if len(group) > 5 else "")
    if groups:
        total = sum(map(len, groups))
        log.warning("different labels for the same image: %d images, which occur %d times in all", len(groups), total)


__all__ = ["Comparison", "Experiment", "illustrate", "prepare", "run_experiment"]
