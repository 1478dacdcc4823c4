"""One experiment: poison, cleanse, evaluate, compare, and write the run's directory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from errno import EACCES, EPERM, EROFS
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from cleanse.attacks.base import COVER, POISON
from cleanse.data import ImageFolder
from cleanse.data.base import ImageDataModule
from cleanse.defenses import CleanImagesDefense, Defense, OracleDefense, Outcome
from cleanse.defenses.lost_classes import warn_of_lost_classes
from cleanse.defenses.oracle import oracle_verdict
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.loggers import StageLoggers
from cleanse.engine.plan import Planned
from cleanse.engine.run_directory import RunDirectory
from cleanse.engine.runner import Runner, is_rank_zero
from cleanse.experiments.check_root import check_root
from cleanse.experiments.epoch_evaluation import EpochEvaluation
from cleanse.experiments.evaluation import (
    CLASSIFIER,
    DETECTION,
    Figures,
    clean_purity,
    evaluate_classifier,
    evaluate_verdict,
)
from cleanse.experiments.pages import illustrate, report_runs
from cleanse.experiments.rebuild import attacked_data_of, defense_of, load_classifier, open_run
from cleanse.experiments.recipe_name import recipe_name
from cleanse.experiments.threads import same_threads_after, set_threads
from cleanse.report import results_table
from cleanse.report.content import GALLERY, RunContent, with_embedding
from cleanse.report.page import make_page
from cleanse.report.panels import PICTURED, panels
from cleanse.report.pattern import SEE_REPORT
from cleanse.report.summary import flagged_rate, summarize
from cleanse.utils.configs import shipped
from cleanse.verdict import Verdict
from cleanse.version import __version__
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")

Comparison = Literal["none", "oracle"]


@dataclass(frozen=True)
class Experiment:
    """What an experiment found; on disk in ``directory``, from where `load` reads it back.

    Attributes:
        directory: of the run.
        results: flat and JSON-ready, as in results.json: fractions between 0 and 1, None for what does not apply.
        verdict: one row per training image, unreadable files included.
        classes: names, in label order.
        summary: the verdict in words.
    """

    directory: Path
    results: dict[str, Any]
    verdict: Verdict
    classes: tuple[str, ...]
    summary: str
    _model: Defense | Callable[[], Defense] = field(repr=False)

    @classmethod
    def load(cls, directory: str | PathLike[str]) -> "Experiment":
        """Read a finished run back. Its data and weights are read when `model` is asked for.

        Raises:
            ValueError: not the directory of a run, or a damaged one.
        """
        run = open_run(directory)

        def model() -> Defense:
            content, defense = run.read_checkpoint(), defense_of(run)
            load_classifier(defense, attacked_data_of(run).training_view(), content, str(run.checkpoint))
            return defense

        return cls(run.path, run.read_results(), run.read_verdict(), run.read_classes(), run.read_summary(), model)

    @cached_property
    def model(self) -> Defense:
        """The recipe with its classifier; (B, C, H, W) float images in [0, 1] give (B, classes) logits.

        Raises:
            ValueError: the run has a verdict only, or its data or checkpoint cannot be read.
        """
        model = self._model if isinstance(self._model, Defense) else self._model()
        if model.model is None:
            raise ValueError("this run has a verdict and no classifier: run it without --verdict_only")
        return model

    @property
    def table(self) -> str:
        """The figures as text, one line per recipe."""
        own = str(self.results["recipe"])
        given = self.results.get("given")
        names = {"none": "none_", own: "", "oracle": "oracle_"}  # (a run of none, or of the oracle, has one row for it)
        rows = {
            name: {
                key: self.results.get(prefix + key) for key in (*CLASSIFIER, "asr_max", *(() if prefix else DETECTION))
            }
            for name, prefix in names.items()
            if f"{prefix}sa" in self.results
        }
        if given and given != "truth":  # the oracle's name says it
            rows = {f"{name} ({given})" if name == own else name: row for name, row in rows.items()}
        return results_table(rows)

    def report(self, out: str | Path | None = None) -> Path:
        """Write the web page about this run.

        Args:
            out: the file; None for ``report.html`` in the run's directory.

        Returns:
            The page's path.
        """
        return report_runs([self.directory], out)


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
        verdict_only: train and compare no classifier.
        report: write report.html.
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
    verdict_only: bool = False
    report: bool = True

    @property
    def compared(self) -> tuple[Comparison, ...]:
        """What the recipe is compared with."""
        both: tuple[Comparison, ...] = ("none", "oracle")
        return (both if self.data.attack else ()) if self.compare is None else tuple(self.compare)


@dataclass
class Found:
    """What is known so far of a run; it grows from step to step.

    Attributes:
        directory: of the run.
        train: what the recipe sees.
        verdict: of the recipe.
        figures: of the recipe and its classifier.
        seconds: of the recipe's stages, by their name.
        compared: figures of the classifiers that it is compared with.
        again: the recipe's verdict on the images that it kept.
        notes: the recipe's sentences about its evidence.
        saved: what was written down with the verdict.
    """

    directory: RunDirectory
    train: TrainingView
    verdict: Verdict
    figures: Figures
    seconds: dict[str, float]
    compared: dict[Comparison, Figures] = field(default_factory=dict)
    again: Verdict | None = None
    notes: tuple[str, ...] = ()
    saved: Experiment | None = None


def run_experiment(setup: Setup) -> Experiment:
    """Run a recipe and everything that shows what it did.

    The verdict, its summary and the report are on disk before the classifier is trained on what is left.

    Raises:
        ValueError: for bad data or arguments, before anything is trained where possible.
    """
    with same_threads_after():
        train = _prepare(setup)
        with setup.run.watching([EpochEvaluation(setup.data)] if setup.watch else []):
            found = _defend(setup, train)
            _compare(setup, found)
        return _write(setup, found)


# --- 1. prepare ---
def _prepare(setup: Setup) -> TrainingView:
    """The training images as the recipe sees them, after everything that can be refused beforehand."""
    defense, data, run = setup.defense, setup.data, setup.run
    simulated = data.attack is not None
    if "oracle" in setup.compared and not simulated:
        raise ValueError("there is no attack to know the truth about: leave 'oracle' out of --compare")
    if setup.baseline and isinstance(defense, OracleDefense):
        raise ValueError("a recipe that reads the truth flags nothing of its own: leave --baseline out")
    ready(data, run, setup.threads)
    if data.plan_attack():
        run.expect(plan_ahead(setup), _affordable(setup))
    data.learn_attack(run)
    if isinstance(defense, CleanImagesDefense):
        defense.check_reserve(data.reserved_view())
    _describe_data(data)
    train = data.training_view()
    run.expect(plan(setup, train), _affordable(setup))
    return train


def plan(setup: Setup, train: TrainingView) -> list[Planned] | None:
    """The stages of an experiment in their order, those of the attack left out; None if its recipe cannot say.

    Args:
        setup: prepared.
        train: the training images as the recipe sees them.
    """
    defense = setup.defense
    try:
        verdict = defense.plan_verdict(train)
        if verdict is None:
            return None
        stages = list(verdict)
        if not setup.verdict_only:
            own = defense.plan_final(train)
            stages += own
            stages += _plan_tables(setup, (own or stages)[-1])
            for name in setup.compared:
                compared = defense.plan_classifier(train.with_verdict(_compared_verdict(name, setup, train)))
                stages += [replace(stage, name=f"{name}/{stage.name}") for stage in compared]
                stages += _plan_tables(setup, compared[-1])
        if setup.baseline:
            stages += [replace(stage, name=f"baseline/{stage.name}", most=True) for stage in verdict]
        return stages
    except ValueError as error:  # the recipe will say what is wrong, in its own place
        log.debug("there is no plan: %s", error)
        return None


def plan_ahead(setup: Setup) -> list[Planned] | None:
    """The same before the attack has trained its models: these, and then the recipe's on as many clean images.

    What the recipe trains will see other images, so it is `most`: nobody can say whether it is on disk.

    Args:
        setup: ready, with an attack that has not learned yet.
    """
    clean = setup.data.without_attack()
    later = plan(replace(setup, data=clean, compare=setup.compared), clean.training_view())
    if later is None:
        return None
    return [*setup.data.plan_attack(), *(replace(stage, most=bool(stage.epochs)) for stage in later)]


def _plan_tables(setup: Setup, classifier: Planned) -> list[Planned]:
    """What `evaluate_classifier` will ask for."""
    clean = setup.data.clean_test()
    if clean is None:
        return []
    views = [("test", clean), *(("triggered", view) for view in setup.data.triggered_tests())]
    return [Planned(name, classifier.build, view) for name, view in views]


def _affordable(setup: Setup) -> str:
    """What takes less time than a run of many hours, in a sentence."""
    ways = ["--config quick.yaml is a small network and short schedules, to try things out"]
    if "fast.yaml" in shipped() and "cleanse.networks.FastNet" not in setup.config:
        ways.insert(0, "--config fast.yaml trains at full size in a fraction of the time")
    if isinstance(setup.data, ImageFolder):
        ways.append("cleanse check FOLDER gives a verdict without training")
    return f"Affordable instead: {'; '.join(ways)}"


def prepare(data: ImageDataModule, run: Runner, threads: int | None = None) -> None:
    """Make the data ready, and let the attack train its models.

    Args:
        data: the data, whose images are read.
        run: its runner, which shows what the attack trains.
        threads: see `Setup`.
    """
    ready(data, run, threads)
    data.learn_attack(run)


def ready(data: ImageDataModule, run: Runner, threads: int | None = None) -> None:
    """Download what is missing, and let the data's own draws follow the run's seed.

    Args:
        data: the data, whose images are read.
        run: its runner.
        threads: see `Setup`.
    """
    check_root(data)
    run.prepare(data)
    data.seed = run.seed if data.seed is None else data.seed
    set_threads(threads, data)


# --- 2. defend ---
def _defend(setup: Setup, train: TrainingView) -> Found:
    """The recipe, which sees ``train`` alone: its verdict is written down, then its classifier is trained."""
    defense, data, run = setup.defense, setup.data, setup.run
    before = set(run.seconds)  # what the attack trained
    outcome = _judge(setup, train)
    figures: Figures = dict.fromkeys((*CLASSIFIER, *DETECTION))
    notes = outcome.notes
    warn_of_lost_classes(outcome.verdict, data.classes)
    if data.attack is not None:
        figures |= evaluate_verdict(outcome.verdict, data.truth)
        purity = _purity(outcome, train, data)
        figures |= purity
        notes += _purity_in_words(purity)
    found = Found(_directory(setup, train), train, outcome.verdict, figures, _since(run, before), notes=notes)
    found.saved = _save(setup, found)
    if not setup.verdict_only:
        defense.model = outcome.model
        found.seconds = _since(run, before)  # of the recipe: evaluation follows
        found.figures |= evaluate_classifier(outcome.model, data, run)
    return found


def _judge(setup: Setup, train: TrainingView) -> Outcome:
    """What the recipe makes of ``train``, with what it is given besides."""
    defense, data, run = setup.defense, setup.data, setup.run
    if isinstance(defense, OracleDefense):
        return defense.cleanse(train, run, data.truth)
    if isinstance(defense, CleanImagesDefense):
        return defense.cleanse(train, run, data.reserved_view())
    return defense.cleanse(train, run)


def _purity(outcome: Outcome, train: TrainingView, data: ImageDataModule) -> Figures:
    """``clean_purity``, the part of the training images that the recipe took for clean and that are not poisoned."""
    if outcome.clean is None:
        return {}
    return {"clean_purity": clean_purity(torch.isin(train.rows, outcome.clean.rows), data.truth)}


def _purity_in_words(purity: Figures) -> tuple[str, ...]:
    """A sentence for the summary; none where no training image was taken for clean."""
    share = purity.get("clean_purity")
    if share is None:
        return ()
    return (f"{share:.1%} of the training images that were taken for clean are not poisoned (as the attack tells).",)


def _since(run: Runner, before: set[str]) -> dict[str, float]:
    """Seconds of the stages that were not there before."""
    return {name: seconds for name, seconds in run.seconds.items() if name not in before}


# --- 3. compare ---
def _compare(setup: Setup, found: Found) -> None:
    """The recipe's final training on all images and on the clean ones, and the recipe on those that it kept."""
    defense, data, run, train = setup.defense, setup.data, setup.run, found.train
    for name in () if setup.verdict_only else setup.compared:
        view = train.with_verdict(_compared_verdict(name, setup, train))
        with run.scope(name):
            model = defense.classify(view, run)
        found.compared[name] = evaluate_classifier(model, data, run)
    if setup.baseline:
        found.again = _baseline(setup, train.subset(found.verdict.kept))


