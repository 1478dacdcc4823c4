"""The command line: a thin LightningCLI whose ``fit`` runs a recipe."""

import csv
import json
import logging
import re
import sys
from argparse import HelpFormatter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import cleanse.attacks
import cleanse.data
import cleanse.defenses
import cleanse.modules
import cleanse.networks  # (their classes can be named without a module path)
from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.loggers import StageLoggers
from cleanse.engine.progress import Screen, quiet
from cleanse.engine.runner import Runner, is_rank_zero
from cleanse.experiments.augmentation_study import AugmentationStudy
from cleanse.experiments.evaluation import evaluate
from cleanse.experiments.experiment import Comparison, Experiment, illustrate, prepare, run_experiment
from cleanse.report import check_checkpoint, results_table
from cleanse.report.content import RunContent, with_embedding
from cleanse.report.panels import PICTURED, panels
from cleanse.utils.configs import CONFIGS, find_config
from cleanse.utils.files import atomic_write
from cleanse.utils.suggest import did_you_mean
from cleanse.version import __version__

log = logging.getLogger("cleanse")

COMMANDS = ("fit", "test", "predict", "export", "poison", "report", "configs")


class UsageError(ValueError):
    """A wrong argument or config; the message is for the user."""


class Parser(LightningArgumentParser):
    """Says what is wrong in one sentence instead of printing the usage of everything."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(_sentence(message, [action.dest for action in self._actions]))

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """Without the lists of every class in the process that would fit a type: they hide the arguments."""
        return re.sub(r",\s+known\s+subclasses:[^)]*\)", ")", super().format_help(formatter))


class CleanseCLI(LightningCLI):
    """LightningCLI with three commands: a `Defense` or a study as model is run, any other module is fitted."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = Parser(dump_header=[f"cleanse {__version__}"], **kwargs)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="A yaml file; later ones win.")
        return parser

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        every = LightningCLI.subcommands()
        return {name: every[name] for name in ("fit", "test", "predict")}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--root", type=str, default="runs", help="Directory of all runs and stages.")
        parser.add_argument(
            "--compare",
            type=list[Comparison] | None,
            default=None,
            help="What to show beside the recipe: its final training on all images (none), on the clean ones only "
            "(oracle). Default: both when an attack is simulated.",
        )

        parser.add_argument(
            "--watch",
            type=bool | None,
            default=None,
            help="Log SA and ASR after every epoch of every classifier. Default: when W&B is among the loggers.",
        )
        parser.add_argument(
            "--baseline",
            type=bool,
            default=False,
            help="Run the recipe once more, on the images that it kept: what it flags there is its own, not an "
            "attack's. Takes about as long as the recipe.",
        )
        parser.add_argument(
            "--threads",
            type=int | None,
            default=None,
            help="CPU threads of each process; one is best for tiny images on a busy machine. Default: torch's.",
        )

    def _parse_ckpt_path(self) -> None:
        """Not Lightning's way, which reads hyper-parameters out of any file: `check_checkpoint` has the first look."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        try:
            return super().instantiate_trainer(**kwargs)
        except (TypeError, ImportError, MisconfigurationException) as error:
            raise UsageError(f"trainer: {' '.join(str(error).split())}") from error

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        if config.threads is not None and config.threads < 1:
            raise UsageError(f"threads is a number of CPU threads, at least 1, not {config.threads}")
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        if config.trainer.precision is None:
            config.trainer.precision = best_precision(config.trainer.accelerator)
        if config.trainer.default_root_dir is None:
            config.trainer.default_root_dir = config.root

    def fit(self, model: LightningModule, datamodule: LightningDataModule | None = None, **kwargs: Any) -> None:
        if not isinstance(model, (Defense, AugmentationStudy)):
            if isinstance(datamodule, ImageDataModule):
                prepare(datamodule, self.runner())
            self.trainer.fit(model, datamodule=datamodule, **kwargs)
            if is_rank_zero() and self.trainer.checkpoint_callback is not None:
                sys.stdout.write(f"{self.trainer.checkpoint_callback.best_model_path}\n")  # type: ignore[attr-defined]
            return
        if not isinstance(datamodule, ImageDataModule):
            raise ValueError(
                "a recipe needs data: add --config data/cifar10.yaml, --config data/folder.yaml or another"
            )
        if isinstance(model, AugmentationStudy):
            study = model.study(datamodule, self.runner(), self._config_text())
            if is_rank_zero():
                sys.stdout.write(f"{study.table}\n{study.directory}\n")
            return
        if self.settings.trainer.max_epochs is not None:
            log.warning(
                "--trainer.max_epochs is of no use to a recipe: every training has its own --model.epochs and such"
            )
        config, watch = self._config_text(), self.settings.watch
        watch = self.loggers.has_wandb if watch is None else watch
        experiment = run_experiment(
            model, datamodule, self.runner(), self.settings.compare, config, watch, self.settings.baseline
        )
        if is_rank_zero():
            if self.loggers.has_wandb:
                self._show(experiment, model, datamodule, config)
            self.loggers.summarize(experiment.results)
            sys.stdout.write(f"{experiment.summary}\n\n{experiment.table}\n{experiment.directory}\n")

    def test(self, model: LightningModule, datamodule: LightningDataModule | None = None, **kwargs: Any) -> None:
        if not isinstance(model, Defense):
            self.trainer.test(model, datamodule=datamodule, **kwargs)
            return
        run = self._load(model, datamodule, kwargs.get("ckpt_path"))
        figures = evaluate(model.model, datamodule, run)  # type: ignore[arg-type]
        if is_rank_zero():
            sys.stdout.write(results_table({model.title: figures}) + "\n" + json.dumps(figures) + "\n")

    def predict(self, model: LightningModule, datamodule: LightningDataModule | None = None, **kwargs: Any) -> None:
        if not isinstance(model, Defense):
            self.trainer.predict(model, datamodule=datamodule, **{**kwargs, "return_predictions": False})
            return
        run = self._load(model, datamodule, kwargs.get("ckpt_path"))
        view = datamodule.clean_test()  # type: ignore[union-attr]
        table = run.predict("test", model.model, view)  # type: ignore[arg-type]
        path = Path(kwargs["ckpt_path"]).with_name("predictions.csv")
        if is_rank_zero():
            write_predictions(
                path, view.id, [view.classes[c] for c in table.prediction.tolist()], table.confidence.tolist()
            )
            sys.stdout.write(f"{path}\n")

    # --- what the recipe runs with ---
    @property
    def settings(self) -> Namespace:
        """The parsed config of this command."""
        return self.config[self.subcommand]  # type: ignore[no-any-return]

    @cached_property
    def loggers(self) -> StageLoggers:
        """The loggers the config asks for, made once per command."""
        return StageLoggers(self._instantiate("logger")["logger"])

    def runner(self, root: Path | None = None) -> Runner:
        """A runner whose every stage gets a Trainer, callbacks and plugins built anew from the parsed config."""
        arguments = {k: v for k, v in self.settings.trainer.as_dict().items() if v is not None}
        return Runner(
            root or self.settings.root, int(self.settings.seed_everything), self._fresh_trainer, arguments,
            self.loggers.for_stage, Screen(),
        )  # fmt: skip

    def _fresh_trainer(self, **own: Any) -> Trainer:
        made = self._instantiate(*(name for name in self.settings.trainer.as_dict() if name != "logger"))
        callbacks = [*(made.pop("callbacks") or []), *own.pop("callbacks", [])]
        return Trainer(**{**made, **own, "callbacks": callbacks})

    def _instantiate(self, *names: str) -> dict[str, Any]:
        """Some arguments of the trainer section, built anew."""
        given = self.settings.trainer.clone()
        config = Namespace(trainer=Namespace({name: given[name] for name in names}))  # type: ignore[no-untyped-call]
        return self._trainer_parser.instantiate(config).trainer.as_dict()  # type: ignore[no-any-return]

    @cached_property
    def _trainer_parser(self) -> LightningArgumentParser:
        """Knows the trainer section; made once, since every stage asks for it and making it is slow."""
        parser = LightningArgumentParser()
        parser.add_class_arguments(Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True)
        return parser

    def _show(self, experiment: Experiment, model: Defense, data: ImageDataModule, config: str) -> None:
        """Fill the dashboard with what the report's page shows."""
        e = experiment
        shown = with_embedding(RunContent(e.directory, e.results, config, e.verdict, data.classes))
        try:
            made = panels(illustrate(shown, data, model, PICTURED))
        except (ValueError, OSError) as error:  # what was found is on disk: it is not lost for a picture
            log.warning("W&B gets no tables and pictures: %s", error)
            return
        self.loggers.show(made.tables, made.pictures)

    def _load(self, model: Defense, data: LightningDataModule | None, checkpoint: str | None) -> Runner:
        """Give a recipe the classifier of a checkpoint; a runner that keeps its tables beside the run."""
        if checkpoint is None:
            raise ValueError(
                f"say which run: cleanse {self.subcommand} RUN, or --config RUN/config.yaml --ckpt_path RUN/model.ckpt"
            )
        if not isinstance(data, ImageDataModule):
            raise ValueError("the config names no data: use the config.yaml of the run")
        path = Path(checkpoint)
        content = check_checkpoint(path)
        run = self.runner(path.absolute().parent.parent)
        prepare(data, run)
        model.model = model.final_classifier(data.training_view())()
        try:
            model.load_state_dict(content["state_dict"])
        except RuntimeError:
            raise ValueError(
                f"{path} does not fit this config: its recipe, network or number of classes is another"
            ) from None
        model.model.stage_key = hash_of(dict(content["state_dict"]))  # type: ignore[assignment]
        model.model.eval()
        return run

    def _config_text(self) -> str:
        config = self.settings.clone()
        for key in ("config", "ckpt_path", "weights_only"):
            config.pop(key, None)
        return self._subcommand_parsers[self.subcommand].dump(config, skip_none=False)  # type: ignore[no-any-return,index]


