"""Where the shipped config files are."""

from pathlib import Path

from cleanse.utils.suggest import did_you_mean

_INSTALLED = Path(__file__).parents[1] / "shipped_configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"
"""Inside the installed package, or beside it in a checkout."""


def shipped() -> list[str]:
    """Names of the shipped configs, as one writes them after ``--config``."""
    return sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.yaml"))


def find_config(name: str) -> Path:
    """The file that ``--config name`` means: one that exists, or a shipped one.

    Raises:
        ValueError: neither; names the shipped ones.
    """
    for path in (Path(name), CONFIGS / name):
        if path.is_file():
            return path
    meant = did_you_mean(name, shipped())
    raise ValueError(
        f"there is no config file {name!r}, here or among the shipped ones: {meant}cleanse configs lists them"
    )