def _compared_verdict(name: Comparison, setup: Setup, train: TrainingView) -> Verdict:
    """What a comparison trains on."""
    return oracle_verdict(train, setup.data.truth) if name == "oracle" else Verdict.keep_all(train.id, train.label)


def _baseline(setup: Setup, kept: TrainingView) -> Verdict | None:
    """The recipe's verdict on the images that it kept; None if it cannot work with them."""
    try:
        with setup.run.scope("baseline"):
            return _judge(setup, kept).verdict
    except ValueError as error:  # what was found before is not lost for it
        log.warning("the baseline was not measured, on the %d images that are kept: %s", len(kept), error)
        return None


# --- 4. write ---
def _write(setup: Setup, found: Found) -> Experiment:
    """The run's directory, and the figures and pictures of its loggers."""
    run = setup.run
    known = found.saved if setup.verdict_only and found.again is None else None  # nothing came after the verdict
    experiment = _save(setup, found) if known is None else known
    if is_rank_zero():
        if not setup.verdict_only:
            with _finished_may_be_read_only(found.directory):
                spec = setup.data.training_view().image_spec
                found.directory.write_checkpoint(setup.defense, setup.data.classes, spec)
        if setup.loggers is not None:
            _show(setup, experiment)
            setup.loggers.summarize(experiment.results)
    run.screen.summary(len(run.stages) - run.computed)
    return experiment


