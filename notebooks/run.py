"""Run every notebook beside this file from the first cell to the last, and keep what it shows: ``make notebooks``.

Names of notebooks as arguments run these only. Each runs in a folder of its own, which is removed; an output that names
a folder of this machine ends the script, and nothing is written.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
FOREIGN = re.compile(r"(/(home|root|tmp|work|usr|opt|var|Users|private)/|[A-Z]:\\)[^\s\"']*")
"""What looks like a path of some machine."""


def run(path: Path) -> None:
    """Run a notebook and write it back with its outputs.

    Raises:
        ValueError: an output names a folder of this machine.
    """
    book = nbformat.read(path, as_version=4)
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # a bar of another library; ours is text
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(book, timeout=3600, kernel_name="python3", record_timing=False, resources=resources).execute()
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
            if found := FOREIGN.search(str(cell.outputs)):
                raise ValueError(f"{path.name}: an output names {found.group()!r}")
    book.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(book, path)


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """What was written piece by piece to one stream as one output."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        if found and output.output_type == "stream" == found[-1].output_type and output.name == found[-1].name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


if __name__ == "__main__":
    for one in sorted(HERE.glob("*.ipynb")):
        if len(sys.argv) == 1 or one.stem in sys.argv[1:]:
            print(one.name, flush=True)
            run(one)
