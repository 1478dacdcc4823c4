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
    "option of export": (["export", "run", "--out", "d", "--nope"], "there is no option --nope: see"),
    "option of report": (["report", "run", "--nope"], "there is no option --nope: see"),
    "option of bench": (["bench", "grids/quick.yaml", "--nope"], "there is no option --nope: see"),
    "option of bench report": (["bench", "report", "grids/quick.yaml", "--nope"], "there is no option --nope: see"),
    "seed of check": (["check", ".", "--seed", "3"], "did you mean --seed_everything 3? see"),
    "seed of check after =": (["check", ".", "--seed=3"], "did you mean --seed_everything 3? see"),
    "output of check": (["check", ".", "--output", "x"], "did you mean --out x? see"),
    "short output of check": (["check", ".", "-o", "x"], "there is no option -o: did you mean --out x? see"),
    "folder of check": (["check", "--images", "x"], "the folder is given without an option"),
    "folder of check after --data": (["check", "--data", "."], "without an option: cleanse check ."),
    "archive": (["check", __file__], "is not a folder"),
    "address alone": (["https://example.com/x"], "download it first"),
    "file alone": ([__file__], "is not a folder: give a folder with one folder of images per class: cleanse check"),
    "usual name of bench": (["bench", "grids/quick.yaml", "--num-workers", "4"], "did you mean --workers 4? see"),
    "usual name of export": (["export", "run", "--output", "d"], "there is no option --output: did you mean --out d?"),
    "misspelt option of export": (["export", "run", "--moed", "csv"], "did you mean --mode?"),
    "option of table": (["table", "run", "--nope"], "there is no option --nope: see cleanse table --help"),
    "option of stages": (["stages", "--unusd"], "did you mean --unused?"),
    "number of bench": (["bench", "grids/quick.yaml", "--workers", "x"], "--workers: give a whole number from 1"),
    "hours of bench": (["bench", "grids/quick.yaml", "--hours", "x"], "--hours: give a number, not 'x'"),
    "number of export": (["export", "r", "--out", "d", "--short-list", "x"], "give a whole number, not 'x'"),
    "choice of export": (["export", "r", "--out", "d", "--mode", "x"], "give copy, hardlink, symlink or csv, not 'x'"),
    "switch with a value": (["export", "r", "--out", "d", "--force=1"], "--force: this option takes no value"),
    "no value": (["table", "run", "--csv"], "--csv: a value is missing after it"),
    "nothing": (["export"], "RUN and --out must be given: see cleanse export --help"),
    "one too many": (["stages", "runs"], "'runs' is one too many: see cleanse stages --help"),
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
