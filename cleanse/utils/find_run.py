"""Which run a name on the command line means."""

from pathlib import Path


def find_run(name: str | Path) -> Path:
    """The directory of a run, checked.

    Raises:
        ValueError: not a run's directory; names the runs that begin like it.
    """
    run = Path(name)
    if (run / "config.yaml").is_file():
        return run
    try:
        near = sorted(p for p in run.parent.glob("*/config.yaml") if p.parent.name.startswith(run.name))
    except (OSError, ValueError, NotImplementedError):
        near = []
    near = sorted(near, key=lambda p: p.stat().st_mtime, reverse=True) if run.name else []
    names = [str(p.parent) for p in near]
    if len(names) == 1:
        raise ValueError(f"{name} is not the directory of a run: did you mean {names[0]}?")
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise ValueError(
            f"{name} is not one run: {len(names)} begin like it, the newest first: {', '.join(names[:5])}{more}"
        )
    inside = sorted(run.glob("*/verdict.parquet"), key=lambda p: p.stat().st_mtime, reverse=True)
    if inside:
        raise ValueError(
            f"{name} holds runs and is none: name one of them, the newest first: "
            f"{', '.join(str(p.parent) for p in inside[:5])}"
        )
    raise ValueError(f"{name} is not the directory of a run: it has no config.yaml")
