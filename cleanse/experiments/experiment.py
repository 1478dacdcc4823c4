"""One experiment: poison, cleanse, evaluate, compare, and write the run's directory."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cleanse.attacks.base import COVER, POISON, ROLES
from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense, OracleDefense
from cleanse.defenses.oracle import oracle_verdict
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.loggers import StageLoggers
from cleanse.engine.runner import Runner, is_rank_zero
from cleanse.experiments.check_root import check_root
from cleanse.experiments.epoch_evaluation import EpochEvaluation
from cleanse.experiments.evaluation import Figures, evaluate, judge
from cleanse.experiments.threads import same_threads_after, set_threads
from cleanse.report import results_table, save_run
from cleanse.report.content import GALLERY, RunContent, with_attention, with_embedding, with_images
from cleanse.report.panels import PICTURED, panels
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
        model: the recipe with its classifier; called with (B, C, H, W) float images in [0, 1], it gives logits.
        classes: names, in label order.
    """

    directory: Path
    results: dict[str, Any]
    verdict: Verdict
    table: str
    summary: str
    model: Defense
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Setup:
    """What an experiment runs; `cleanse.experiments.build.build` makes it from configs.

    Attributes:
        defense: the recipe; afterwards its ``model`` is the cleansed classifier.
        data: with or without an attack.
        run: where stages are kept; the run's directory is made beside them.
        compare: the recipe's final training on all images (``none``) and on the clean ones only (``oracle``, which
            reads the truth; only with an attack). None for both with an attack, and neither without.
        config: yaml that repeats the run.
        watch: log SA and ASR after every epoch of every classifier that is trained; changes no result.
        baseline: run the recipe once more on the images that were kept, the best stand-in for data of nearly this size
            without an attack: what it flags there is its own.
        loggers: the run's own, for its figures and pictures; None for none.
        threads: CPU threads of this process; None for one where images are tiny, and torch's number otherwise.
    """

    defense: Defense
    data: ImageDataModule
    run: Runner
    compare: Sequence[Comparison] | None = None
    config: str = ""
    watch: bool = False
    baseline: bool = False
    loggers: StageLoggers | None = None
    threads: int | None = None

    @property
    def compared(self) -> tuple[Comparison, ...]:
        """What the recipe is compared with."""
        both: tuple[Comparison, ...] = ("none", "oracle")
        return (both if self.data.attack else ()) if self.compare is None else tuple(self.compare)


def run_experiment(setup: Setup) -> Experiment:
    """Run a recipe and everything that shows what it did.

    Raises:
        ValueError: for bad data or arguments, before anything is trained where possible.
    """
    with same_threads_after():
        train = _prepare(setup)
        defended = _defend(setup, train)
        compared = _compare(setup, train, defended.verdict)
        return _write(setup, train, defended, compared)


@dataclass(frozen=True)
class _Defended:
    """What came of the recipe: verdict, figures of both, and seconds of its stages."""

    verdict: Verdict
    figures: Figures
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Compared:
    """What the recipe is compared with: figures by comparison, and its verdict on the images that it kept."""

    figures: dict[Comparison, Figures]
    again: Verdict | None


def _prepare(setup: Setup) -> TrainingView:
    """The training images as the recipe sees them, after everything that can be refused beforehand."""
    defense, data, run = setup.defense, setup.data, setup.run
    simulated = data.attack is not None
    if "oracle" in setup.compared and not simulated:
        raise ValueError("there is no attack to know the truth about: leave 'oracle' out of --compare")
    if setup.baseline and isinstance(defense, OracleDefense):
        raise ValueError("a recipe that reads the truth flags nothing of its own: leave --baseline out")
    prepare(data, run, setup.threads)
    run.watchers = [EpochEvaluation(data)] if setup.watch else []
    _describe_data(data)
    run.screen.total = (
        len(run.seconds)
        + defense.stages() * (2 if setup.baseline else 1)
        + (1 + len(setup.compared)) * (2 if simulated else 1)
        + len(setup.compared) * defense.final_stages
    )
    return data.training_view()


def _defend(setup: Setup, train: TrainingView) -> _Defended:
    """The recipe, which sees ``train`` alone, and then the truth about what it did."""
    defense, data, run = setup.defense, setup.data, setup.run
    before = set(run.seconds)  # what the attack trained
    if isinstance(defense, OracleDefense):
        outcome = defense.cleanse(train, run, data.truth)
    else:
        outcome = defense.cleanse(train, run)
    defense.model = outcome.model
    seconds = {k: v for k, v in run.seconds.items() if k not in before}  # of the recipe: evaluation follows
    figures = evaluate(outcome.model, data, run)
    none = dict.fromkeys(("tpr", "fpr", "auroc", "relabel_accuracy"))
    figures |= none if data.attack is None else judge(outcome.verdict, data.truth)
    return _Defended(outcome.verdict, figures, seconds)


def _compare(setup: Setup, train: TrainingView, verdict: Verdict) -> _Compared:
    """The recipe's final training on all images and on the clean ones, and the recipe on those that it kept."""
    defense, data, run = setup.defense, setup.data, setup.run
    figures: dict[Comparison, Figures] = {}
    for name in setup.compared:
        truth = oracle_verdict(train, data.truth) if name == "oracle" else Verdict.keep_all(train.id, train.label)
        run.prefix = f"{name}/"
        model = defense.classify(train.with_verdict(truth), run)
        run.prefix = ""
        figures[name] = evaluate(model, data, run) | judge(truth, data.truth)
    return _Compared(figures, _baseline(setup, train.subset(verdict.kept)) if setup.baseline else None)


