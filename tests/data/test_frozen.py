"""A frozen poisoned data set: the same bits after the exchange, no answer for the defender, no harm from a stranger."""

import csv
import gc
import os
import shutil
import sys
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from cleanse.attacks import Attack, BadNets, FromFile, TaCT, WaNet
from cleanse.cli.poison import freeze
from cleanse.data import Digits, Frozen, ImageDataModule, ImageFolder
from cleanse.data.base import Truth
from cleanse.engine.fingerprint import describe
from cleanse.utils.configs import CONFIGS, shipped

SMALL: dict[str, Any] = {"limit_train": 120, "limit_test": 60, "seed": 3}


@pytest.fixture(scope="module")
def original() -> Digits:
    return Digits(attack=BadNets(class_rate=0.2), **SMALL)


@pytest.fixture(scope="module")
def made(original: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return freeze(original, tmp_path_factory.mktemp("frozen") / "digits")


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """A copy to be tampered with."""
    return Path(shutil.copytree(made, tmp_path / "copied"))


def assert_same(frozen: ImageDataModule, original: ImageDataModule) -> None:
    pairs = [(m.training_view(), m.clean_test(), m.triggered_test()) for m in (frozen, original)]
    for mine, its in zip(*pairs, strict=True):
        assert mine is not None
        assert its is not None
        assert torch.equal(mine.source.image, its.source.image)
        assert mine.source.image.dtype == torch.uint8
        assert torch.equal(mine.label, its.label)
        assert len(mine) == len(its)
        assert (mine.mean, mine.std, len(mine.classes)) == (its.mean, its.std, len(its.classes))
        assert mine.spec()["augment"] == its.spec()["augment"]
        assert describe(mine.contrastive_augment) == describe(its.contrastive_augment)
    assert torch.equal(frozen.truth.true_label, original.truth.true_label)
    assert torch.equal(frozen.truth.role, original.truth.role)
    assert frozen.truth.role.dtype == torch.int8
    assert frozen.attack is not None
    assert original.attack is not None
    states = [m.attack.state_dict() for m in (frozen, original) if m.attack is not None]
    assert states[0].keys() == states[1].keys()
    assert len(states[0])
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert type(frozen.attack) is type(original.attack)


@pytest.mark.parametrize(
    "data",
    [
        Digits(attack=BadNets(class_rate=0.2), **SMALL),
        Digits(attack=WaNet(poison_rate=0.1, cover_rate=0.2), **SMALL),
        Digits(attack=TaCT(class_rate=0.5, cover_rate=0.1), **SMALL),
        Digits(attack=BadNets(count=5, unlabeled_count=9, target=2), labeled=0.5, **SMALL),
    ],
    ids=["badnets", "cover images", "one source", "labels withheld"],
)
def test_it_comes_back_bit_for_bit(data: Digits, tmp_path: Path) -> None:
    freeze(data, tmp_path / "out")
    assert_same(Frozen(str(tmp_path / "out")), data)


@pytest.mark.parametrize("name", [n for n in shipped() if n.startswith("attacks/")])
def test_every_attack_comes_back_with_its_trigger(name: str, tmp_path: Path) -> None:
    from cleanse.experiments.parser import Parser

    parser = Parser()
    parser.add_subclass_arguments(Attack, "attack")
    config = yaml.safe_load((CONFIGS / name).read_text())["data"]["init_args"]["attack"]
    attack = parser.instantiate(parser.parse_object({"attack": config})).attack
    if type(attack).learn is not Attack.learn or isinstance(attack, FromFile):
        pytest.skip("it trains a model or reads a file first; its own tests freeze it")
    data = Digits(attack=attack, limit_train=300, limit_test=60, seed=0)
    freeze(data, tmp_path / "out")
    frozen = Frozen(str(tmp_path / "out"))
    assert_same(frozen, data)
    thawed, clean = frozen.attack, frozen.clean_test()
    assert thawed is not None
    assert describe(thawed.arguments) == describe(attack.arguments)
    measured = thawed.measured(clean.label)
    triggered = frozen.triggered_test().source.image
    assert torch.equal(thawed.trigger(clean.source.image[measured]), triggered)  # from its state alone


HOSTILE = [
    "<script>alert(1)<br>",
    "a\nb\r",
    "=1+1,\"'",
    "-rf",
    "\udcff\udcfe",
    "x" * 250,
    "| `x` |",
    "Müller-Terrier 柴犬",
]


def test_a_color_folder_with_hostile_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in HOSTILE:
            (tmp_path / "in" / part / name).mkdir(parents=True)
            for i, own in enumerate([*HOSTILE[:2], "=cmd", "-n"][:count]):
                pixels = rng.integers(256, size=(6, 6, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "in" / part / name / f"{own}{i}.png")
    data = ImageFolder(str(tmp_path / "in"), size=6, attack=BadNets(class_rate=0.5, target=1), seed=0)
    out = freeze(data, tmp_path / "out")
    frozen = Frozen(str(out))
    assert_same(frozen, data)
    assert frozen.training_view().classes == tuple(sorted(HOSTILE))
    assert frozen.training_view().channels == 3
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert "<script" not in readme
    assert "Müller\\-Terrier 柴犬" in readme
    assert "\\| \\`x\\` \\|" in readme
    assert str(tmp_path) not in readme
    with (out / "rows.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["original"].removeprefix("'") for row in rows] == list(data.training_view().id)


def test_subsets_are_those_of_any_data_set(made: Path, original: Digits) -> None:
    part = Frozen(str(made), limit_train=50, limit_test=20, seed=1)
    whole = Frozen(str(made))
    rows = [whole.training_view().id.index(id) for id in part.training_view().id]
    assert len(rows) == 50
    assert len(part.clean_test()) == 20
    assert torch.equal(part.training_view().source.image, original.training_view().source.image[rows])
    assert torch.equal(part.training_view().label, original.training_view().label[rows])
    assert torch.equal(part.truth.role, original.truth.role[rows])
    assert len(part.triggered_test()) == int((part.clean_test().label != 0).sum())


def test_without_the_answer_key_it_is_a_folder_of_images(made: Path, tmp_path: Path, original: Digits) -> None:
    for name in ("train", "test"):
        shutil.copytree(made / name, tmp_path / "given" / name)
    for root in (made, tmp_path / "given"):
        folder = ImageFolder(str(root), size=8, seed=0)
        view, row = folder.training_view(), {int(Path(id).stem): i for i, id in enumerate(folder.training_view().id)}
        order = [row[i] for i in range(120)]
        assert torch.equal(view.source.image[order], original.training_view().source.image)
        assert torch.equal(view.label[order], original.training_view().label)
        assert len(folder.clean_test()) == 60
    with pytest.raises(ValueError, match=r"no file rows\.csv.*use --config data/folder\.yaml"):
        Frozen(str(tmp_path / "given")).training_view()


def test_nothing_that_a_view_leads_to_knows_the_answer(made: Path) -> None:
    """The same walk as for poisoned data that were never frozen (tests/defenses/test_truth.py)."""
    data = Frozen(str(made), seed=0)
    view = data.training_view()
    data.clean_test(), data.triggered_test()
    skipped = (type, ModuleType, FunctionType, FrameType)
    seen: dict[int, Any] = {}
    todo: list[Any] = [view, view.unlabeled(), view.subset(view.labeled)]
    while todo:
        here = todo.pop()
        if id(here) in seen or isinstance(here, skipped):
            continue
        seen[id(here)] = here
        todo += [x for x in gc.get_referents(here) if not isinstance(x, skipped)]
    found = list(seen.values())
    assert view.source in found  # the walk does walk
    assert not [x for x in found if isinstance(x, (Attack, Truth, ImageDataModule))]
    tensors = [x for x in found if isinstance(x, Tensor) and x.shape == (120,)]
    assert tensors
    assert not any(torch.equal(t.long(), data.truth.role.long()) for t in tensors)
    assert not any(torch.equal(t.long(), data.truth.true_label) for t in tensors)
    texts = [x for x in found if isinstance(x, str)]
    assert not [x for x in texts if "BadNets" in x or x in ("poison", "cover")]
    lists = [list(x) for x in found if isinstance(x, (list, tuple)) and len(x) == 120]
    assert data.truth.role.tolist() not in lists
    assert data.truth.true_label.tolist() not in lists


def test_what_stages_are_keyed_by_does_not_depend_on_the_answer(copied: Path) -> None:
    before = Frozen(str(copied), seed=0).training_view().spec()
    lines = (copied / "rows.csv").read_text().replace('"poison"', '"clean"').replace(',4,"', ',5,"').splitlines()
    (copied / "rows.csv").write_text("\n".join(lines))
    edit(copied, sha256={})
    assert Frozen(str(copied), seed=0).training_view().spec() == before
    image = next((copied / "train" / "4").iterdir())
    Image.new("L", (8, 8), 7).save(image)
    assert Frozen(str(copied), seed=0).training_view().spec() != before


def test_it_moves_and_is_the_same_data_elsewhere(made: Path, copied: Path) -> None:
    here, there = (Frozen(str(root), seed=0) for root in (made, copied))
    assert here.training_view().spec() == there.training_view().spec()


# --- from a stranger ---
def edit(root: Path, **changes: Any) -> None:
    card = yaml.safe_load((root / "attack.yaml").read_text())
    (root / "attack.yaml").write_text(yaml.safe_dump(card | changes))


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a file behind when it is imported, with an attack in it."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "evil_attack.py").write_text(
        "import pathlib\nfrom cleanse.attacks import BadNets\n"
        f"pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class Mine(BadNets):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.delitem(sys.modules, "evil_attack", raising=False)
    return tmp_path / "ran"


def test_a_foreign_attack_is_refused_unless_it_is_trusted(copied: Path, evil: Path) -> None:
    edit(copied, class_path="evil_attack.Mine")
    with pytest.raises(ValueError, match=r"would run its code; if you trust .*--data\.trust true"):
        Frozen(str(copied)).triggered_test()
    assert not evil.exists()
    assert type(Frozen(str(copied), trust=True).attack).__name__ == "Mine"
    assert evil.exists()


@pytest.mark.parametrize(
    "path",
    [
        *(
            "os.system",
            "evil_attack.Mine",
            "subprocess.Popen",
            "",
            "x",
            "cleanse.experiments.build.CleanseCLI",
            "torch.nn.Module",
        ),
        *("cleanse.attacks.Attack", "cleanse.attacks.base.nn.Module", "cleanse.attacks.base.torch.nn.Linear"),
        *("cleanse.attacks.Nope", "cleanse.attacks..badnets.BadNets", "cleanse.attacks.ROLES", "cleanse.attacks."),
        "cleanse.attacksevil.BadNets",
    ],
)
def test_only_attacks_are_made(copied: Path, evil: Path, path: str) -> None:
    edit(copied, class_path=path)
    with pytest.raises(ValueError, match=r"attack\.yaml"):
        assert Frozen(str(copied)).attack
    assert not evil.exists()


@pytest.mark.parametrize(
    "path", ["os.system", "evil_attack.Mine", "cleanse.data.Frozen", "cleanse.data.base.nn.Linear"]
)
def test_only_data_modules_are_asked_for_augmentations(copied: Path, evil: Path, path: str) -> None:
    edit(copied, data=path)
    with pytest.raises(ValueError, match=r"attack\.yaml"):
        Frozen(str(copied)).training_view()
    assert not evil.exists()


def test_what_an_attack_was_made_from_is_not_made_again(copied: Path, evil: Path) -> None:
    nested = {"class_path": "evil_attack.Mine", "init_args": {"class_rate": 0.1}}
    torch.save({"patch": torch.zeros(1, 3, 3, dtype=torch.uint8)}, copied / "trigger.pt")
    edit(
        copied,
        class_path="cleanse.attacks.AdaptivePatch",
        init_args={"surrogate": nested, "class_rate": 0.1, "size": 3},
        sha256={},
    )
    attack = Frozen(str(copied)).attack
    assert not evil.exists()
    assert attack is not None
    with pytest.raises(ValueError, match="does not train again"):
        attack.surrogate()  # type: ignore[operator]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this ran",))


def _lying() -> Tensor:
    return torch.zeros(1, dtype=torch.uint8).expand(10**9)


WRONG_ATTACKS: dict[str, Any] = {
    "arguments": lambda root: edit(root, init_args={"size": "huge", "class_rate": 0.1}),
    "an unknown argument": lambda root: edit(root, init_args={"nope": 1}),
    "a target out of range": lambda root: edit(root, init_args={"target": 99, "class_rate": 0.1}),
    "no classes": lambda root: edit(root, classes=[]),
    "classes that lead out": lambda root: edit(root, classes=["../..", *map(str, range(1, 10))]),
    "no mapping": lambda root: (root / "attack.yaml").write_text("- 1"),
    "no yaml": lambda root: (root / "attack.yaml").write_text("a: [b"),
    "a python object": lambda root: (root / "attack.yaml").write_text("!!python/object/apply:os.system ['touch x']"),
    "aliases": lambda root: (root / "attack.yaml").write_text("a: &a [x, x]\nb: [*a, *a]\n"),
    "nesting": lambda root: (root / "attack.yaml").write_text("[" * 100_000),
    "bytes": lambda root: (root / "attack.yaml").write_bytes(b"\xff\xfe\x00"),
    "a huge file": lambda root: (root / "attack.yaml").write_text("# \n" * 1_000_000),
    "a pickle": lambda root: torch.save({"trigger_image": Evil()}, root / "trigger.pt"),
    "an empty file": lambda root: (root / "trigger.pt").write_bytes(b""),
    "another state": lambda root: torch.save({"target": torch.zeros(1)}, root / "trigger.pt"),
    "no state": lambda root: torch.save([1], root / "trigger.pt"),
    "a tensor larger than its content": lambda root: torch.save({"trigger_image": _lying()}, root / "trigger.pt"),
}


@pytest.mark.parametrize("name", WRONG_ATTACKS)
def test_a_damaged_attack_is_one_sentence(copied: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    WRONG_ATTACKS[name](copied)
    with pytest.raises(ValueError, match=r"attack\.yaml|trigger\.pt") as refused:
        assert Frozen(str(copied)).attack
    assert "this ran" not in capfd.readouterr().out
    assert "\n" not in str(refused.value)


def rows(root: Path, old: str, new: str) -> None:
    text = (root / "rows.csv").read_text()
    assert old in text
    (root / "rows.csv").write_text(text.replace(old, new, 1))


def swap(root: Path, made: Any) -> None:
    """Put something else in the place of the first training image."""
    path = root / first(root)
    path.unlink()
    made(path)


def first(root: Path) -> str:
    return (root / "rows.csv").read_text().splitlines()[1].split(",")[0].strip('"')


WRONG_FILES: dict[str, Any] = {
    "a missing image": lambda root: swap(root, lambda path: None),
    "a link": lambda root: swap(root, lambda path: path.symlink_to(root / "elsewhere.png")),
    "a pipe": lambda root: swap(root, lambda path: os.mkfifo(path)),
    "a text": lambda root: swap(root, lambda path: path.write_text("no image")),
    "another size": lambda root: Image.new("L", (9, 8)).save(sorted((root / "train" / "5").iterdir())[-1]),
    "color": lambda root: Image.new("RGB", (8, 8)).save(sorted((root / "train" / "5").iterdir())[-1]),
    "transparency": lambda root: Image.new("LA", (8, 8)).save(root / first(root)),
    "16 bits": lambda root: Image.new("I;16", (8, 8)).save(root / first(root)),
    "a JPEG": lambda root: Image.new("L", (8, 8)).save(root / first(root), format="JPEG"),
    "a path upwards": lambda root: rows(root, first(root), "train/0/../../../000.png"),
    "an absolute path": lambda root: rows(root, first(root), "/etc/000.png"),
    "another class": lambda root: rows(root, first(root), "train/nope/000.png"),
    "a file twice": lambda root: rows(root, (t := (root / "rows.csv").read_text()), t + t.splitlines()[1] + "\n"),
    "a role": lambda root: rows(root, '"clean"', '"spoon"'),
    "a label": lambda root: rows(root, ',"clean"', '7,"clean"'),
    "no number": lambda root: rows(root, ',"clean"', 'x,"clean"'),
    "a column": lambda root: rows(root, "true_label", "label"),
    "a zero byte": lambda root: rows(root, first(root), "train/\0/000.png"),
    "no row": lambda root: (root / "rows.csv").write_text("file,given_label,true_label,role\n"),
    "a cell without end": lambda root: (root / "rows.csv").write_text(
        "file,given_label,true_label,role\n" + "x" * 200_000
    ),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_files_that_do_not_belong_are_one_sentence(copied: Path, name: str) -> None:
    WRONG_FILES[name](copied)
    with pytest.raises(ValueError, match=r"rows\.csv|cannot be read") as refused:
        Frozen(str(copied)).training_view()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("part", ["train/5", "train", "test", "test/5", "triggered/5"])
def test_no_link_is_followed_out_of_the_folder(copied: Path, tmp_path: Path, part: str) -> None:
    shutil.move(copied / part, tmp_path / "outside")
    (copied / part).symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="is a link"):
        Frozen(str(copied)).triggered_test()


@pytest.mark.parametrize("name", ["rows.csv", "attack.yaml", "trigger.pt"])
def test_the_answer_is_no_link(copied: Path, tmp_path: Path, name: str) -> None:
    shutil.move(copied / name, tmp_path / name)
    (copied / name).symlink_to(tmp_path / name)
    with pytest.raises(ValueError, match=f"no file {name}"):
        Frozen(str(copied)).triggered_test()


def test_an_answer_that_another_one_took_the_place_of_is_noticed(copied: Path) -> None:
    rows(copied, '"poison"', '"cover"')
    with pytest.raises(ValueError, match=r"rows\.csv' is not what attack\.yaml says"):
        Frozen(str(copied)).training_view()
    edit(copied, sha256={})  # as in sets of an earlier version
    assert Frozen(str(copied)).training_view()
    edit(copied, sha256={"trigger.pt": "0" * 64})
    with pytest.raises(ValueError, match=r"trigger\.pt' is not what attack\.yaml says"):
        assert Frozen(str(copied)).attack


def test_traces_of_a_system_do_no_harm(copied: Path, original: Digits) -> None:
    (copied / "test" / "5" / ".DS_Store").write_bytes(b"x")
    (copied / "train" / "5" / "Thumbs.db").write_bytes(b"x")
    assert_same(Frozen(str(copied)), original)


def test_a_missing_test_part_is_said(copied: Path) -> None:
    shutil.rmtree(copied / "triggered")
    with pytest.raises(ValueError, match=r"triggered/.*No such file"):
        Frozen(str(copied)).triggered_test()
    shutil.rmtree(copied / "test")
    with pytest.raises(ValueError, match="no test image"):
        Frozen(str(copied)).clean_test()
