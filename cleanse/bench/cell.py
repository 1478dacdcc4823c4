"""One cell of a grid: what is run, and what it is called."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

from cleanse.utils.configs import find_config, read_config

AXES = ("recipe", "attack", "data", "rate", "seed", "change")
CLEAN = "clean"
"""Name of the attack that there is none."""


@dataclass(frozen=True)
class Cell:
    """A run of a grid.

    Attributes:
        recipe, attack, data, rate, seed, change: its place on the axes.
        configs: yaml files; later ones win.
        overrides: arguments by their dotted name.
        published: figures of a paper for this cell, in per cent.
        source: of the figures.
    """

    recipe: str
    attack: str
    data: str
    rate: float | None
    seed: int
    change: str
    configs: tuple[str, ...]
    overrides: Mapping[str, object]
    published: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    @property
    def names(self) -> tuple[object, ...]:
        """Its place on all axes."""
        return tuple(getattr(self, axis) for axis in AXES)

    @property
    def title(self) -> str:
        """For people: ``knn badnets digits 0.1 seed 3``."""
        rate = "" if self.rate is None else f"{self.rate:g}"
        return " ".join(x for x in (self.recipe, self.change, self.attack, self.data, rate, f"seed {self.seed}") if x)

    @cached_property
    def id(self) -> str:
        """A hash of what the config files say and the arguments: a changed file makes another cell of it."""
        said = [_content(name) for name in self.configs]
        text = json.dumps([self.names, said, self.overrides], sort_keys=True, default=str)
        return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    def matches(self, part: Mapping[str, Sequence[object]]) -> bool:
        """Whether it lies in a part of the grid, given as values by axis."""
        return all(getattr(self, axis) in values for axis, values in part.items())

    def with_published(self, tables: Sequence[Mapping[str, Any]]) -> "Cell":
        """The same with the first figures that belong to it, if there are any."""
        for table in tables:
            if self.matches(table["cells"]):
                return replace(self, published=dict(table["figures"]), source=str(table["source"]))
        return self

    def command(self, root: str) -> str:
        """What one would type to run it alone."""
        return shlex.join(["cleanse", *self.words({"root": root})])

    def words(self, more: Mapping[str, object]) -> list[str]:
        """The arguments of ``cleanse`` that run it alone, with some that are not its own."""
        words = [w for name in self.configs for w in ("--config", name)]
        for name, value in {**self.overrides, **more}.items():
            words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        return ["fit", *words]


@cache
def _content(name: str) -> dict[str, Any]:
    return read_config(find_config(name), name)