def _directory(setup: Setup, train: TrainingView) -> RunDirectory:
    """Named after what is run, with a hash of all that can change a result."""
    defense, data, run = setup.defense, setup.data, setup.run
    names = [recipe_name(defense), type(data).__name__, "" if data.attack is None else type(data.attack).__name__]
    title = "-".join(name.lower() for name in names if name)
    asked = [*setup.compared, *(["baseline"] if setup.baseline else [])]
    return RunDirectory(
        run.root / f"{title}-{hash_of([defense, train, data.clean_test(), run.seed, asked, run.fixed()])}"
    )


def _save(setup: Setup, found: Found) -> Experiment:
    """Write everything but the checkpoint, as far as it is known."""
    data, directory = setup.data, found.directory
    verdict = found.verdict.with_dropped(data.unreadable, "unreadable: ")
    results = _results(setup, found, verdict)
    content: RunContent | None = None
    if is_rank_zero():
        with _finished_may_be_read_only(directory):
            directory.write_config(setup.config)
            directory.write_verdict(verdict, data.classes)
            directory.write_results(results)
            directory.link_stages(setup.run.stages)
        if setup.report:
            content = _illustrated(setup, RunContent(directory, results, setup.config, verdict, data.classes))
    pattern = content.pattern.words if content is not None and content.pattern is not None else ""
    pattern += SEE_REPORT if pattern else ""
    summary = summarize(found.verdict, data.classes, len(data.unreadable), found.again, pattern, found.notes)
    with _finished_may_be_read_only(directory):
        if is_rank_zero():
            directory.write_summary(summary)
        if content is not None:
            directory.write_report(make_page([content]))
    return Experiment(directory.path, results, verdict, tuple(data.classes), summary, setup.defense)


