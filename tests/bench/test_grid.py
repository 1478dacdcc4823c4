"""A grid's yaml gives the cells that it names, each once."""

import shlex
from pathlib import Path

import pytest

from cleanse.bench.cell import Cell
from cleanse.bench.executors import Slurm, write_script
from cleanse.bench.grid import Grid, read_grid
from cleanse.bench.results import PUBLISHED, GridResults
from cleanse.bench.worker import in_turn, shard_of
from cleanse.experiments.build import parse
from cleanse.utils.configs import shipped

from .conftest import MakeGrid

GRIDS = [name for name in shipped() if name.startswith("grids/")]
SMALL = "recipes: [knn]\nattacks: [badnets, blend]\ndata: {digits: quick.yaml}\n"


def titles(grid: Grid) -> list[str]:
    return sorted(cell.title for cell in grid.cells)


def test_none_and_oracle_are_always_there(make_grid: MakeGrid) -> None:
    grid = make_grid("recipes: [knn]\nattacks: [badnets]\n")
    assert titles(grid) == ["knn badnets seed 0", "none badnets seed 0", "oracle badnets seed 0"]


def test_the_cells_are_the_product_of_the_axes(make_grid: MakeGrid) -> None:
    assert len(make_grid(SMALL + "rates: [0.05, 0.1]\nseeds: [0, 1, 2]\n").cells) == 3 * 2 * 2 * 3


def test_a_grid_that_nobody_can_run_is_refused_before_it_is_built(make_grid: MakeGrid) -> None:
    seeds = list(range(10_000))
    with pytest.raises(ValueError, match="has 120000 combinations, more than 100000: make several grids"):
        make_grid(f"{SMALL}rates: [0.05, 0.1]\nseeds: {seeds}\n")


def test_a_rate_of_zero_is_one_cell_without_attack_for_all_attacks(make_grid: MakeGrid) -> None:
    assert titles(make_grid(SMALL + "rates: [0]\n")) == ["knn clean digits seed 0", "none clean digits seed 0"]


def test_what_is_said_of_every_attack_does_not_concern_none(make_grid: MakeGrid) -> None:
    grid = make_grid(SMALL + "rates: [0, 0.1]\noverrides: {data.attack.target: 3}\n")
    assert {c.attack: c.overrides.get("data.attack.target") for c in grid.cells} == {
        "clean": None, "badnets": 3, "blend": 3,
    }  # fmt: skip


def test_a_rate_takes_the_place_of_what_the_attack_says(make_grid: MakeGrid) -> None:
    cell = next(c for c in make_grid(SMALL + "rates: [0.02]\nrate_of: class_rate\n").cells if c.recipe == "knn")
    rates = {k: v for k, v in cell.overrides.items() if k.endswith(("rate", "count"))}
    expected = {"data.attack.count": None, "data.attack.poison_rate": None, "data.attack.class_rate": 0.02}
    assert rates == expected


def test_changes_are_made_one_at_a_time(make_grid: MakeGrid) -> None:
    changes = "changes: {a: {overrides: {model.k: 1}}, b: {overrides: {model.lr: 1}}}\n"
    text = "recipes: [knn]\nattacks: [badnets]\n" + changes
    cells = [c for c in make_grid(text).cells if c.recipe == "knn"]
    assert {c.change: c.overrides.get("model.k", 0) + 2 * c.overrides.get("model.lr", 0) for c in cells} == {  # type: ignore[operator]
        "": 0, "a": 1, "b": 2,
    }  # fmt: skip


def test_a_change_leaves_none_and_the_oracle_alone(make_grid: MakeGrid) -> None:
    grid = make_grid("recipes: [knn]\nattacks: [badnets]\nchanges: {a: {overrides: {model.k: 1}}}\n")
    assert {c.recipe for c in grid.cells if c.change} == {"knn"}


def test_exclude_takes_cells_out(make_grid: MakeGrid) -> None:
    grid = make_grid(SMALL + "exclude: [{recipe: knn, attack: blend}]\n")
    assert "knn blend digits seed 0" not in titles(grid)
    assert len(grid.cells) == 5


