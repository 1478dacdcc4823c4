"""``cleanse report``: one HTML page about a run, or one that compares several."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from cleanse.cli.export import recorded
from cleanse.cli.own_classes import TRUST, TRUST_HELP, take_trust
from cleanse.cli.run_config import config_of, data_of, defense_of
from cleanse.data.base import ImageDataModule
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.progress import quiet
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import illustrate
from cleanse.experiments.messages import UsageError
from cleanse.report.content import RunContent, with_embedding
from cleanse.report.page import make_page
from cleanse.utils.files import atomic_write_text
from cleanse.verdict import Verdict

ABOUT = """\
Write one self-contained HTML page about a run, or one that compares several. It needs no network and no script.
Pictures and, in simulation, true roles come from the run's data: start the command from where the run was started.
Without the data the page says so, and has the rest."""


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def report(argv: Sequence[str]) -> None:
    """Run the command; the last line on standard output is the page.

    Args:
        argv: what follows ``cleanse report``.

    Raises:
        UsageError: wrong arguments.
        ValueError: a directory that is no run.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = _Arguments("cleanse report", description=ABOUT, formatter_class=form, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", nargs="+", help="directories of runs")
    parser.add_argument("--out", metavar="FILE", help="the page; default for one run: RUN/report.html")
    parser.add_argument(TRUST, action="store_true", help=TRUST_HELP)
    trust, words = take_trust(list(argv))
    arguments = parser.parse_args(words)
    if arguments.out is None and len(arguments.run) > 1:
        raise UsageError("several runs are compared on a page of their own: say where, with --out FILE.html")
    quiet()
    path = report_runs([Path(run) for run in arguments.run], arguments.out, trust)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(path) + b"\n")  # whatever bytes the name has
    sys.stdout.flush()


def report_runs(runs: Sequence[Path], out: str | Path | None = None, trust: bool = False) -> Path:
    """Write the page of some runs, aside first and then renamed.

    Args:
        runs: their directories.
        out: the file; None for ``report.html`` in the first one.
        trust: import classes of the runs' configs that are not ours.

    Returns:
        The page's path.

    Raises:
        UsageError: a directory that is no run.
        ValueError: damaged files in one, or ``out`` is a folder.
    """
    path = runs[0] / "report.html" if out is None else Path(out)
    if path.is_dir():
        raise UsageError(f"--out is a file, but {str(path)!r} is a folder: name a file in it")
    page = make_page([read_run(run, len(runs) == 1, trust) for run in runs])
    atomic_write_text(path, page)
    return path


def read_run(run: Path, pictures: bool = True, trust: bool = False) -> RunContent:
    """What a run's directory holds and, with ``pictures``, what its data show. Nothing is downloaded.

    Raises:
        UsageError: not the directory of a run.
        ValueError: a damaged file.
    """
    config_of(run)
    try:
        results = json.loads((run / "results.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{run / 'results.json'} cannot be read ({error}): is the run finished?") from None
    if not isinstance(results, dict):
        raise ValueError(f"{run / 'results.json'} is damaged: run cleanse fit again")
    verdict = Verdict.load(run)
    classes = class_names(run / "verdict.parquet", verdict)
    config = (run / "config.yaml").read_text(errors="surrogateescape")
    content = RunContent(run, results, config, verdict, classes)
    if not pictures:
        return content
    content = with_embedding(content)
    try:
        data = _rebuilt(run, trust)
        known = recorded(run)
        if known and hash_of(data.spec()) not in known:
            raise ValueError("the data have changed since the run, or another version of cleanse made it.")
        return illustrate(content, data, defense_of(run, trust))
    except (ValueError, OSError) as error:
        return replace(content, missing=str(error) or type(error).__name__)


def class_names(path: Path, verdict: Verdict) -> tuple[str, ...]:
    """Names of the classes as the verdict's Parquet file has them; the number of a class that it does not speak of."""
    import pyarrow.parquet  # type: ignore[import-untyped]

    most = max([*verdict.label.tolist(), *verdict.new_label.tolist()], default=-1)
    names = [str(c) for c in range(most + 1)]
    with path.open("rb") as file:
        table = pyarrow.parquet.ParquetFile(file).read()
    for code, name in (("label", "label_name"), ("new_label", "new_label_name")):
        if name in table.column_names:
            for c, text in set(zip(table[code].to_pylist(), table[name].to_pylist(), strict=True)):
                if c >= 0:
                    names[c] = text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else str(text)
    return tuple(names)


def _rebuilt(run: Path, trust: bool) -> ImageDataModule:
    """The run's data module, with its attack; stages that the attack trained are read from beside the run."""
    data = data_of(run, trust)
    trainer = config_of(run).get("trainer") or {}
    plain = {k: v for k, v in trainer.items() if isinstance(v, (bool, int, float, str))}
    data.learn_attack(Runner(run.absolute().parent, data.seed or 0, arguments=plain))
    return data
