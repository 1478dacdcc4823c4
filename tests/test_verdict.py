"""The verdict: what it refuses, and that its files give back what they got."""

import csv
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from cleanse.verdict import DROP, KEEP, RELABEL, Verdict

NASTY = (
    "cats/1.png",
    'quote".png',
    "comma,semicolon;.png",
    "line\nend.png",
    "carriage\r\nreturn.png",
    " space ",
    "=1+1.png",
    "+a.png",
    "-b.png",
    "@SUM(A1).png",
    "\ttab.png",
    "'apostrophe.png",
    "'=both.png",
    "''two",
    "\uff1dwide.png",
    "übel 猫.png",
    "NA",
    "null",
    "",
    "007",
    "1e5",
    os.fsdecode(b"latin-\xe9.png"),
    os.fsdecode(b"=\xff\xfe"),
)


def nasty():
    """One row for every kind of name, with all actions, withheld labels and awkward scores."""
    n = len(NASTY)
    label = torch.arange(n) % 4 - 1
    action = torch.where(label < 0, KEEP, torch.arange(n) % 3)
    new_label = torch.where(action == RELABEL, (label + 1) % 3, torch.where(action == DROP, -1, label))
    score = torch.randn(n, generator=torch.Generator().manual_seed(0))
    score[:6] = torch.tensor([torch.inf, -torch.inf, 1e-40, 0.1, -0.0, 16_777_217.0])
    return Verdict(NASTY, label, action, new_label, score, NASTY[::-1])


def same(a, b):
    tensors = ("label", "action", "new_label", "score")
    return (a.id, a.reason) == (b.id, b.reason) and all(getattr(a, t).equal(getattr(b, t)) for t in tensors)


def simple():
    label = torch.tensor([0, 1, 2, -1])
    return Verdict(("a", "b", "c", "d"), label, torch.tensor([0, 1, 2, 0]), torch.tensor([0, 0, -1, -1]),
                   torch.tensor([0.1, 0.9, 0.8, 0.0]), ("", "near 0", "far", ""))  # fmt: skip


def test_masks_and_counts():
    verdict = simple()
    assert len(verdict) == 4
    assert verdict.kept.tolist() == [True, False, False, True]
    assert verdict.relabeled.tolist() == [False, True, False, False]
    assert verdict.dropped.tolist() == [False, False, True, False]
    assert verdict.counts() == {"kept": 2, "relabeled": 1, "dropped": 1}
    assert (verdict.label.dtype, verdict.action.dtype, verdict.score.dtype) == (torch.int64, torch.int8, torch.float32)
    assert repr(verdict) == "Verdict(4 images: 2 kept, 1 relabeled, 1 dropped)"


def test_keep_all():
    verdict = Verdict.keep_all(["a", "b"], torch.tensor([3, -1]))
    assert verdict.new_label.tolist() == [3, -1]
    assert verdict.kept.all()
    assert verdict.score.eq(0).all()
    assert verdict.reason == ("", "")


def test_keep_mask():
    label, keep = torch.tensor([3, 4, -1]), torch.tensor([True, False, False])
    verdict = Verdict.keep_mask("abc", label, keep, reason="far")
    assert verdict.action.tolist() == [KEEP, DROP, DROP]
    assert verdict.new_label.tolist() == [3, -1, -1]
    assert verdict.score.tolist() == [0, 1, 1]
    assert verdict.reason == ("", "far", "far")
    verdict = Verdict.keep_mask("abc", label, keep, torch.tensor([0.5, 2.0, 1.0]), ["x", "y", "z"])
    assert verdict.score.tolist() == [0.5, 2.0, 1.0]
    assert verdict.reason == ("x", "y", "z")


def test_from_labels():
    label, new_label = torch.tensor([1, 1, 1, -1, -1]), torch.tensor([1, 2, 2, 0, -1])
    drop = torch.tensor([False, False, True, False, False])
    verdict = Verdict.from_labels("abcde", label, new_label, drop, reason="vote")
    assert verdict.action.tolist() == [KEEP, RELABEL, DROP, RELABEL, KEEP]
    assert verdict.new_label.tolist() == [1, 2, -1, 0, -1]
    assert verdict.reason == ("", "vote", "vote", "vote", "")


