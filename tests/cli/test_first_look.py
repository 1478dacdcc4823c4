"""A wrong command is answered before torch is imported, in the words that it gets without that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cleanse.cli.check import SECTIONS
from cleanse.cli.first_look import first_look
from cleanse.experiments.build import parse
from cleanse.utils.usage_error import UsageError

WRONG = {
    "command": (["chek", "photos"], "there is no command 'chek': did you mean check?"),
    "option of check": (["check", ".", "--nope", "1"], "there is no option --nope: did you mean --model.nope"),
    "misspelt option of check": (["check", ".", "--outt", "x"], "there is no option --outt: did you mean --out?"),
    "misspelt option of fit": (["check", ".", "--sed_everything", "1"], "did you mean --seed_everything? see"),
    "misspelt section": (["check", ".", "--modle.k=3"], "there is no option --modle.k: did you mean --model.k?"),
    "option of export": (["export", "run", "--out", "d", "--nope"], "unrecognized arguments: --nope"),
    "option of report": (["report", "run", "--nope"], "unrecognized arguments: --nope"),
    "option of bench": (["bench", "grids/quick.yaml", "--nope"], "unrecognized arguments: --nope"),
    "option of bench report": (["bench", "report", "grids/quick.yaml", "--nope"], "unrecognized arguments: --nope"),
    "config": (["fit", "--config", "nope.yaml"], "there is no config file 'nope.yaml'"),
    "config after =": (["fit", "--config=knn.yml"], "there is no config file 'knn.yml'"),
    "config of check": (["check", ".", "--config", "nope.yaml"], "there is no config file 'nope.yaml'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case: str) -> None:
    argv, words = WRONG[case]
    with pytest.raises(UsageError) as error:
        first_look(argv)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "argv",
    [
        ["check", ".", "--train", "--out", "runs", "--data.root=x", "--seed_everything", "3", "--config", "quick.yaml"],
        ["fit", "--config", "knn.yaml", "--config=quick.yaml", "--model.epochs", "3"],
        ["export", "run", "--out", "dir", "--trust", "--short-list", "9"],
        ["report", "a", "b", "--out", "page.html"],
        ["bench", "grids/quick.yaml", "--workers", "2", "--dry-run"],
        ["bench", "report", "grids/quick.yaml"],
        ["configs"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_what_is_right_passes(argv: list[str]) -> None:
    first_look(argv)


def test_every_argument_of_fit_is_one_of_check() -> None:
    known = parse(["fit", "--config=none.yaml", "--config=quick.yaml"]).config["fit"]
    assert {name.partition(".")[0] for name, _ in known.items()} <= set(SECTIONS)


@pytest.mark.parametrize("case", ["command", "option of check", "option of export", "option of bench", "config"])
def test_nothing_heavy_is_imported_for_it(case: str) -> None:
    look = (
        "import sys; from cleanse.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, sorted({'torch', 'lightning', 'jsonargparse'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", look, *WRONG[case][0]], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.stdout == "2 []\n"
    assert WRONG[case][1] in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As in ``cleanse ... | head``: nobody reads on."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "cleanse", "check", "--help"], stdout=writer, stderr=subprocess.PIPE, text=True,
        timeout=120, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 0