def best_precision(accelerator: object) -> str:
    """``bf16-mixed`` where the device computes in it faster, otherwise ``32-true``."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available())
    return "bf16-mixed" if on_cpu and getattr(torch.cpu, "_is_amx_tile_supported", bool)() else "32-true"


def write_predictions(path: Path, ids: Sequence[str], names: Sequence[str], confidence: Sequence[float]) -> None:
    """A CSV file with a line per image."""
    with atomic_write(path, "w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "prediction", "confidence"))
        writer.writerows(zip(ids, names, (f"{c:.6f}" for c in confidence), strict=True))


def run(argv: Sequence[str]) -> None:
    """Run one command.

    Raises:
        UsageError: the arguments or a config are wrong.
        ValueError: the data or a combination of arguments cannot work.
    """
    quiet()
    command = argv[0]
    if command not in CleanseCLI.subcommands():
        raise UsageError(
            f"there is no command {command!r}: {did_you_mean(command, COMMANDS)}there are {', '.join(COMMANDS)}"
        )
    try:
        CleanseCLI(
            LightningModule, LightningDataModule, subclass_mode_model=True, subclass_mode_data=True,
            args=expand(list(argv)), seed_everything_default=0, save_config_callback=None,
            auto_configure_optimizers=False, load_from_checkpoint_support=False,
        )  # fmt: skip
    except ValueError as error:
        if "Errors:" not in str(error):
            raise
        raise UsageError(
            _sentence(str(error))
        ) from error  # a constructor's refusal, wrapped in the types that were tried


def expand(argv: list[str]) -> list[str]:
    """Look up config names, and turn ``test RUN`` into the run's config and checkpoint."""
    if len(argv) > 1 and argv[0] in ("test", "predict") and not argv[1].startswith("-"):
        directory = Path(argv[1])
        if not (directory / "config.yaml").is_file():
            raise UsageError(f"{argv[1]} is not the directory of a run: it has no config.yaml")
        checkpoint = f"--ckpt_path={directory / 'model.ckpt'}"
        return [argv[0], f"--config={directory / 'config.yaml'}", checkpoint, *expand([argv[0], *argv[2:]])[1:]]
    out: list[str] = []
    for previous, word in zip(["", *argv], argv, strict=False):
        try:
            if previous in ("--config", "-c"):
                word = str(find_config(word))
            elif word.startswith(("--config=", "-c=")):
                word = f"--config={find_config(word.split('=', 1)[1])}"
        except ValueError as error:
            raise UsageError(str(error)) from None
        if previous.startswith("--") and "=" not in previous and word in ("null", "~"):
            out[-1] = f"{previous}={word}"
        else:
            out.append(word)
    return _nested_null(_with_quick(out))


