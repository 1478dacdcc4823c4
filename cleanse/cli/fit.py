"""``cleanse fit``, ``test`` and ``predict``: parse, run, and say what came out."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cleanse.cli.own_classes import add_working_directory, take_trust
from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.run_directory import RunDirectory, check_checkpoint
from cleanse.engine.runner import Runner, is_rank_zero
from cleanse.experiments.augmentation_study import AugmentationStudy
from cleanse.experiments.build import CleanseCLI, parse
from cleanse.experiments.evaluation import evaluate
from cleanse.experiments.experiment import prepare, run_experiment
from cleanse.experiments.messages import UsageError
from cleanse.experiments.rebuild import load_classifier
from cleanse.experiments.recipe_name import recipe_name
from cleanse.report import results_table
from cleanse.utils.files import atomic_write
from cleanse.utils.suggest import did_you_mean

COMMANDS = ("check", "fit", "export", "report", "predict", "test", "poison", "configs")


def run(argv: Sequence[str]) -> None:
    """Run one command.

    Raises:
        UsageError: the arguments or a config are wrong.
        ValueError: the data or a combination of arguments cannot work.
    """
    commands = {"fit": _fit, "test": _test, "predict": _predict}
    if argv[0] not in commands:
        if Path(argv[0]).is_dir():
            raise UsageError(_of_folder(argv[0]))
        raise UsageError(
            f"there is no command {argv[0]!r}: {did_you_mean(argv[0], COMMANDS)}there are {', '.join(COMMANDS)}"
        )
    if argv[0] == "fit":
        add_working_directory()
        cli = parse(argv)
    else:
        trust, words = take_trust(list(argv))
        cli = parse(words, trust)
    commands[argv[0]](cli)


def _of_folder(name: str) -> str:
    """What to do with a folder that was given instead of a command."""
    if Path(name, "config.yaml").is_file():
        return f"{name} is a run: cleanse report {name} shows it, cleanse export {name} --out DIR writes its images"
    return f"{name} is a folder: cleanse check {name} looks for a backdoor in its images"


def _fit(cli: CleanseCLI) -> None:
    """A recipe or a study is run, any other module is fitted."""
    if isinstance(cli.model, Defense):
        experiment = run_experiment(cli.setup())
        table = f"\n{experiment.table}\n" if experiment.table else ""
        _say(f"{experiment.summary}\n{table}{experiment.directory}")
    elif isinstance(cli.model, AugmentationStudy):
        study = cli.model.study(cli.images(), cli.runner(), cli.config_text(), cli.settings.threads)
        _say(f"{study.table}\n{study.directory}")
    else:
        if isinstance(cli.datamodule, ImageDataModule):
            prepare(cli.datamodule, cli.runner(), cli.settings.threads)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, **cli.passed)
        if cli.trainer.checkpoint_callback is not None:
            _say(str(cli.trainer.checkpoint_callback.best_model_path))  # type: ignore[attr-defined]


def _test(cli: CleanseCLI) -> None:
    if not isinstance(cli.model, Defense):
        cli.trainer.test(cli.model, datamodule=cli.datamodule, **cli.passed)
        return
    run = _load(cli)
    figures = evaluate(cli.model.model, cli.datamodule, run)  # type: ignore[arg-type]
    _say(results_table({recipe_name(cli.model): figures}) + "\n" + json.dumps(figures))


def _predict(cli: CleanseCLI) -> None:
    if not isinstance(cli.model, Defense):
        cli.trainer.predict(cli.model, datamodule=cli.datamodule, **{**cli.passed, "return_predictions": False})
        return
    run = _load(cli)
    view = cli.datamodule.clean_test()
    table = run.predict("test", cli.model.model, view)  # type: ignore[arg-type]
    path = RunDirectory(Path(cli.passed["ckpt_path"]).parent).predictions
    if is_rank_zero():
        write_predictions(
            path, view.id, [view.classes[c] for c in table.prediction.tolist()], table.confidence.tolist()
        )
    _say(str(path))


def _load(cli: CleanseCLI) -> Runner:
    """Give a recipe the classifier of a checkpoint; a runner that keeps its tables beside the run."""
    checkpoint, model = cli.passed.get("ckpt_path"), cli.model
    if checkpoint is None:
        raise ValueError(
            f"say which run: cleanse {cli.subcommand} RUN, or --config RUN/config.yaml --ckpt_path RUN/model.ckpt"
        )
    if not isinstance(cli.datamodule, ImageDataModule):
        raise ValueError("the config names no data: use the config.yaml of the run")
    path = Path(checkpoint)
    content = check_checkpoint(path)
    run = cli.runner(path.absolute().parent.parent)
    prepare(cli.datamodule, run, cli.settings.threads)
    load_classifier(model, cli.datamodule, content, str(path))
    model.model.stage_key = hash_of(dict(content["state_dict"]))
    return run


def write_predictions(path: Path, ids: Sequence[str], names: Sequence[str], confidence: Sequence[float]) -> None:
    """A CSV file with a line per image."""
    with atomic_write(path, "w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "prediction", "confidence"))
        writer.writerows(zip(ids, names, (f"{c:.6f}" for c in confidence), strict=True))


def _say(text: str) -> None:
    """To standard output, from one process."""
    if is_rank_zero():
        sys.stdout.write(text + "\n")
