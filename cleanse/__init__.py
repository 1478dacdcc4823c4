"""Training on images that may hide a backdoor: a verdict for every image, the cleansed set, a clean classifier."""

from typing import TYPE_CHECKING, Any

from cleanse.version import __version__

if TYPE_CHECKING:
    from cleanse import functional
    from cleanse.api import check, cleanse_folder, load_run
    from cleanse.defenses.embedding_verdict import verdict_from_embedding
    from cleanse.experiments.experiment import Experiment
    from cleanse.verdict import Verdict

__all__ = [
    "Experiment",
    "Verdict",
    "__version__",
    "check",
    "cleanse_folder",
    "functional",
    "load_run",
    "verdict_from_embedding",
]

_HOMES = {
    "Verdict": "cleanse.verdict",
    "check": "cleanse.api",
    "cleanse_folder": "cleanse.api",
    "load_run": "cleanse.api",
    "Experiment": "cleanse.experiments.experiment",
    "verdict_from_embedding": "cleanse.defenses.embedding_verdict",
}

if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        """What needs torch is imported when it is asked for: ``cleanse --help`` must not wait for it."""
        from importlib import import_module

        if name == "functional":
            return import_module("cleanse.functional")
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'cleanse' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
