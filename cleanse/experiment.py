"""One experiment: poison, cleanse, evaluate, compare, and write the run's directory."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cleanse.attacks.base import COVER, POISON
from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense, OracleDefense, Outcome
from cleanse.defenses.oracle import oracle_verdict
from cleanse.describe import hash_of
from cleanse.evaluation import evaluate, judge
from cleanse.report import results_table, save_run
from cleanse.runner import Runner, is_rank_zero
from cleanse.verdict import Verdict
from cleanse.version import __version__

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
    """

    directory: Path
    results: dict[str, Any]
    verdict: Verdict
    table: str


def run_experiment(
    defense: Defense, data: ImageDataModule, run: Runner, compare: Sequence[Comparison] | None = None, config: str = ""
) -> Experiment:
    """Run a recipe and everything that shows what it did.

    Args:
        defense: the recipe; afterwards its ``model`` is the cleansed classifier.
        data: with or without an attack.
        run: where stages are kept; the run's directory is made beside them.
        compare: the recipe's final training on all images (``none``) and on the clean ones only (``oracle``, which
            reads the truth; only with an attack). None for both with an attack, and neither without.
        config: yaml that repeats the run.

    Raises:
        ValueError: for bad data or arguments, before anything is trained where possible.
    """
    simulated = data.attack is not None
    wanted = (("none", "oracle") if simulated else ()) if compare is None else tuple(compare)
    if "oracle" in wanted and not simulated:
        raise ValueError("there is no attack to know the truth about: leave 'oracle' out of --compare")
    prepare(data, run)
    attacked = dict(run.seconds)  # what the attack trained
    train = data.training_view()
    _describe_data(data)
    run.screen.total = (
        len(attacked)
        + defense.stages()
        + (1 + len(wanted)) * (2 if simulated else 1)
        + len(wanted) * defense.final_stages
    )
    is_oracle = isinstance(defense, OracleDefense)
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
        model = defense.classify(train.with_verdict(truth), run)
        rows["no defense" if name == "none" else "clean images only (oracle)"] = (
            name,
            evaluate(model, data, run) | judge(truth, data.truth),
        )
    results: dict[str, Any] = {
        **figures, **verdict.counts(), "unreadable": len(data.unreadable),
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
    directory = (
        run.root / f"{title}-{hash_of([defense, train, data.clean_test(), run.seed, list(wanted), run.fixed()])}"
    )
    if is_rank_zero():
        save_run(directory, config, verdict, data.classes, results, defense, run.stages)
    run.screen.summary(len(run.stages) - run.computed)
    return Experiment(directory, results, verdict, results_table(ordered))


def prepare(data: ImageDataModule, run: Runner) -> None:
    """Download what is missing, let the data's own draws follow the run's seed, and let the attack train its models."""
    run.prepare(data)
    data.seed = run.seed if data.seed is None else data.seed
    data.learn_attack(run)


def _describe_data(data: ImageDataModule) -> None:
    """Say what is trained on, and what had to be left out; the attack has said what it did."""
    train = data.training_view()
    log.info("%s: %d training images of %d classes", type(data).__name__, len(train), train.num_classes)
    for file, _, why in data.unreadable[:10]:
        log.warning("left out: %s (%s)", ascii(file)[1:-1], why)
    if len(data.unreadable) > 10:
        log.warning("... and %d more unreadable files; the verdict names them all", len(data.unreadable) - 10)
    missing = [data.classes[c] for c in range(train.num_classes) if not (train.label == c).any()]
    if missing:
        log.warning("no training image has the label %s", ", ".join(map(ascii, missing)))


__all__ = ["Comparison", "Experiment", "prepare", "run_experiment"]
