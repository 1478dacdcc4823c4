"""The name that one types for a recipe: that of the shipped config which is most like it."""

from functools import cache
from typing import Any

import yaml

from cleanse.defenses import Defense
from cleanse.utils.configs import CONFIGS


def recipe_name(defense: Defense) -> str:
    """``knn`` for a `ContrastiveFilter` by neighbors, ``none`` for `NoDefense`; the class's name for one's own class.

    Several configs may name one class with different arguments, as ``knn.yaml`` and ``energy.yaml`` do: the one that
    agrees with the recipe in most of the arguments that tell these configs apart is meant.
    """
    cls = type(defense)
    found = {
        name: arguments
        for name, (path, arguments) in _shipped().items()
        if path in (f"{cls.__module__}.{cls.__qualname__}", f"cleanse.defenses.{cls.__name__}")
        and cls.__module__.startswith("cleanse.defenses.")
    }
    if not found:
        return cls.__name__
    told_apart = {key for own in found.values() for key in own if any(o.get(key) != own[key] for o in found.values())}

    def alike(name: str) -> int:
        return sum(getattr(defense, key, None) == found[name].get(key) for key in told_apart & found[name].keys())

    return max(sorted(found), key=alike)


@cache
def _shipped() -> dict[str, tuple[str, dict[str, Any]]]:
    """Class path and plain arguments of the model in every config at the top level."""
    models: dict[str, tuple[str, dict[str, Any]]] = {}
    for path in sorted(CONFIGS.glob("*.yaml")):
        model = (yaml.safe_load(path.read_text()) or {}).get("model")
        if isinstance(model, dict) and "class_path" in model:
            arguments = model.get("init_args") or {}
            plain = {k: v for k, v in arguments.items() if isinstance(v, (str, int, float, bool))}
            models[path.stem] = (model["class_path"], plain)
    return models
