"""The way in: help without waiting for torch, and every expected error as one sentence."""

import os
import sys
from collections.abc import Sequence

from cleanse.engine.slurm import check_tasks, requeue_on_signal
from cleanse.version import __version__

HELP = """\
usage: cleanse COMMAND [--config FILE ...] [--ARGUMENT VALUE ...]

Train on images that may hide a backdoor: get a verdict for every image, the cleansed set and a clean classifier.

commands:
  fit       run a recipe (or fit a single module), evaluate it, and write a run directory
  test      SA, ASR, RA and TMR of a run's classifier:     cleanse test RUN
  predict   classes of the test images, as a CSV file:     cleanse predict RUN
  export    the cleansed data set, as files:               cleanse export RUN --out DIR
  poison    freeze a poisoned data set, as files:          cleanse poison --config ... --out DIR
  report    a web page about a run, or comparing several:  cleanse report RUN... [--out FILE]

examples:
  cleanse fit --config ispl.yaml                                   the paper's settings, on CIFAR-10
  cleanse fit --config ispl.yaml --config quick.yaml               the same recipe on the embedded digits, minutes
  cleanse fit --config ispl.yaml --config data/folder.yaml --data.root ./photos
  cleanse fit --config none.yaml --config quick.yaml --config attacks/badnets.yaml
  cleanse export runs/ispl-imagefolder-0123456789ab --out ./photos-clean
  cleanse poison --config attacks/wanet.yaml --config data/cifar10.yaml --out ./wanet

Config files are looked up in the working directory, then among the ones that come with cleanse; later ones win.
  cleanse configs            lists the shipped ones
  cleanse fit --help         all arguments
  cleanse fit --model.help ISPL    explains each argument of a recipe (or data set, or network)
  cleanse --version
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, with 2 for a wrong argument and with 1 for anything else that went wrong."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
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
    from cleanse.experiments.parser import UsageError

    try:
        if argv[0] in ("fit", "test", "predict"):
            check_tasks()
        _command(argv)
    except UsageError as error:
        _stop(str(error), 2)
    except KeyboardInterrupt:
        _stop("interrupted; the same command goes on from here", 130)
    except (ValueError, OSError) as error:
        if os.environ.get("CLEANSE_DEBUG"):
            raise
        _stop(str(error) or type(error).__name__, 1)


def _command(argv: list[str]) -> None:
    if argv[0] == "export":
        from cleanse.cli.export import export

        export(argv[1:])
    elif argv[0] == "poison":
        from cleanse.cli.poison import poison

        poison(argv[1:])
    elif argv[0] == "report":
        from cleanse.cli.report import report

        report(argv[1:])
    else:
        from cleanse.cli.fit import run

        run(argv)


def _stop(sentence: str, status: int) -> None:
    sys.stderr.write(f"cleanse: {sentence}\n")
    sys.stderr.flush()
    sys.exit(status)
