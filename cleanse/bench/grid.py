"""A grid, read from yaml: which cells there are, and what each of them runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from cleanse.bench.cell import AXES, CLEAN, Cell
from cleanse.experiments.numbers import MOST_SEED
from cleanse.report.leaderboard import COMPARED
from cleanse.utils.configs import find_config, read_config
from cleanse.utils.suggest import did_you_mean

ALWAYS = ("none", "oracle")
RATES = ("poison_rate", "class_rate")
OF_A_GRID = (
    "configs", "overrides", "recipes", "attacks", "data", "rates", "rate_of", "seeds", "changes", "include", "exclude",
    "published",
)  # fmt: skip
OF_A_CHOICE = ("configs", "overrides", "for")


@dataclass(frozen=True)
class Choice:
    """One value of an axis.

    Attributes:
        name: as the table shows it.
        configs: yaml files.
        overrides: arguments by their dotted name.
        only: the values of other axes that it goes with, by axis; all of an axis that is not named.
    """

    name: str
    configs: tuple[str, ...] = ()
    overrides: Mapping[str, object] = field(default_factory=dict)
    only: Mapping[str, Sequence[object]] = field(default_factory=dict)


MOST = 100_000
"""Combinations of a grid: each is looked at, and has a line in the plan."""


@dataclass(frozen=True)
class Grid:
    """All combinations of the values of six axes, without some and with others.

    Attributes:
        name: of the file, without its ending.
        path: of the file.
        configs: yaml files that come after the recipe's and the data's, and before the attack's.
        overrides: arguments of every cell.
        recipes, attacks, data, changes: values; a change is one of hyper-parameters, made alone.
        rates: of poisoned images; 0 for no attack, None for what the attack says itself.
        rate_of: the argument of the attack that a rate is.
        seeds: of whole runs.
        include: cells besides the product, by axis; an axis that is not named has all its values.
        exclude: cells of the product that are left out.
        published: figures of a paper, in per cent, by the cells that they belong to.
    """

    name: str
    path: Path
    configs: tuple[str, ...]
    overrides: Mapping[str, object]
    recipes: tuple[Choice, ...]
    attacks: tuple[Choice, ...]
    data: tuple[Choice, ...]
    changes: tuple[Choice, ...]
    rates: tuple[float | None, ...]
    rate_of: str
    seeds: tuple[int, ...]
    include: tuple[Mapping[str, Sequence[object]], ...]
    exclude: tuple[Mapping[str, Sequence[object]], ...]
    published: tuple[Mapping[str, Any], ...]

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell once; those of the same poisoned data follow one another, since they share most."""
        found: dict[object, Cell] = {}
        every = {name: None for name in AXES}
        wanted = [c for c in self._product(every) if not any(c.matches(out) for out in self.exclude)]
        wanted += [c for one in self.include for c in self._product({**every, **one})]
        for cell in wanted:
            found.setdefault(cell.names, cell)
        return tuple(sorted(found.values(), key=lambda c: (c.data, c.attack, c.rate or 0.0, c.seed)))

    def loose_ends(self) -> list[str]:
        """Sentences about parts of the file that no cell has anything to do with."""
        found, every = [], list(self._product(dict.fromkeys(AXES)))
        for out in self.exclude:
            if not any(cell.matches(out) for cell in every):
                found.append(f"exclude has {_in_words(out)}, and there is no such cell")
        for one in self.published:
            if not any(cell.matches(one["cells"]) for cell in self.cells):
                found.append(f"figures of {one['source']} are for {_in_words(one['cells'])}, and there is no such cell")
        return found

    def _product(self, wanted: Mapping[str, Sequence[object] | None]) -> Iterator[Cell]:
        """The cells of a part of each axis."""

        def part(axis: str, values: Sequence[Any]) -> list[Any]:
            names, asked = [v.name if isinstance(v, Choice) else v for v in values], wanted[axis]
            return [v for v, name in zip(values, names, strict=True) if asked is None or name in asked]

        rates = list(self.rates) if wanted["rate"] is None else list(wanted["rate"])
        seeds = list(self.seeds) if wanted["seed"] is None else list(wanted["seed"])
        axes = [part("data", self.data), part("attack", self.attacks), rates, seeds, part("recipe", self.recipes)]
        for data, attack, rate, seed, recipe in product(*axes):
            for change in part("change", (Choice(""), *self.changes)):
                cell = self._cell(recipe, attack, data, rate, seed, change)
                if cell is not None:
                    yield cell

    def _cell(self, recipe: Choice, attack: Choice, data: Choice, rate: Any, seed: Any, change: Choice) -> Cell | None:
        """One combination; None if there is no such cell."""
        if rate == 0:
            attack = Choice(CLEAN, (), {"data.attack": None})
        clean = attack.name == CLEAN
        rate = None if clean or rate is None else float(rate)
        if clean and recipe.name == "oracle":
            return None  # without an attack it is `none`
        if change.name and recipe.name in ALWAYS and recipe.name not in change.only.get("recipe", ()):
            return None
        overrides: dict[str, object] = {"report": False, "compare": [], **self.overrides}
        for choice in (recipe, data, attack, change):
            overrides |= choice.overrides
        if clean:  # what is said of every attack does not concern none
            overrides = {k: v for k, v in overrides.items() if not k.startswith("data.attack.")}
        if rate is not None:
            overrides |= {f"data.attack.{name}": None for name in ("count", *RATES)}
            overrides[f"data.attack.{self.rate_of}"] = rate
        overrides["seed_everything"] = int(seed)
        configs = (*recipe.configs, *data.configs, *self.configs, *attack.configs, *change.configs)
        cell = Cell(recipe.name, attack.name, data.name, rate, int(seed), change.name, configs, overrides)
        if not all(cell.matches(choice.only) for choice in (recipe, attack, data, change)):
            return None
        return cell.with_published(self.published)


