"""Config files: where they are, how one is read safely, and what several of them say together."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from cleanse.utils.suggest import did_you_mean

_INSTALLED = Path(__file__).parents[1] / "shipped_configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"
"""Inside the installed package, or beside it in a checkout."""

FOR_CLASS = "for_class"
"""Section of a config whose entries, named by a class, count only if the model, the data or the attack is of it."""

MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
MOST_LEVELS = 50
"""A config is refused beyond these: no run needs more, and reading more takes time or all memory (YAML bombs)."""

Place = tuple[str, ...]
MODEL: Place = ("model",)
DATA: Place = ("data",)
ATTACK: Place = ("data", "init_args", "attack")


# --- files ---
def shipped() -> list[str]:
    """Names of the shipped configs, as one writes them after ``--config``."""
    return sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.yaml"))


def find_config(name: str) -> Path:
    """The file that ``--config name`` means: one that exists, or a shipped one.

    Raises:
        ValueError: neither; says which one may have been meant.
    """
    for path in (Path(name), CONFIGS / name):
        if path.is_file():
            return path
    if Path(name).is_dir():
        raise ValueError(
            f"--config {name}: this is a folder; a folder of images is named with --config data/folder.yaml "
            f"--data.root {name}"
        )
    raise ValueError(
        f"there is no config file {name!r}, here or among the shipped ones: {_meant(name)}cleanse configs lists them"
    )


def _meant(name: str) -> str:
    """A question with the config that is meant by a name without its folder or ending, or by a misspelled one."""
    names = shipped()
    complete = [n for n in names if f"{name}.yaml" in (n, Path(n).name) or Path(n).name == name]
    if Path(f"{name}.yaml").is_file():
        complete.insert(0, f"{name}.yaml")
    return f"did you mean {complete[0]}? " if complete else did_you_mean(name, names)


def read_config(path: Path, name: str = "") -> dict[str, Any]:
    """The content of a YAML file, of which nothing is executed and whose size is bounded before it is built.

    Args:
        path: the file.
        name: what messages call it; empty for the path.

    Raises:
        ValueError: not a mapping, not valid YAML or UTF-8, or larger, deeper or more repetitive than any config.
    """
    import yaml
    from jsonargparse import get_loader

    name = name or str(path)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{name} has {path.stat().st_size} bytes: a config has at most {MOST_BYTES}")
    try:
        text = path.read_text(encoding="utf-8")
        _check_bounds(text, name)
        content = get_loader("yaml")(
            f"{text}\n#\n"
        )  # as for arguments; the comment: it would give back "model:" as text
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no text in UTF-8 ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid yaml: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(
            f"{name} is a {type(content).__name__}, not a config: one has sections such as data: and model:"
        )
    if "recipes" not in content:  # a grid has other data
        for section in ("model", "data", "trainer"):
            _check_section(name, section, content.get(section))
    return content


def _check_section(name: str, section: str, content: Any) -> None:
    """Raises: ValueError for what is no class with its arguments."""
    if isinstance(content, list):
        raise ValueError(f"{name}: {section} is a list; it takes one class_path with its init_args")
    if section == "trainer" or not isinstance(content, dict):
        return
    arguments = content.get("init_args")
    if arguments is not None and not isinstance(arguments, dict):
        raise ValueError(f"{name}: {section}.init_args is {arguments!r}; it takes arguments with their values")
    for key in content:
        if key not in ("class_path", "init_args", "dict_kwargs"):
            raise ValueError(
                f"{name}: {section}.{key} stands beside class_path: arguments are below {section}.init_args"
            )


def _check_bounds(text: str, name: str) -> None:
    """Count what a YAML text would build, alias by alias, while it is only read; a name twice is refused."""
    import yaml
    from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, MappingStartEvent, ScalarEvent

    sizes: dict[str, tuple[int, int]] = {}  # of each anchored value: how many values it holds, how many levels
    open_: list[tuple[str | None, int, int]] = []
    names: list[set[str] | None] = []  # of each open mapping
    is_name: list[bool] = []  # whether the next value of each is one
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        anchor, size, levels = getattr(event, "anchor", None), 1, 1
        if isinstance(event, CollectionStartEvent):
            open_.append((anchor, 1, 1))
            names.append(set() if isinstance(event, MappingStartEvent) else None)
            is_name.append(True)
            if len(open_) > MOST_LEVELS:
                raise ValueError(f"{name} is nested more than {MOST_LEVELS} levels deep: that is no config")
            continue
        if isinstance(event, CollectionEndEvent):
            anchor, size, levels = open_.pop()
            names.pop()
            is_name.pop()
        elif isinstance(event, AliasEvent):
            if anchor not in sizes:
                raise ValueError(f"{name} repeats {anchor!r} inside itself: that is no config")
            size, levels = sizes[anchor]
        elif not isinstance(event, ScalarEvent):
            continue
        if anchor is not None and not isinstance(event, AliasEvent):
            sizes[anchor] = (size, levels)
        if open_:
            known = names[-1]
            if known is not None and is_name[-1] and isinstance(event, ScalarEvent):
                if event.value in known and event.value != "<<":
                    raise ValueError(f"{name} has {event.value!r} twice in one place: only the last one would count")
                known.add(event.value)
            is_name[-1] = not is_name[-1]
            outer, before, deepest = open_.pop()
            size, levels = before + size, max(deepest, levels + 1)
            open_.append((outer, size, levels))
        if size > MOST_VALUES or levels > MOST_LEVELS:
            raise ValueError(
                f"{name} unfolds to more than {MOST_VALUES} values or {MOST_LEVELS} levels: that is no config"
            )


# --- several files together ---
@dataclass(frozen=True)
class Layer:
    """What one file, or a part of the command line, says.

    Attributes:
        name: what messages call it.
        content: plain dictionaries.
    """

    name: str
    content: Mapping[str, Any]


@dataclass
class Merged:
    """What several layers say together.

    Attributes:
        config: plain dictionaries, without `FOR_CLASS`.
        origin: the layer that every value comes from, by its place.
        lost: layers whose class of the data or the attack a later layer replaces: (layer, class, later layer).
    """

    config: dict[str, Any]
    origin: dict[Place, str] = field(default_factory=dict)
    lost: list[tuple[str, str, str]] = field(default_factory=list)

    def origin_of(self, place: Sequence[str]) -> str:
        """The layer that brought the value at a place, or everything below it; empty if there is none or several."""
        place = tuple(place)
        names = {name for p, name in self.origin.items() if p[: len(place)] == place}
        return names.pop() if len(names) == 1 else ""

    def value(self, place: Place) -> Any:
        """The value at a place; None if there is none."""
        value: Any = self.config
        for part in place:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def is_class(self, place: Place) -> bool:
        """Whether the value at a place names a class."""
        value = self.value(place)
        return place in (MODEL, DATA, ATTACK) or (
            isinstance(value, Mapping) and bool({"class_path", "init_args"} & set(value))
        )


def merge(layers: Sequence[Layer], stays: Callable[[str], Collection[str]] = lambda name: ()) -> Merged:
    """Put layers on top of one another; later ones win.

    * Dictionaries are merged key by key; everything else, lists too, is replaced.
    * Where a layer names another class than an earlier one, the arguments go that came with the old class. Arguments
      of a layer that names no class there stay: they are for whatever class comes. Of the data stays what the new
      class and all data sets take (``stays``), such as the attack and the batch size.
    * An entry of a layer's `FOR_CLASS` counts as a layer of its own if model, data or attack are of that class in the
      end. It follows the layer that has the entry or the first that names the class, whichever is later.

    Args:
        layers: in order.
        stays: given the name of a class of data, the names of the arguments that it keeps of another class.

    >>> merge([Layer("a", {"model": {"class_path": "A", "init_args": {"x": 1}}}), Layer("b", {"model": "B"})]).config
    {'model': {'class_path': 'B'}}
    """
    if not layers:
        return Merged({})
    entries = [(i, layer.content.get(FOR_CLASS) or {}) for i, layer in enumerate(layers)]
    plain = [Layer(x.name, {k: v for k, v in x.content.items() if k != FOR_CLASS}) for x in layers]
    following: dict[int, list[Layer]] = {}
    for place in (MODEL, DATA, ATTACK):
        first, name = _last_class(plain, place)
        for i, entry in entries:
            for own, content in entry.items() if isinstance(entry, Mapping) else ():
                if name and own == name.rpartition(".")[2] and isinstance(content, Mapping):
                    found = Layer(f"{layers[i].name} ({FOR_CLASS}: {own})", _named(content, place, name))
                    following.setdefault(max(i, first), []).append(found)
    ordered = [x for i, layer in enumerate(plain) for x in (layer, *following.get(i, ()))]
    merged = Merged({})
    kept = frozenset(stays(data)) if (data := _last_class(plain, DATA)[1]) else frozenset[str]()
    merged.config = _combine([(x.name, x.content) for x in ordered], (), merged.origin, kept)
    merged.lost = [*_lost(plain, DATA), *_lost(plain, ATTACK)]
    return merged


def _combine(said: Sequence[tuple[str, Any]], place: Place, origin: dict[Place, str], kept: frozenset[str]) -> Any:
    """What layers say at one place, in order, together."""
    node = place in (MODEL, DATA, ATTACK) or any(
        isinstance(v, Mapping) and {"class_path", "init_args"} & set(v) for _, v in said
    )
    if node:
        said = [(name, {"class_path": v} if isinstance(v, str) else v) for name, v in said]
    name, value = said[-1]
    if not isinstance(value, Mapping):
        origin[place] = name
        return value
    said = said[max((i + 1 for i, (_, v) in enumerate(said) if not isinstance(v, Mapping)), default=0) :]
    if node:
        said = _of_one_class(said, kept if place == DATA else frozenset())
    keys = dict.fromkeys(key for _, v in said for key in v)
    return {key: _combine([(n, v[key]) for n, v in said if key in v], (*place, str(key)), origin, kept) for key in keys}


def _of_one_class(said: Sequence[tuple[str, Any]], kept: frozenset[str]) -> list[tuple[str, Any]]:
    """Without what belongs to classes that later layers have replaced, but for the arguments in ``kept``."""
    classes = [v.get("class_path") for _, v in said]
    last = next((c for c in reversed(classes) if c is not None), None)
    changed = max((i for i, c in enumerate(classes) if c is not None and not same_class(c, last)), default=-1)
    out = []
    for i, (name, value) in enumerate(said):
        if i <= changed and classes[i] is not None:
            arguments = value.get("init_args")
            arguments = arguments if isinstance(arguments, Mapping) else {}
            arguments = {k: v for k, v in arguments.items() if k in kept}
            value = {"init_args": arguments} if arguments else {}
        out.append((name, value))
    return out


def same_class(one: object, other: object) -> bool:
    """Whether two names mean one class: the same path, or a bare name and a path that ends in it.

    >>> same_class("BadNets", "cleanse.attacks.BadNets"), same_class("mine.BadNets", "cleanse.attacks.BadNets")
    (True, False)
    """
    one, other = str(one), str(other)
    bare = "." not in one or "." not in other
    return one == other or (bare and one.rpartition(".")[2] == other.rpartition(".")[2])


def class_at(content: Mapping[str, Any], place: Place) -> tuple[bool, str | None]:
    """Whether a config says anything about the class at a place, and its name; None where it says null."""
    value: Any = content
    for part in place:
        if not isinstance(value, Mapping) or part not in value:
            return False, None
        value = value[part]
    if isinstance(value, Mapping):
        value = value.get("class_path")
        return value is not None, str(value)
    return True, value if isinstance(value, str) else None


def _classes(layers: Sequence[Layer], place: Place) -> Iterator[tuple[int, str | None]]:
    for i, layer in enumerate(layers):
        says, name = class_at(layer.content, place)
        if says:
            yield i, name


def _last_class(layers: Sequence[Layer], place: Place) -> tuple[int, str | None]:
    """The class that is left in the end, and the first layer of those that named it without another in between."""
    first, last = -1, None
    for i, name in _classes(layers, place):
        if name is None or last is None or not same_class(name, last):
            first = i
        last = name
    return first, last


def _lost(layers: Sequence[Layer], place: Place) -> Iterator[tuple[str, str, str]]:
    """Layers that are there for the class at a place only (no model), and that a later one replaces."""
    said = list(_classes(layers, place))
    for (i, name), (later, other) in pairwise(said):
        if name is not None and not (other and same_class(name, other)) and "model" not in layers[i].content:
            yield layers[i].name, name.rpartition(".")[2], layers[later].name


def _named(content: Mapping[str, Any], place: Place, name: str) -> dict[str, Any]:
    """A copy of a `FOR_CLASS` entry that names its class, so that its arguments go when the class does."""
    made: dict[str, Any] = dict(content)
    at = made
    for part in place:
        at[part] = dict(at.get(part) or {})
        at = at[part]
    if at:
        at["class_path"] = name
    elif place == MODEL:
        made.pop("model")
    return made
