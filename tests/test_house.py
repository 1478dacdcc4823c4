"""The house (DESIGN.md section 4) held against the imports: four floors, arrows only run down."""

import ast
from pathlib import Path

import pytest

import cleanse

ROOT = Path(cleanse.__file__).parent
FLOORS = {
    "version": 0, "batch": 0, "screen": 0, "describe": 0, "meant": 0, "configs": 0.5,
    "networks": 1, "functional": 1, "augment": 1, "runner": 1, "verdict": 1, "metrics": 1, "loggers": 1,
    "attacks": 1.5,  # on floor 1, above the runner that some attacks are handed
    "modules": 2, "data": 2, "report": 2,
    "defenses": 3, "evaluation": 3, "watch": 3, "summary": 3,
    "experiment": 4, "study": 4.5, "cli": 5, "front": 5.2, "export": 5.4, "poison": 5.5, "report_command": 5.5,
    "main": 6, "__main__": 7,
}  # fmt: skip
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def imports(path: Path) -> set[str]:
    """The parts of cleanse that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cleanse":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {a.name for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("cleanse.")}
    return found


def part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_only_run_down(path: Path) -> None:
    here = part(path)
    for other in imports(path) - {here}:
        assert FLOORS[other] < FLOORS[here], f"{here} (floor {FLOORS[here]}) imports {other} (floor {FLOORS[other]})"


def test_the_defender_imports_nothing_that_knows_the_answer() -> None:
    for path in (ROOT / "defenses").glob("*.py"):
        assert not imports(path) & {"evaluation", "metrics", "attacks", "experiment"}, path.name


def test_functional_imports_nothing_of_ours() -> None:
    for path in (ROOT / "functional").glob("*.py"):
        assert imports(path) <= {"functional"}, path.name


def test_nobody_but_the_commands_imports_the_command_line() -> None:
    commands = ["export.py", "main.py", "poison.py", "report_command.py"]
    assert [p.name for p in FILES if "cli" in imports(p)] == sorted([*commands, "front.py"])  # fit, from Python
    assert [p.name for p in FILES if "export" in imports(p)] == ["main.py", "poison.py", "report_command.py"]


def test_asking_for_help_does_not_import_torch() -> None:
    """``cleanse --help`` is quick because of what it leaves out, whatever the machine."""
    import subprocess
    import sys

    code = (
        "import sys; from cleanse.main import main; main(['--help']); "
        "print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "usage: cleanse" in out and out.strip().endswith("[]")