def read_grid(name: str) -> Grid:
    """Read a grid's file, here or among the shipped ones.

    Args:
        name: such as ``grids/quick.yaml``.

    Raises:
        ValueError: no such file, or what it says is no grid.
    """
    path = find_config(name)
    content = read_config(path, name)
    if "recipes" not in content:
        raise ValueError(f"{name} names no recipes: it is no grid; those that ship are in grids/")
    for key in content:
        if key not in OF_A_GRID:
            raise ValueError(
                f"{name}: a grid has no {key!r}: {did_you_mean(str(key), OF_A_GRID)}it has {_list(OF_A_GRID)}"
            )
    recipes = _choices(name, "recipes", content["recipes"], "")
    there = {choice.name for choice in recipes}
    first = tuple(Choice(n, (f"{n}.yaml",)) for n in ALWAYS if n not in there)
    rate_of = content.get("rate_of", "poison_rate")
    if rate_of not in RATES:
        raise ValueError(f"{name}: rate_of is {rate_of!r}: it is one of {_list(RATES)}")
    grid = Grid(
        path.stem, path, _texts(content.get("configs")), _mapping(name, "overrides", content.get("overrides")),
        (*first, *recipes), _choices(name, "attacks", content.get("attacks") or ["clean"], "attacks/"),
        _choices(name, "data", content.get("data") or {"": []}, "data/"),
        _choices(name, "changes", content.get("changes") or {}, ""),
        tuple(_number(name, rate) for rate in _items(name, "rates", content.get("rates", [None]))), rate_of,
        tuple(_seed(name, seed) for seed in _items(name, "seeds", content.get("seeds", [0]))),
        tuple(_part(name, "include", one) for one in _items(name, "include", content.get("include"))),
        tuple(_part(name, "exclude", one) for one in _items(name, "exclude", content.get("exclude"))),
        tuple(_published(name, _items(name, "published", content.get("published")))),
    )  # fmt: skip
    _check_names(grid)
    axes = (grid.data, grid.attacks, grid.rates, grid.seeds, grid.recipes, ("", *grid.changes))
    if (combinations := prod(map(len, axes))) > MOST:
        raise ValueError(f"{name} has {combinations} combinations, more than {MOST}: make several grids of it")
    if not grid.cells:
        raise ValueError(f"{name} has no cell: every one is excluded")
    return grid