def _with_quick(words: list[str]) -> list[str]:
    """Once quick.yaml is there, let ``quick/<Class>.yaml`` follow every recipe, module and attack that has one."""
    out: list[str] = []
    named: dict[str, str] = {}
    quick = False
    for previous, word in zip(["", *words], words, strict=False):
        out.append(word)
        new: dict[str, str] = {}
        if previous == "--model" or word.startswith("--model="):
            new["model"] = word.removeprefix("--model=")
        elif previous in ("--config", "-c") or word.startswith("--config="):
            path = Path(word.removeprefix("--config="))
            new = _classes_in(path)
            if path == CONFIGS / "quick.yaml":
                quick, new = True, named
        named |= new
        for name in new.values() if quick else ():
            more = CONFIGS / "quick" / f"{name.rsplit('.', 1)[-1]}.yaml"
            out += [f"--config={more}"] if more.is_file() else []
    return out


def _classes_in(path: Path) -> dict[str, str]:
    """The classes that a config gives the model and the attack."""
    try:
        config = yaml.safe_load(path.read_text()) or {}
        data, model = config.get("data") or {}, config.get("model")
        found = {"attack": (data.get("init_args") or {}).get("attack"), "model": model}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return {}  # whoever reads it for good will say what is wrong
    names = {k: v if isinstance(v, str) else (v or {}).get("class_path") for k, v in found.items()}
    return {k: v for k, v in names.items() if v}