def test_with_dropped():
    verdict = simple().with_dropped([("broken.png", 2, "truncated")], prefix="unreadable: ")
    assert verdict.counts() == {"kept": 2, "relabeled": 1, "dropped": 2}
    assert (verdict.id[-1], verdict.reason[-1]) == ("broken.png", "unreadable: truncated")
    assert (int(verdict.label[-1]), int(verdict.new_label[-1]), float(verdict.score[-1])) == (2, -1, 0.0)
    assert same(simple().with_dropped([]), simple())
    with pytest.raises(ValueError, match="'a' occurs twice"):
        simple().with_dropped([("a", 0, "")])


def test_columns_are_copies():
    label = torch.tensor([1, 2])
    verdict = Verdict.keep_all(["a", "b"], label)
    label[0] = 9
    assert verdict.label.tolist() == [1, 2]
    with pytest.raises(AttributeError):
        verdict.label = label


COLUMNS = {
    "id": ("a", "b"),
    "label": torch.tensor([0, 1]),
    "action": torch.tensor([0, 1]),
    "new_label": torch.tensor([0, 2]),
    "score": torch.tensor([0.0, 1.0]),
    "reason": ("", ""),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": torch.tensor([0])}, r"label has the shape \(1,\), but there are 2 ids"),
        ({"score": torch.zeros(3)}, r"score has the shape \(3,\)"),
        ({"reason": ("",)}, "reason has 1 rows, id has 2"),
        ({"id": ("a", "a")}, "'a' occurs twice"),
        ({"id": (1, 2)}, "id holds texts, not int"),
        ({"id": ("a", "\ud83d")}, "half a surrogate pair"),
        ({"id": ("a", "\udcc3\udca9")}, "half a surrogate pair"),
        ({"label": [0, 1]}, "label is a tensor, not list"),
        ({"label": torch.tensor([0.0, 1.5])}, "label holds whole numbers, not torch.float32"),
        ({"label": torch.tensor([0, -2])}, "a label is a class"),
        ({"action": torch.tensor([0, 257])}, r"an action is 0 \(keep\)"),
        ({"action": torch.tensor([0, 0])}, r"new_label must equal label \(wrong in 1 of 2 rows, first in row 1: 'b'\)"),
        ({"new_label": torch.tensor([0, 1])}, "relabel must change the label"),
        ({"new_label": torch.tensor([0, -1])}, "relabel needs a class"),
        ({"action": torch.tensor([0, 2])}, "drop has no label"),
        ({"score": torch.tensor([0.0, torch.nan])}, "a score cannot be NaN"),
    ],
)
def test_refusals(change, message):
    Verdict(**COLUMNS)
    with pytest.raises(ValueError, match=message):
        Verdict(**{**COLUMNS, **change})


def test_hash_is_of_labels_and_actions():
    """The hash is part of cache keys: what changes the training changes it, and nothing else does."""
    verdict = simple()
    other_words = Verdict(tuple("wxyz"), verdict.label, verdict.action, verdict.new_label, torch.ones(4), ("?",) * 4)
    assert other_words.hash() == verdict.hash() == "f1e8a3d19fd8bd66"
    base = Verdict.keep_all("ab", torch.tensor([0, 1]))
    others = [
        Verdict.keep_all("ab", torch.tensor([1, 0])),
        Verdict.keep_all("abc", torch.tensor([0, 1, 1])),
        Verdict.keep_mask("ab", torch.tensor([0, 1]), torch.tensor([True, False])),
        Verdict.from_labels("ab", torch.tensor([0, 1]), torch.tensor([0, 2])),
        Verdict.from_labels("ab", torch.tensor([0, 1]), torch.tensor([0, 3])),
        Verdict.keep_all("", torch.zeros(0, dtype=torch.long)),
    ]
    assert len({v.hash() for v in [base, *others]}) == len(others) + 1


def test_hash_tells_a_withheld_label_from_a_dropped_one():
    label = torch.tensor([-1])
    assert Verdict.keep_all("a", label).hash() != Verdict.keep_mask("a", label, torch.tensor([False])).hash()