def _choices(grid: str, axis: str, content: Any, folder: str) -> tuple[Choice, ...]:
    if isinstance(content, list):
        content = {str(one): None for one in content}
    if not isinstance(content, Mapping):
        raise ValueError(f"{grid}: {axis} is {content!r}: give a list of names, or names with their configs")
    found = []
    for name, said in content.items():
        if said is None and name == CLEAN and axis == "attacks":
            said = {"overrides": {"data.attack": None}}
        elif said is None:
            said = f"{folder}{name}.yaml"
        if not isinstance(said, Mapping):
            said = {"configs": said}
        for key in said:
            if key not in OF_A_CHOICE:
                raise ValueError(f"{grid}: {axis}.{name} has no {key!r}: it has {_list(OF_A_CHOICE)}")
        where = f"{axis}.{name}"
        overrides = _mapping(grid, where, said.get("overrides"))
        found.append(Choice(str(name), _texts(said.get("configs")), overrides, _part(grid, where, said.get("for"))))
    return tuple(found)


def _part(grid: str, where: str, content: Any) -> dict[str, Sequence[object]]:
    """Values by axis, each as a list."""
    said = _mapping(grid, where, content)
    for axis in said:
        if axis not in AXES:
            raise ValueError(f"{grid}: {where}: there is no axis {axis!r}: there are {_list(AXES)}")
    values: dict[str, Sequence[object]] = {axis: tuple(v) if isinstance(v, list) else (v,) for axis, v in said.items()}
    for rate in values.get("rate", ()):
        _number(grid, rate)
    for seed in values.get("seed", ()):
        _seed(grid, seed)
    return values


def _items(grid: str, where: str, content: Any) -> list[Any]:
    if content is None or isinstance(content, list):
        return content or []
    raise ValueError(f"{grid}: {where} is {content!r}: it is a list, such as [{content}]")


def _published(grid: str, content: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Each as ``source``, ``cells`` (by axis) and ``figures``."""
    for table in content:
        if not isinstance(table, Mapping) or not isinstance(table.get("source"), str):
            raise ValueError(f"{grid}: published figures need their source, the paper and its table")
        shared = {k: v for k, v in table.items() if k not in ("source", "recipes")}
        for recipe, rows in _mapping(grid, "published.recipes", table.get("recipes")).items():
            for attack, figures in _mapping(grid, f"published.recipes.{recipe}", rows).items():
                cells = _part(grid, "published", {"change": "", **shared, "recipe": recipe, "attack": attack})
                for name, value in _mapping(grid, f"published.recipes.{recipe}.{attack}", figures).items():
                    if name not in COMPARED:
                        raise ValueError(
                            f"{grid}: there is no published {name!r}: {did_you_mean(name, COMPARED)}there are "
                            f"{_list(COMPARED)}"
                        )
                    if isinstance(value, bool) or not isinstance(value, (int, float)):
                        raise ValueError(f"{grid}: published {name} is {value!r}: it is a number, in per cent")
                yield {"source": table["source"], "cells": cells, "figures": figures}


def _check_names(grid: Grid) -> None:
    """Raises: ValueError for a value that no axis has."""
    choices = {"recipe": grid.recipes, "attack": grid.attacks, "data": grid.data, "change": (*grid.changes, Choice(""))}
    known: dict[str, set[object]] = {axis: {c.name for c in values} for axis, values in choices.items()}
    known["attack"].add(CLEAN)
    parts = [*grid.include, *grid.exclude, *(one["cells"] for one in grid.published)]
    parts += [c.only for values in choices.values() for c in values]
    for part in parts:
        for axis, values in part.items():
            for value in values:
                if axis in known and value not in known[axis]:
                    raise ValueError(
                        f"{grid.path.name}: there is no {axis} {value!r}: "
                        f"{did_you_mean(str(value), sorted(map(str, known[axis])))}there are {_list(known[axis])}"
                    )


def _mapping(grid: str, where: str, content: Any) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ValueError(f"{grid}: {where} is {content!r}: give names with values")
    return {str(k): v for k, v in content.items()}


def _texts(content: Any) -> tuple[str, ...]:
    return () if content is None else tuple(map(str, content)) if isinstance(content, list) else (str(content),)


def _number(grid: str, rate: Any) -> float | None:
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ValueError(f"{grid}: {rate!r} is no rate: it is at least 0 and less than 1, or null for the attack's own")
    return float(rate)


def _seed(grid: str, seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise ValueError(f"{grid}: {seed!r} is no seed: give whole numbers from 0 to {MOST_SEED}")
    return seed


def _in_words(part: Mapping[str, Sequence[object]]) -> str:
    return ", ".join(f"{axis} {_list(values)}" for axis, values in part.items() if tuple(values) != ("",))


def _list(names: Any) -> str:
    return ", ".join(str(name) or "''" for name in sorted(names, key=str))