def test_include_adds_cells_that_no_axis_has(make_grid: MakeGrid) -> None:
    grid = make_grid(SMALL + "include: [{recipe: knn, attack: blend, rate: 0.3, seed: [7, 8]}]\n")
    assert len(grid.cells) == 8
    assert {"knn blend digits 0.3 seed 7", "knn blend digits 0.3 seed 8"} < set(titles(grid))


def test_for_says_what_a_choice_goes_with(make_grid: MakeGrid) -> None:
    recipes = "recipes: {knn: , energy: {configs: energy.yaml, for: {attack: blend}}}\n"
    grid = make_grid(recipes + "attacks: [badnets, blend]\n")
    assert [c.attack for c in grid.cells if c.recipe == "energy"] == ["blend"]


def test_published_figures_are_beside_their_cell(make_grid: MakeGrid) -> None:
    text = SMALL + "rates: [0.1, 0.2]\npublished:\n- {source: X, rate: 0.2, recipes: {knn: {blend: {sa: 93.5}}}}\n"
    found = [cell for cell in make_grid(text).cells if cell.published]
    assert [cell.title for cell in found] == ["knn blend digits 0.2 seed 0"]
    assert found[0].published == {"sa": 93.5}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("recipe: [knn]", "names no recipes"),
        ("recipes: [knn]\nseed: [1]", "has no 'seed': did you mean seeds"),
        ("recipes: [knn]\nrates: [10]", "10 is no rate"),
        ("recipes: [knn]\nseeds: [one]", "'one' is no seed"),
        ("recipes: [knn]\nseeds: [-1]", "-1 is no seed: give whole numbers from 0 to 4294967295"),
        ("recipes: [knn]\nrate_of: rate", "rate_of is 'rate'"),
        ("recipes: [knn]\nexclude: [{recipe: kmn}]", "there is no recipe 'kmn': did you mean knn"),
        ("recipes: [knn]\nexclude: [{defense: knn}]", "there is no axis 'defense'"),
        ("recipes: {knn: {config: knn.yaml}}", "recipes.knn has no 'config'"),
        ("recipes: [knn]\npublished: [{recipes: {}}]", "need their source"),
        ("recipes: [knn]\nexclude: [{attack: clean}]", "every one is excluded"),
        ("recipes: [knn]\nseeds: 3", r"seeds is 3: it is a list, such as \[3\]"),
        ("recipes: [knn]\nrates: 0.1", "rates is 0.1: it is a list"),
        ("recipes: [knn]\ninclude: 3", "include is 3: it is a list"),
        ("recipes: [knn]\ninclude: [{seed: x}]", "'x' is no seed"),
        ("recipes: [knn]\nexclude: [{rate: x}]", "'x' is no rate"),
        ("recipes: [knn]\npublished: 3", "published is 3: it is a list"),
        (
            "recipes: [knn]\npublished: [{source: x, recipes: {knn: {clean: {sa: high}}}}]",
            "published sa is 'high': it is a number",
        ),
        ("recipes: [knn]\npublished: [{source: x, recipes: {knn: {clean: 7}}}]", "knn.clean is 7: give names"),
        ("recipes: [knn]\npublished: [{source: x, recipes: {knn: {clean: {acc: 7}}}}]", "there is no published 'acc'"),
        ("recipes: {knn: knn.yaml, energy: energy.yaml, knn: energy.yaml}", "has 'knn' twice in one place"),
        ("recipes: [knn]\nseeds: [0]\nrecipes: [energy]", "has 'recipes' twice in one place"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused_with_a_sentence(make_grid: MakeGrid, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_grid(text)


def test_what_no_cell_has_anything_to_do_with_is_said(make_grid: MakeGrid) -> None:
    text = """
recipes: [knn]
attacks: [badnets]
rates: [0.1]
exclude: [{recipe: knn, rate: 0.2}, {recipe: knn, seed: 0}]
published:
- {source: "A Paper, Table 9", rate: 0.3, recipes: {none: {badnets: {sa: 12.5}}}}
- {source: "A Paper, Table 8", recipes: {knn: {badnets: {sa: 12.5}}}}
- {source: "A Paper, Table 7", recipes: {none: {badnets: {sa: 12.5}}}}
"""
    assert make_grid(text).loose_ends() == [
        "exclude has recipe knn, rate 0.2, and there is no such cell",
        "figures of A Paper, Table 9 are for rate 0.3, recipe none, attack badnets, and there is no such cell",
        "figures of A Paper, Table 8 are for recipe knn, attack badnets, and there is no such cell",
    ]


@pytest.mark.parametrize("name", GRIDS)
def test_the_shipped_grids_have_no_loose_ends(name: str) -> None:
    assert read_grid(name).loose_ends() == []


def test_data_may_be_a_list_of_names(make_grid: MakeGrid) -> None:
    cells = make_grid("recipes: [knn]\ndata: [digits, mnist]\n").cells
    assert {(cell.data, cell.configs[-1]) for cell in cells} == {
        ("digits", "data/digits.yaml"),
        ("mnist", "data/mnist.yaml"),
    }


@pytest.mark.parametrize("count", [1, 3, 5, 40])
def test_shards_are_disjoint_and_unite_to_the_grid(make_grid: MakeGrid, count: int) -> None:
    cells = make_grid(SMALL + "seeds: [0, 1, 2, 3]\n").cells
    parts = [shard_of(cells, i, count) for i in range(1, count + 1)]
    assert [cell for part in parts for cell in part] == list(cells)


def test_workers_begin_with_different_data_and_do_all(make_grid: MakeGrid) -> None:
    cells = make_grid(SMALL).cells
    orders = [in_turn(cells, i, 2) for i in range(2)]
    assert {order[0].attack for order in orders} == {"badnets", "blend"}
    assert sorted(c.id for c in orders[1]) == sorted(c.id for c in cells)


def test_a_changed_config_file_makes_another_cell_of_it(tmp_path: Path) -> None:
    def id_with(text: str, name: str) -> str:
        (tmp_path / name).write_text(text)
        return Cell("a", "b", "c", None, 0, "", (str(tmp_path / name),), {}).id

    assert id_with("model: A\n", "one.yaml") == id_with("model:  A  # the same\n", "two.yaml")
    assert id_with("model: A\n", "three.yaml") != id_with("model: B\n", "four.yaml")


@pytest.mark.parametrize("name", GRIDS)
def test_every_value_of_a_shipped_grid_is_understood(name: str, tmp_path: Path) -> None:
    """One cell at least for each recipe, attack, data set and change, parsed and built as far as that needs no data."""
    axes = ("recipe", "attack", "data", "change")
    cells = [(cell, {(axis, getattr(cell, axis)) for axis in axes}) for cell in read_grid(name).cells]
    left = {value for _, own in cells for value in own}
    while left:
        cell, own = max(cells, key=lambda pair: len(pair[1] & left))
        left -= own
        parse(shlex.split(cell.command(str(tmp_path)))[1:]).setup()


@pytest.mark.parametrize("name", GRIDS)
def test_every_published_figure_of_a_shipped_grid_is_beside_a_cell(name: str) -> None:
    grid = read_grid(name)
    beside = [(cell.source, cell.published) for cell in grid.cells]
    assert [table for table in grid.published if (table["source"], table["figures"]) not in beside] == []


@pytest.mark.parametrize("name", GRIDS)
def test_every_published_figure_of_a_shipped_grid_has_a_column(name: str) -> None:
    """Those of Sabolic et al., Table 2, count every relabeled image (D10)."""
    named = {figure for cell in read_grid(name).cells for figure in cell.published}
    assert {f"published_{figure}" for figure in named} <= set(PUBLISHED)
    assert ("relabel_accuracy_all" in named) == (name == "grids/sabolic2024.yaml")
    assert "relabel_accuracy" not in named


def test_the_quick_grid_has_24_cells() -> None:
    assert len(read_grid("grids/quick.yaml").cells) == 24


def test_names_with_spaces_stay_one_option_in_a_script_for_slurm(tmp_path: Path) -> None:
    (tmp_path / "my grid.yaml").write_text("recipes: [knn]\n")
    results = GridResults(read_grid(str(tmp_path / "my grid.yaml")), tmp_path / "all runs")
    script = write_script(["cleanse", "bench"], results, Slurm())
    assert script is not None
    options = [line.removeprefix("#SBATCH ") for line in script.read_text().splitlines() if "#SBATCH" in line]
    assert "--job-name=cleanse-my grid" in [shlex.split(option)[0] for option in options]
    assert all(len(shlex.split(option)) == 1 for option in options)