def _baseline(setup: Setup, kept: TrainingView) -> Verdict | None:
    """The recipe's verdict on the images that it kept; None if it cannot work with them."""
    setup.run.prefix = "baseline/"
    try:
        return setup.defense.cleanse(kept, setup.run).verdict
    except ValueError as error:  # what was found before is not lost for it
        log.warning("the baseline was not measured, on the %d images that are kept: %s", len(kept), error)
        return None
    finally:
        setup.run.prefix = ""


def _write(setup: Setup, train: TrainingView, defended: _Defended, compared: _Compared) -> Experiment:
    """The run's directory, and the figures and pictures of its loggers."""
    defense, data, run = setup.defense, setup.data, setup.run
    verdict = defended.verdict.with_dropped(data.unreadable, "unreadable: ")
    results = _results(setup, train, verdict, defended, compared)
    asked = [*setup.compared, *(["baseline"] if setup.baseline else [])]
    title = "-".join(
        filter(None, (results["recipe"].lower(), results["data"].lower(), (results["attack"] or "").lower()))
    )
    directory = run.root / f"{title}-{hash_of([defense, train, data.clean_test(), run.seed, asked, run.fixed()])}"
    summary = summarize(defended.verdict, data.classes, len(data.unreadable), compared.again)
    if is_rank_zero():
        save_run(directory, setup.config, verdict, data.classes, results, defense, run.stages, summary)
    run.screen.summary(len(run.stages) - run.computed)
    rows = {"no defense": compared.figures.get("none"), defense.title: defended.figures}
    rows["clean images only (oracle)"] = compared.figures.get("oracle")
    table = results_table({name: row for name, row in rows.items() if row is not None})
    experiment = Experiment(directory, results, verdict, table, summary, defense, tuple(data.classes))
    if setup.loggers is not None and is_rank_zero():
        _show(experiment, setup)
        setup.loggers.summarize(results)
    return experiment


def _results(
    setup: Setup, train: TrainingView, verdict: Verdict, defended: _Defended, compared: _Compared
) -> dict[str, Any]:
    """``results.json``: flat, with fractions between 0 and 1 and None for what does not apply."""
    defense, data, again, counts = setup.defense, setup.data, compared.again, verdict.counts()
    simulated = data.attack is not None
    return {
        **defended.figures,
        "kept": counts["kept"], "relabelled": counts["relabeled"], "dropped": counts["dropped"],
        "unreadable": len(data.unreadable),
        "baseline_flagged": None if again is None else flagged_rate(again),
        "poisoned": data.truth.count(POISON) if simulated else None,
        "cover": data.truth.count(COVER) if simulated else None,
        "train_images": len(train), "test_images": len(data.clean_test() or ()),
        **{f"{name}_{k}": row[k] for name, row in compared.figures.items() for k in CLASSIFIER},
        "seconds": round(sum(defended.seconds.values()), 3),
        **{f"seconds_{name}": round(s, 3) for name, s in defended.seconds.items()},
        "recipe": defense.title, "attack": type(data.attack).__name__ if data.attack else None,
        "data": type(data).__name__, "seed": setup.run.seed, "oracle": isinstance(defense, OracleDefense),
        "version": __version__,
    }  # fmt: skip


def _show(experiment: Experiment, setup: Setup) -> None:
    """Fill the dashboard, where there is one, with what the report's page shows."""
    if setup.loggers is None or not setup.loggers.has_wandb:
        return
    e, data = experiment, setup.data
    shown = with_embedding(RunContent(e.directory, e.results, setup.config, e.verdict, data.classes))
    try:
        made = panels(illustrate(shown, data, setup.defense, PICTURED))
    except (ValueError, OSError) as error:  # what was found is on disk: it is not lost for a picture
        log.warning("W&B gets no tables and pictures: %s", error)
        return
    setup.loggers.show(made.tables, made.pictures)


def prepare(data: ImageDataModule, run: Runner, threads: int | None = None) -> None:
    """Download what is missing, let the data's own draws follow the run's seed, and let the attack train its models.

    Args:
        data: the data, whose images are read.
        run: its runner.
        threads: see `Setup`.
    """
    check_root(data)
    run.prepare(data)
    data.seed = run.seed if data.seed is None else data.seed
    set_threads(threads, data)
    data.learn_attack(run)


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
    if clean is None or triggered is None:
        return run
    return with_attention(run, clean, triggered, attack.measured(clean.label), defense.final_classifier(view))


def _describe_data(data: ImageDataModule) -> None:
    """Say what the data was understood as, and what had to be left out; the attack has said what it did."""
    understood = data.understood()
    for line in understood.lines():
        log.info("%s", line)
    for file, _, why in data.unreadable[:10]:
        log.warning("left out: %s (%s)", ascii(file)[1:-1], why)
    if len(data.unreadable) > 10:
        log.warning("... and %d more unreadable files; the verdict names them all", len(data.unreadable) - 10)
    for warning in understood.warnings:
        log.warning("%s", warning)


__all__ = ["Comparison", "Experiment", "illustrate", "prepare", "run_experiment"]
