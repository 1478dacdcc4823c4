"""Build hook of MkDocs: the page of configs is made from the configs, so that it cannot be out of date."""

from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
PLACE = "<!-- every config -->"
TITLES = {
    ".": "Recipes, modules and studies",
    "attacks": "Attacks",
    "data": "Data",
    "grids": "Grids",
    "quick": "Quick presets",
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every shipped config where the page asks for them."""
    return markdown.replace(PLACE, every_config()) if PLACE in markdown else markdown


def every_config() -> str:
    """A section per folder, an entry per file: its first comment as words, its content as it is."""
    parts = []
    for folder in sorted({path.parent for path in CONFIGS.rglob("*.yaml")}):
        name = folder.relative_to(CONFIGS).as_posix()
        parts.append(f"## {TITLES.get(name, name)}\n")
        for path in sorted(folder.glob("*.yaml")):
            parts.append(f"### `{path.relative_to(CONFIGS).as_posix()}`\n\n{first_comment(path)}\n")
            parts.append(f"```yaml\n{path.read_text().rstrip()}\n```\n")
    return "\n".join(parts)


def first_comment(path: Path) -> str:
    """The comment at the head of a file, as one paragraph."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)
