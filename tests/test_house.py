"""What is loaded when; the layers themselves are contracts of import-linter in pyproject.toml."""

import ast
import subprocess
import sys
from pathlib import Path


def test_asking_for_help_does_not_import_torch() -> None:
    """``cleanse --help`` is quick because of what it leaves out, whatever the machine."""
    code = (
        "import sys; from cleanse.cli.main import main; main(['--help']); "
        "print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "usage: cleanse" in out
    assert out.strip().endswith("[]")


def test_an_assert_says_one_fact() -> None:
    """Two facts are two asserts, so that a failure says which."""
    chained = [
        f"{file.name}:{node.lineno}"
        for file in Path(__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assert)
        if isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.And)
    ]
    assert chained == []