@contextmanager
def _finished_may_be_read_only(directory: RunDirectory) -> Iterator[None]:
    """A run that is there already may lie on a disk that nobody can write to: it is read, and says the same."""
    try:
        yield
    except OSError as error:
        if error.errno not in (EROFS, EACCES, EPERM) or not directory.results.is_file():
            raise
        log.warning("%s is as it was: nothing can be written there (%s)", directory.path, error.strerror)


def _illustrated(setup: Setup, content: RunContent, most: int = GALLERY) -> RunContent:
    """With what the run's data can show."""
    content = with_embedding(content)
    try:
        return illustrate(content, setup.data, setup.defense, most)
    except (ValueError, OSError) as error:  # what was found is on disk: it is not lost for a picture
        log.warning("the report goes without pictures: %s", error)
        return replace(content, missing=str(error))


def _results(setup: Setup, found: Found, verdict: Verdict) -> dict[str, Any]:
    """``results.json``: flat, with fractions between 0 and 1 and None for what does not apply."""
    defense, data, again, counts = setup.defense, setup.data, found.again, verdict.counts()
    simulated = data.attack is not None
    return {
        **found.figures,
        "kept": counts["kept"], "relabelled": counts["relabeled"], "dropped": counts["dropped"],
        "unreadable": len(data.unreadable),
        "baseline_flagged": None if again is None else flagged_rate(again),
        "poisoned": data.truth.count(POISON) if simulated else None,
        "cover": data.truth.count(COVER) if simulated else None,
        "train_images": len(found.train), "test_images": len(data.clean_test() or ()),
        **{f"{name}_{k}": value for name, row in found.compared.items() for k, value in row.items()},
        **_triggers(data),
        "seconds": round(sum(found.seconds.values()), 3),
        **{f"seconds_{name}": round(s, 3) for name, s in found.seconds.items()},
        "recipe": recipe_name(defense), "attack": type(data.attack).__name__ if data.attack else None,
        "attack_labels": " | ".join(part.labels for part in data.attack.parts) if data.attack else None,
        "data": type(data).__name__, "seed": setup.run.seed, "oracle": isinstance(defense, OracleDefense),
        "given": ", ".join(defense.given(data.reserve_clean)) or None,
        "version": __version__,
    }  # fmt: skip


