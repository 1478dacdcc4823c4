"""What is loaded when; the layers themselves are contracts of import-linter in pyproject.toml."""

import subprocess
import sys


def test_asking_for_help_does_not_import_torch() -> None:
    """``cleanse --help`` is quick because of what it leaves out, whatever the machine."""
    code = (
        "import sys; from cleanse.cli.main import main; main(['--help']); "
        "print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "usage: cleanse" in out
    assert out.strip().endswith("[]")
