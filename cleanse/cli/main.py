"""The way in: help without waiting for torch, and every expected error as one sentence."""

import io
import os
import sys
from collections.abc import Sequence

from cleanse.engine.slurm import be_alone, check_tasks, requeue_on_signal
from cleanse.version import __version__

HELP = """\
usage: cleanse COMMAND [--config FILE ...] [--ARGUMENT VALUE ...]

Train on images that may hide a backdoor: get a verdict for every image, the cleansed set and a clean classifier.

commands:
  check     is there a backdoor in a folder of images?     cleanse check ./photos
  fit       run a recipe, or fit a single module:          cleanse fit --config knn.yaml
  export    the cleansed data set, as files:               cleanse export RUN --out DIR
  report    a web page about a run, or comparing several:  cleanse report RUN... [--out FILE]
  table     many runs, mean and deviation over seeds:      cleanse table runs/* [--csv FILE]
  predict   classes of images, as a CSV file:              cleanse predict RUN [--images DIR] [--out FILE]
  test      SA, ASR, RA and TMR of a run's classifier:     cleanse test RUN
  poison    freeze a poisoned data set, as files:          cleanse poison --config ... --out DIR
  import    another tool's poisoned set, frozen:           cleanse import backdoorbench DIR --config ... --out DIR
  bench     a grid of recipes, attacks and seeds:          cleanse bench grids/quick.yaml [--workers N]
  stages    what the stages on disk take, and prune them:  cleanse stages [--unused --older 30d] [--prune]
  configs   the names of the config files that come with cleanse

cleanse --version says which version this is.

examples:
  cleanse check ./photos
  cleanse fit --config knn.yaml --config data/folder.yaml --data.root ./photos
  cleanse fit --config ispl.yaml --config quick.yaml --config attacks/badnets.yaml
  cleanse export runs/knn-imagefolder-0123456789ab --out ./photos-clean

Config files are looked up in the working directory, then among those that come with cleanse; later ones win, and
arguments win over files. cleanse fit --help lists all arguments, cleanse fit --model.help ISPL those of a recipe.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, with 2 for a wrong argument and with 1 for anything else that went wrong."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a class name that the terminal's encoding lacks ends no run
        sys.stdout.reconfigure(errors="backslashreplace")
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return
    if argv[0] == "--version":
        sys.stdout.write(f"cleanse {__version__}\n")
        return
    if argv[0] == "configs":
        from cleanse.utils.configs import shipped

        sys.stdout.write("\n".join(shipped()) + "\n")
        return
    requeue_on_signal()
    from cleanse.cli.first_look import first_look
    from cleanse.utils.usage_error import UsageError

    try:
        if argv[0] != "check" or not set(argv[1:]) & {"-h", "--help"}:
            first_look(argv)
        if argv[0] in ("check", "fit", "test", "predict"):
            check_tasks()
        if argv[0] in ("export", "import", "poison", "report", "table"):
            be_alone(argv[0])
        _command(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads standard output has seen enough, as head does
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)  # Python flushes once more at its end
    except UsageError as error:
        _stop(str(error), 2)
    except KeyboardInterrupt:
        _stop("interrupted; the same command goes on from here", 130)
    except (ValueError, OSError) as error:
        if os.environ.get("CLEANSE_DEBUG"):
            raise
        from cleanse.utils.os_error import in_words

        _stop((in_words(error) if isinstance(error, OSError) else str(error)) or type(error).__name__, 1)


def _command(argv: list[str]) -> None:
    if argv[0] == "check":
        from cleanse.cli.check import USAGE, fit_arguments

        if set(argv[1:]) & {"-h", "--help"}:
            sys.stdout.write(USAGE)
            return
        argv = ["fit", *fit_arguments(argv[1:])]
    if argv[0] == "export":
        from cleanse.cli.export import export

        export(argv[1:])
    elif argv[0] == "poison":
        from cleanse.cli.poison import poison

        poison(argv[1:])
    elif argv[0] == "import":
        from cleanse.cli.import_set import import_set

        import_set(argv[1:])
    elif argv[0] == "report":
        from cleanse.cli.report import report

        report(argv[1:])
    elif argv[0] == "table":
        from cleanse.cli.table import table

        table(argv[1:])
    elif argv[0] == "bench":
        from cleanse.cli.bench import bench

        bench(argv[1:])
    elif argv[0] == "stages":
        from cleanse.cli.stages import stages

        stages(argv[1:])
    else:
        from cleanse.cli.fit import run

        run(argv)


def _stop(sentence: str, status: int) -> None:
    from cleanse.utils.text import readable

    shown = "\n".join(readable(line) for line in sentence.split("\n"))  # it may quote a stranger's file
    sys.stderr.write(f"cleanse: {shown}\n")
    sys.stderr.flush()
    sys.exit(status)