def _triggers(data: ImageDataModule) -> dict[str, str]:
    """What each trigger of an attack that has several is, in words."""
    parts = () if data.attack is None else data.attack.parts
    return {f"trigger_{i}": part.in_words() for i, part in enumerate(parts, 1)} if len(parts) > 1 else {}


def _show(setup: Setup, experiment: Experiment) -> None:
    """Fill the dashboard, where there is one, with what the report's page shows."""
    if setup.loggers is None or not setup.loggers.has_wandb:
        return
    e = experiment
    content = RunContent(RunDirectory(e.directory), e.results, setup.config, e.verdict, e.classes)
    made = panels(_illustrated(setup, content, PICTURED))
    setup.loggers.show(made.tables, made.pictures)


def _describe_data(data: ImageDataModule) -> None:
    """Say what the data was understood as, and what had to be left out; the attack has said what it did."""
    understood = data.understood()
    for line in understood.lines():
        log.info("%s", line)
    for file, _, why in data.unreadable[:10]:
        log.warning("left out: %s (%s)", repr(file)[1:-1], why)
    if len(data.unreadable) > 10:
        log.warning("... and %d more unreadable files; the verdict names them all", len(data.unreadable) - 10)
    for warning in understood.warnings:
        log.warning("%s", warning)


__all__ = ["Comparison", "Experiment", "Setup", "plan", "prepare", "run_experiment"]
