"""From configs and arguments to what is to be run: the one way for the command line and for Python."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.loggers import StageLoggers
from cleanse.engine.precision import best_precision
from cleanse.engine.progress import Screen, quiet
from cleanse.engine.runner import Runner
from cleanse.engine.trainer_numbers import check_trainer
from cleanse.experiments.arguments import Arguments, read_arguments
from cleanse.experiments.classes import check_classes
from cleanse.experiments.experiment import Comparison, Setup
from cleanse.experiments.messages import UsageError
from cleanse.experiments.numbers import MOST_SEED, check_numbers
from cleanse.experiments.parser import Parser
from cleanse.experiments.reading import reading
from cleanse.version import __version__

log = logging.getLogger("cleanse")

ABOUT = {
    "fit": (
        "cleanse fit --config FILE [--config FILE ...] [--ARGUMENT VALUE ...]",
        "Run a recipe (a verdict for every image, its summary and report, then a classifier), the study of "
        "augmentations, or fit a single module. --model.help RECIPE and --data.help DATA list arguments.",
    ),
    "test": (
        "cleanse test RUN [--trust] [--ARGUMENT VALUE ...]",
        "Say SA, ASR, RA and TMR of the classifier in a run's directory, on the test images of the run.",
    ),
    "predict": (
        "cleanse predict RUN [--images DIR] [--out FILE] [--trust] [--ARGUMENT VALUE ...]",
        "Write what the classifier in a run's directory says of images as a CSV file (default: RUN/predictions.csv): "
        "of the run's test images, or of the pictures in --images DIR, which need no labels.",
    ),
}
"""Usage and description of the commands that Lightning's parser reads."""


def build(configs: Sequence[str], overrides: Mapping[str, object] | None = None) -> Setup:
    """What ``cleanse fit`` would run with these config files and arguments.

    Args:
        configs: yaml files, here or among the shipped ones; later ones win.
        overrides: arguments by their dotted name, such as ``{"model.pretrain_epochs": 100}``; they win over files.

    Raises:
        UsageError: a wrong argument or config.
        ValueError: data or arguments that cannot work.

    Example::

        experiment = run_experiment(build(["knn.yaml", "quick.yaml"], {"seed_everything": 1}))
    """
    words = [*(f"--config={name}" for name in configs)]
    words += [f"--{name}={_text(value)}" for name, value in (overrides or {}).items()]
    return parse(["fit", *words]).setup()


def parse(argv: Sequence[str], trust: bool = True) -> "CleanseCLI":
    """Parse one of the commands fit, test and predict, and make what its config names; nothing is trained yet.

    Args:
        argv: the command's name and its arguments.
        trust: import whatever classes the config names; false for classes of ours only.

    Raises:
        UsageError: the arguments or a config are wrong.
        ValueError: the data or a combination of arguments cannot work.
    """
    quiet()
    arguments = read_arguments(argv)
    with reading(arguments, trust):
        cli = CleanseCLI(
            LightningModule, LightningDataModule, subclass_mode_model=True, subclass_mode_data=True,
            args=arguments.words, seed_everything_default=0, save_config_callback=None,
            auto_configure_optimizers=False, load_from_checkpoint_support=False,
        )  # fmt: skip
    cli.arguments = arguments
    return cli