def _sentence(message: str, known: Sequence[str] = ()) -> str:
    """The part of a parser's message that a user can act on, on one line.

    jsonargparse tells of every type it tried, from the outside in; the keys and the innermost reason are what helps.
    ``known`` are the arguments that there are.
    """
    keys = re.findall(r'Parser key "([^"]+)"', message)
    where = ".".join(keys) + ": " if keys else ""
    reasons = [line.strip(" -") for line in message.splitlines()]
    noise = (
        "Errors:",
        "Subtypes:",
        "Given value",
        "Does not validate",
        "Expected a <class 'NoneType'>",
        "Parser key",
        "Expected a path",
    )
    told = [
        r
        for line in reasons
        if (r := re.sub(r'^(Parser key "[^"]+":\s*)+', "", line).strip(" -")) and not r.startswith(noise)
    ]
    short = " ".join(told) or " ".join(message.split())
    if found := re.search(r"Option '([^']+)' is not accepted", short):
        meant = did_you_mean(found[1], known)
        short = (
            f"there is no argument {found[1]!r}: {meant}--model.help NAME, --data.help NAME and fit --help list them"
        )
    elif found := re.search(r"unrecognized arguments: --([\w.]+)", short):
        short = f"there is no argument --{found[1]}: {did_you_mean(found[1], known)}see cleanse fit --help"
    elif found := re.search(r"Expected a dot import path string: (\S+)", short):
        short = (
            f"there is no class {found[1]!r}: {did_you_mean(found[1], _classes())}give its name, or a path such as "
            "cleanse.defenses.ISPL (knn, energy and knn_energy are methods of ContrastiveFilter, flow is FlowRelabel)"
        )
    elif found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", short):
        short = f"there is no {found[2]!r} in {found[1]}: {did_you_mean(found[2], _classes())}give a class's path"
    elif found := re.search(r"Expected a typing.Literal\[(.*?)\]\. Got value: (\S+)", short):
        short = f"{found[2]!r} is none of {found[1]}"
    elif found := re.search(r"following arguments are required: (\S+)", short):
        missing = found[1].rstrip(",").rpartition(".")[2]
        short = f"{missing} is missing: add --config ispl.yaml, --config data/cifar10.yaml or another"
    elif found := re.search(r"Expected a <class '(\w+)'>\. Got value: (.*)", short):
        short = f"{found[2]!r} is not of type {found[1]}"
    return where + short


def _classes() -> list[str]:
    """The classes that an argument may name."""
    parts = (cleanse.attacks, cleanse.data, cleanse.defenses, cleanse.modules, cleanse.networks)
    return [name for part in parts for name in vars(part) if name[0].isupper()]


def _nested_null(words: list[str]) -> list[str]:
    """``--data.attack.class_rate null`` as an inline config: jsonargparse reads a nested null as the text "None"."""
    out: list[str] = []
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        parts = [p for p in name.split(".") if p != "init_args"]
        if word.startswith("--") and value in ("null", "~") and parts[0] in ("data", "model") and len(parts) > 2:
            value = "null"
            for part in reversed(parts[1:]):
                value = f"{{init_args: {{{part}: {value}}}}}"
            word = f"--config={{{parts[0]}: {value}}}"
        out.append(word)
    return out