@pytest.mark.parametrize("name", ["verdict.parquet", "."])
@pytest.mark.parametrize("make", [simple, nasty, lambda: Verdict.keep_all((), torch.zeros(0, dtype=torch.long))])
@pytest.mark.parametrize("classes", [(), ("=cat", "d\nog", os.fsdecode(b"\xe9"))])
def test_round_trip(tmp_path, name, make, classes):
    verdict = make()
    path = verdict.save(tmp_path / "new" / "run", classes=classes)
    again = Verdict.load(path.parent / name)
    assert same(again, verdict)
    assert again.hash() == verdict.hash()
    assert again.score.signbit().equal(verdict.score.signbit())
    assert sorted(p.name for p in path.parent.iterdir()) == ["verdict.csv", "verdict.parquet"]


def test_parquet_holds_texts_unaltered(tmp_path):
    """Names that look like formulas are as they are; names that are not UTF-8 make the column one of bytes."""
    names = [name for name in NASTY if name.isascii()]
    label = torch.zeros(len(names), dtype=torch.long)
    frame = pd.read_parquet(Verdict.keep_all(names, label).save(tmp_path, classes=["cat"]))
    assert frame["id"].tolist() == names
    assert frame["label_name"].tolist() == ["cat"] * len(names)
    frame = pd.read_parquet(nasty().save(tmp_path))
    assert frame["id"].tolist() == [os.fsencode(name) for name in NASTY]