class CleanseCLI(LightningCLI):
    """LightningCLI that parses and instantiates, and leaves it to its caller to start what came out.

    Attributes:
        arguments: what was parsed, and where its values come from.
        passed: what the command hands on besides model and data, such as ``ckpt_path``.
    """

    arguments: Arguments

    passed: Mapping[str, Any] = {}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = Parser(dump_header=[f"cleanse {__version__}"], **kwargs)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="A yaml file; later ones win.")
        return parser

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        every = LightningCLI.subcommands()
        return {name: every[name] for name in ("fit", "test", "predict")}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Not with the words of Lightning's methods of the same names, which know nothing of runs."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.usage, parser.description = ABOUT[subcommand]
        return parser

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
            "--verdict_only",
            type=bool,
            default=False,
            help="Stop at the verdict, its summary and the report: no classifier is trained. The same command without "
            "it goes on from there.",
        )
        parser.add_argument("--report", type=bool, default=True, help="Write report.html into the run's directory.")
        parser.add_argument(
            "--threads",
            type=int | None,
            default=None,
            help="CPU threads of each process. Default: one for images of up to 16 pixels a side, torch's for others.",
        )
        parser.add_argument(
            "--compile",
            type=bool,
            default=False,
            help="On a GPU, let torch.compile make faster kernels for the networks that are trained: a minute or more "
            "for each kind of batch. Results differ by rounding, as with another number of threads.",
        )

    def _parse_ckpt_path(self) -> None:
        """Not Lightning's way, which reads hyper-parameters out of any file: `check_checkpoint` has the first look."""

    def _set_seed(self) -> None:
        seed = self.config[self.subcommand].seed_everything
        if not 0 <= seed <= MOST_SEED:
            raise UsageError(
                f"seed_everything is a whole number from 0 to {MOST_SEED}, not {seed}", ("seed_everything",)
            )
        super()._set_seed()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (TypeError, ImportError, MisconfigurationException) as error:
            raise UsageError(f"trainer: {' '.join(str(error).split())}") from error
        most = max(8, 4 * (os.cpu_count() or 1))
        if (
            isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > most
        ):  # each has the data in memory
            raise UsageError(
                f"trainer.devices: {trainer.num_devices} processes on this machine's {os.cpu_count()} cores would take"
                f" its memory: ask for at most {most}"
            )
        return trainer

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        check_classes(config)
        check_numbers({name: config.get(name) for name in ("model", "data", "trainer")})
        check_trainer(config.trainer.as_dict())
        if config.threads is not None and config.threads < 1:
            raise UsageError(f"threads is a number of CPU threads, at least 1, not {config.threads}")
        if config.trainer.precision is None:
            config.trainer.precision = best_precision(config.trainer.accelerator, config.root)
        if config.trainer.default_root_dir is None:
            config.trainer.default_root_dir = config.root

    def fit(self, model: LightningModule, datamodule: LightningDataModule | None = None, **passed: Any) -> None:
        """Lightning would start here; the caller of `parse` does."""
        self.passed = passed

    test = predict = fit

    def images(self) -> ImageDataModule:
        """The data.

        Raises:
            ValueError: the config names none.
        """
        if not isinstance(self.datamodule, ImageDataModule):
            raise ValueError(
                "a recipe needs data: add --config data/cifar10.yaml, --config data/folder.yaml or another"
            )
        return self.datamodule

    def setup(self) -> Setup:
        """What a recipe's experiment needs.

        Raises:
            ValueError: the model is no recipe, or there are no data for it.
        """
        if not isinstance(self.model, Defense):
            raise ValueError(f"{type(self.model).__name__} is not a recipe: name one, such as ispl.yaml")
        data = self.images()
        if self.settings.trainer.max_epochs is not None:
            sentence = (
                "trainer.max_epochs is of no use to a recipe: each of its trainings has a number of its own, such as "
                "--model.epochs; leave it out"
            )
            raise self.arguments.with_origin(UsageError(sentence, ("trainer", "max_epochs")))
        watch = self.loggers.has_wandb if self.settings.watch is None else self.settings.watch
        return Setup(
            self.model, data, self.runner(), self.settings.compare, self.config_text(), watch,
            self.settings.baseline, self.loggers, self.settings.threads, self.settings.verdict_only,
            self.settings.report,
        )  # fmt: skip

    # --- what the recipe runs with ---
    @property
    def settings(self) -> Namespace:
        """The parsed config of this command."""
        return self.config[self.subcommand]  # type: ignore[no-any-return]

    @cached_property
    def loggers(self) -> StageLoggers:
        """The loggers the config asks for, made once per command."""
        record = Path(self.settings.root) / f".wandb-{hash_of(self.config_text())}"
        return StageLoggers(self._instantiate("logger")["logger"], record)

    def runner(self, root: Path | None = None) -> Runner:
        """A runner whose every stage gets a Trainer, callbacks and plugins built anew from the parsed config."""
        arguments = {k: v for k, v in self.settings.trainer.as_dict().items() if v is not None}
        return Runner(
            root or self.settings.root, int(self.settings.seed_everything), self._fresh_trainer, arguments,
            self.loggers.for_stage, Screen(), self.settings.compile,
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

    def config_text(self) -> str:
        """Yaml that repeats the command."""
        config = self.settings.clone()
        for key in ("config", "ckpt_path", "weights_only"):
            config.pop(key, None)
        return self._subcommand_parsers[self.subcommand].dump(config, skip_none=False)  # type: ignore[no-any-return,index]


def _text(value: object) -> str:
    """A value as jsonargparse reads it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
