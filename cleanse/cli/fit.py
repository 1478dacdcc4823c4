"""``cleanse fit``, ``test`` and ``predict``: parse, run, and say what came out."""

import json
import shlex
import sys
from collections.abc import Sequence

from cleanse.cli.load_run import load_run, test_part
from cleanse.cli.own_classes import add_working_directory, take_trust
from cleanse.cli.predict import predict, take_options
from cleanse.data import ImageFolder
from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense, LabelCheck
from cleanse.engine.runner import is_rank_zero
from cleanse.experiments.augmentation_study import AugmentationStudy
from cleanse.experiments.build import CleanseCLI, parse
from cleanse.experiments.evaluation import evaluate_classifier
from cleanse.experiments.experiment import Experiment, prepare, run_experiment
from cleanse.experiments.recipe_name import recipe_name
from cleanse.report import results_table
from cleanse.report.meanings import MEANING, meaning
from cleanse.report.summary import cannot_be_used, flagged_rate


def run(argv: Sequence[str]) -> None:
    """Run one command.

    Raises:
        UsageError: the arguments or a config are wrong.
        ValueError: the data or a combination of arguments cannot work.
    """
    if argv[0] == "fit":
        add_working_directory()
        cli = parse(argv)
        _fit(cli)
        return
    trust, words = take_trust(list(argv))
    if argv[0] == "test":
        _test(parse(words, trust))
        return
    images, out, words = take_options(words)
    _predict(parse(words, trust), images, out)


def _fit(cli: CleanseCLI) -> None:
    """A recipe or a study is run, any other module is fitted."""
    if isinstance(cli.model, Defense):
        experiment = run_experiment(cli.setup())
        table = f"\n{experiment.table}\n{_legend(experiment)}\n" if experiment.table else ""
        _say(f"{experiment.summary}\n{table}{_what_now(experiment, _training(cli))}\n{experiment.directory}")
    elif isinstance(cli.model, AugmentationStudy):
        study = cli.model.study(cli.images(), cli.runner(), cli.config_text(), cli.settings.threads)
        _say(f"{study.table}\n{study.directory}")
    else:
        if isinstance(cli.datamodule, ImageDataModule):
            prepare(cli.datamodule, cli.runner(), cli.settings.threads)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, **cli.passed)
        if cli.trainer.checkpoint_callback is not None:
            _say(str(cli.trainer.checkpoint_callback.best_model_path))  # type: ignore[attr-defined]


def _legend(experiment: Experiment) -> str:
    """What the table's figures mean: of the accuracies, and of others where they are not what they usually are."""
    shown = experiment.table.split("\n")[0].lower().split()
    said = {name: meaning(name, experiment.results.get("attack_labels")) for name in MEANING if name in shown}
    always = ("sa", "asr", "asr_max")
    told = [f"{name.upper()}: {said[name]}." for name in said if name in always or said[name] != MEANING[name]]
    return " ".join(["Per cent.", *told])


def _training(cli: CleanseCLI) -> str:
    """After a check of a folder, the command that trains a classifier; empty elsewhere."""
    if not (
        isinstance(cli.model, LabelCheck) and cli.settings.verdict_only and isinstance(cli.datamodule, ImageFolder)
    ):
        return ""
    return f"cleanse check {shlex.quote(cli.datamodule.root)} --train trains a classifier on what is kept"


def _what_now(experiment: Experiment, training: str) -> str:
    """What one does with the run's directory, whose name follows."""
    page = (experiment.directory / "report.html").is_file()
    steps = ["look at its report.html"] if page else []
    if flagged_rate(experiment.verdict) > 0 and not cannot_be_used(experiment.verdict):
        steps.append(f"cleanse export {shlex.quote(str(experiment.directory))} --out FOLDER writes the cleansed set")
    if training and not cannot_be_used(experiment.verdict):
        steps.append(training)
    return "The run's directory" + (f" ({'; '.join(steps)})" if steps else "") + ":"


def _test(cli: CleanseCLI) -> None:
    if not isinstance(cli.model, Defense):
        cli.trainer.test(cli.model, datamodule=cli.datamodule, **cli.passed)
        return
    run = load_run(cli)
    test_part(cli)
    figures = evaluate_classifier(cli.model.model, cli.datamodule, run)  # type: ignore[arg-type]
    _say(results_table({recipe_name(cli.model): figures}) + "\n" + json.dumps(figures))


def _predict(cli: CleanseCLI, images: str | None = None, out: str | None = None) -> None:
    if (path := predict(cli, images, out)) is not None:
        _say(str(path))


def _say(text: str) -> None:
    """To standard output, from one process."""
    if is_rank_zero():
        sys.stdout.write(text + "\n")