def test_csv_is_safe_to_open(tmp_path):
    """No cell of text begins like a formula, in whatever column, and all are in quotes."""
    nasty().save(tmp_path, classes=("=cat", "@dog", "+1"))
    with (tmp_path / "verdict.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    for column in ("id", "action", "reason", "label_name", "new_label_name"):
        assert not [row[column] for row in rows if row[column].startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20\t\r\n"))]
    assert rows[0]["id"] == "cats/1.png"
    assert rows[6]["id"] == "'=1+1.png"
    assert rows[1]["label_name"] == "'=cat"
    label = torch.tensor([0])
    Verdict.keep_all(["a.png"], label).save(tmp_path, classes=["cat"])
    assert (tmp_path / "verdict.csv").read_bytes().splitlines()[1] == b'"a.png",0,"keep",0,0.0,"","cat","cat"'


def test_csv_reads_in_pandas(tmp_path):
    simple().save(tmp_path, classes=["cat", "dog", "eel"])
    frame = pd.read_csv(tmp_path / "verdict.csv", keep_default_na=False)
    assert frame["action"].tolist() == ["keep", "relabel", "drop", "keep"]
    assert frame["score"].tolist() == [0.1, 0.9, 0.8, 0.0]
    assert frame["new_label_name"].tolist() == ["cat", "cat", "", ""]


def test_to_frame():
    frame = nasty().to_frame(("x", "y", "z"))
    assert frame["id"].tolist() == list(NASTY)
    assert frame["reason"].tolist() == list(NASTY[::-1])
    assert list(frame) == ["id", "label", "action", "new_label", "score", "reason", "label_name", "new_label_name"]
    assert frame["label_name"].tolist()[:5] == ["", "x", "y", "z", ""]
    verdict = simple()
    frame = verdict.to_frame()
    frame.loc[0, "label"] = 9
    assert verdict.label[0] == 0
    assert frame["action"].tolist() == ["keep", "relabel", "drop", "keep"]
    assert frame["action"].value_counts().to_dict() == {"keep": 2, "relabel": 1, "drop": 1}


def test_too_few_class_names(tmp_path):
    with pytest.raises(ValueError, match="classes has 2 names, but the verdict speaks of class 2"):
        simple().save(tmp_path, classes=["cat", "dog"])
    assert not list(tmp_path.iterdir())


DAMAGES = {
    "columns are missing": ({"score": None}, "it needs each of id, label, action, new_label, score, reason once"),
    "unknown action": ({"action": ["keep", "relabel", "remove", "keep"]}, "action is one of .*, not 'remove'"),
    "action of lists": ({"action": [["keep"]] * 4}, "action holds texts, not list"),
    "label is text": ({"label": ["cat", "0", "1", "2"]}, r"label is a whole number, not 'cat' \(row 0\)"),
    "label is a fraction": ({"new_label": [0.0, 0.0, -1.0, -1.0]}, r"new_label is a whole number, not 0.0 \(row 0\)"),
    "label is missing": ({"label": pd.array([0, None, 2, -1], dtype="Int64")}, "label is a whole number, not None"),
    "score is text": ({"score": ["much"] * 4}, "score is a number, not 'much'"),
    "score is NaN": ({"score": [0.0, float("nan"), 0.0, 0.0]}, "a score cannot be NaN|score is a number"),
    "relabel to itself": ({"new_label": [0, 1, -1, -1]}, "relabel must change the label"),
    "twice the same id": ({"id": ["a", "a", "b", "c"]}, "'a' occurs twice"),
    "id is a number": ({"id": [1, 2, 3, 4]}, "id holds texts, not int"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_table_of_another_schema_is_refused_with_what_is_wrong(tmp_path, damage):
    columns, message = DAMAGES[damage]
    frame = simple().to_frame().assign(**{name: values for name, values in columns.items() if values is not None})
    path = tmp_path / "verdict.parquet"
    frame.drop(columns=[name for name, values in columns.items() if values is None]).to_parquet(path)
    with pytest.raises(ValueError, match=message) as error:
        Verdict.load(path)
    assert f"{path} is damaged or not a verdict" in str(error.value)


def test_class_names_come_back_with_the_verdict(tmp_path):
    names = ("=cat", "d\nog", os.fsdecode(b"\xe9"))
    path = simple().save(tmp_path, classes=names)
    assert Verdict.load_classes(path) == names
    assert Verdict.load_classes(simple().save(tmp_path)) == ("0", "1", "2")


def test_a_class_number_that_no_data_set_has_is_refused_at_once(tmp_path):
    label = torch.tensor([10**12])
    path = Verdict.keep_all(["a"], label).save(tmp_path)
    with pytest.raises(ValueError, match="it speaks of class 1000000000000"):
        Verdict.load_classes(path)


def test_damaged_parquet(tmp_path):
    path = nasty().save(tmp_path)
    whole = path.read_bytes()
    for part in (b"", b"PAR1", whole[: len(whole) // 2], whole[100:], b"x" * 1000):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="is damaged or not a verdict"):
            Verdict.load(path)
    frame = simple().to_frame()
    for wrong in (frame.drop(columns="score"), frame.assign(label=[0.0, 1.0, 2.0, -1.0]), frame.assign(id=range(4)),
                  frame.assign(id=["a", "b", None, "d"]), frame.assign(action=[0, 1, 2, 0])):  # fmt: skip
        wrong.to_parquet(path)
        with pytest.raises(ValueError, match="is damaged or not a verdict"):
            Verdict.load(path)


def test_flipped_bytes_never_pass_unnoticed_as_another_error(tmp_path):
    """Whatever a damaged file holds, the answer is a verdict or a ValueError."""
    path = simple().save(tmp_path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 37):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            Verdict.load(path)
        except ValueError as error:
            assert "is damaged" in str(error)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no verdict at"):
        Verdict.load(tmp_path)
    with pytest.raises(ValueError, match=r"read from its \.parquet file, .*: a \.csv file is for people"):
        Verdict.load(tmp_path / "verdict.csv")


def test_an_interrupted_save_leaves_the_old_files(tmp_path, monkeypatch):
    simple().save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self, file, names):
        file.write("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Verdict, "_write_csv", full)
    with pytest.raises(OSError, match="no space"):
        nasty().save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_many_rows(tmp_path):
    n = 50_000
    label = torch.arange(n) % 10
    keep = torch.rand(n, generator=torch.Generator().manual_seed(0)) < 0.9
    verdict = Verdict.keep_mask([str(i) for i in range(n)], label, keep, torch.rand(n), "far")
    verdict.save(tmp_path)
    assert same(Verdict.load(tmp_path), verdict)


def test_importing_is_cheap():
    """Neither pandas nor pyarrow is loaded before a table is asked for."""
    code = "import sys, cleanse.verdict; sys.exit(bool({'pyarrow', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
