"""`cleanse import`: sets in the layouts of BackdoorBench and backdoor-toolbox become frozen ones; evil ones do not."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cleanse.attacks import CLEAN, COVER, POISON
from cleanse.cli.import_set import imported
from cleanse.cli.main import main
from cleanse.data import Digits, Frozen
from cleanse.data.foreign import aims, numbers

CONFIG = ("--config", "data/digits.yaml", "--out", "out")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    data = Digits()
    train, test = data.training_view(), data.clean_test()
    assert test is not None
    return train.source.image, train.label, test.source.image, test.label


Parts = tuple[Tensor, Tensor, Tensor, Tensor]


def stamped(image: Tensor) -> Tensor:
    out = image.clone()
    out[..., 6:, 6:] = 200
    return out


def bench_part(
    root: Path, name: str, image: Tensor, label: Tensor, rows: list[int], given: list[int]
) -> dict[str, Any]:
    """One part as `prepro_cls_DatasetBD_v2.retrieve_state` gives it: its keys, NumPy arrays and paths included."""
    held = {}
    for row, new in zip(rows, given, strict=True):
        folder = root / name / str(int(label[row]))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stamped(image[row])[0].numpy()).convert("RGB").save(folder / f"{row}.png")
        path = f"../record/{root.name}/{name}/{int(label[row])}/{row}.png"
        held[np.int64(row)] = {"path": path, "other_info": [new, int(label[row])]}
    indicator = np.zeros(len(label), dtype=np.int64)
    indicator[rows] = 1
    container = {"save_folder_path": f"../record/{root.name}/{name}", "data_dict": held, "save_file_format": ".png"}
    return {
        "bd_data_container": container, "getitem_all": True, "getitem_all_switch": False,
        "original_index_array": np.arange(len(label)), "poison_indicator": indicator,
        "save_folder_path": container["save_folder_path"],
    }  # fmt: skip


def bench(root: Path, digits: Parts, labels: str = "target", covers: int = 0) -> dict[str, Any]:
    """A set of BackdoorBench in ``root``; what is in its attack_result.pt."""
    image, label, test_image, test_label = digits
    root.mkdir(parents=True)
    rows = (label != 3).nonzero().flatten()[:60].tolist()
    if labels == "any":
        rows = list(range(60))
    if labels == "clean":
        rows = (label == 3).nonzero().flatten()[:40].tolist()
    new = [int((label[r] + 1) % 10) if labels == "next" else 3 for r in rows]
    if covers:
        new[-covers:] = label[rows[-covers:]].tolist()
    tested = list(range(len(test_label))) if labels == "next" else (test_label != 3).nonzero().flatten().tolist()
    aimed = [int((test_label[r] + 1) % 10) if labels == "next" else 3 for r in tested]
    test = bench_part(root, "bd_test_dataset", test_image, test_label, tested, aimed)
    test["original_index_array"] = np.array(tested)
    found = {
        "model_name": "preactresnet18", "num_classes": 10, "model": {"conv1.weight": torch.zeros(2, 1, 3, 3)},
        "data_path": "../data/digits", "img_size": (8, 8, 1), "clean_data": "digits",
        "bd_train": bench_part(root, "bd_train_dataset", image, label, rows, new), "bd_test": test,
    }  # fmt: skip
    torch.save(found, root / "attack_result.pt")
    return found


def toolbox(root: Path, digits: Parts, pictures: bool = False) -> None:
    """A set of backdoor-toolbox, in its newer form or its older one."""
    image, label = digits[0].clone(), digits[1].clone()
    root.mkdir(parents=True)
    poison, cover = list(range(0, 50, 2)), [1, 3, 5]
    rows = torch.tensor(sorted(poison + cover))
    image[rows] = stamped(image[rows])
    label[torch.tensor(poison)] = 0
    if pictures:
        (root / "data").mkdir()
        for i, one in enumerate(image):
            Image.fromarray(one[0].numpy()).convert("RGB").save(root / "data" / f"{i}.png")
    else:
        torch.save(image.float() / 255, root / "imgs")
    torch.save(label, root / "labels")
    torch.save(poison, root / "poison_indices")
    torch.save(cover, root / "cover_indices")


def test_backdoorbench_becomes_a_frozen_set(tmp_path: Path, digits: Parts, capfd: pytest.CaptureFixture[str]) -> None:
    bench(tmp_path / "record" / "badnet_0_1", digits)
    main(["import", "backdoorbench", "record/badnet_0_1", *CONFIG])
    assert capfd.readouterr().out == "out\n"
    image, label, test_image, test_label = digits
    frozen, rows = Frozen("out"), (label != 3).nonzero().flatten()[:60]
    view, triggered = frozen.training_view(), frozen.triggered_test()
    assert triggered is not None
    assert torch.equal(frozen.truth.poisoned.nonzero().flatten(), rows)
    assert torch.equal(view.source.image[rows], stamped(image[rows]))
    assert torch.equal(view.source.image[frozen.truth.role == CLEAN], image[frozen.truth.role == CLEAN])
    assert set(view.label[rows].tolist()) == {3}
    assert torch.equal(frozen.truth.true_label, label)
    assert torch.equal(triggered.source.image, stamped(test_image[test_label != 3]))
    assert torch.equal(triggered.label, test_label[test_label != 3])
    assert frozen.attack is not None
    assert (frozen.attack.target, frozen.attack.labels) == (3, "target")


def test_a_run_on_it_has_every_figure(tmp_path: Path, digits: Parts, capfd: pytest.CaptureFixture[str]) -> None:
    bench(tmp_path / "record" / "badnet_0_1", digits)
    main(["import", "backdoorbench", "record/badnet_0_1", *CONFIG])
    main(
        ["fit", "--config", "none.yaml", "--config", "quick.yaml", "--config", "data/frozen.yaml", "--data.root", "out",
         "--model.epochs", "1", "--compare", "[]"]
    )  # fmt: skip
    results = json.loads((Path(capfd.readouterr().out.splitlines()[-1]) / "results.json").read_text())
    assert 0 <= results["asr"] <= 1
    assert (results["attack"], results["poisoned"]) == ("Imported", 60)


@pytest.mark.parametrize(("labels", "mode"), [("next", "next"), ("clean", "target")])
def test_label_modes_of_backdoorbench(labels: str, mode: str, tmp_path: Path, digits: Parts) -> None:
    bench(tmp_path / "set", digits, labels)
    data, triggered = imported("backdoorbench", tmp_path / "set", Digits())
    assert data.attack is not None
    assert data.attack.labels == mode
    assert data.truth.count(POISON) == (60 if labels == "next" else 40)
    assert len(triggered[0]) == (397 if labels == "next" else int((digits[3] != 3).sum()))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("target", r"\(not of class 3 -> 3\): 60 of 1400 .*, of 1257 eligible \(class rate 4.77%\)"),
        ("any", r"\(any class -> 3\): 60 of 1400 .*, of 1400 eligible \(class rate 4.29%\)"),  # of class 3, too
        ("clean", r"\(class 3, labels kept -> 3\): 40 of 1400 .*, of 143 eligible \(class rate 27.97%\)"),
    ],
)
def test_eligible_is_whom_the_other_tool_may_have_poisoned(
    labels: str, words: str, tmp_path: Path, digits: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "cleanse")
    bench(tmp_path / "set", digits, labels)
    imported("backdoorbench", tmp_path / "set", Digits())
    assert re.search(rf"set of backdoorbench {words}", caplog.text)


def test_covers_of_backdoorbench_are_no_poison(tmp_path: Path, digits: Parts) -> None:
    bench(tmp_path / "set", digits, covers=7)
    data, _ = imported("backdoorbench", tmp_path / "set", Digits())
    assert (data.truth.count(POISON), data.truth.count(COVER)) == (53, 7)


@pytest.mark.parametrize("pictures", [False, True], ids=["imgs", "data"])
def test_backdoor_toolbox_becomes_a_frozen_set(
    pictures: bool, tmp_path: Path, digits: Parts, capfd: pytest.CaptureFixture[str]
) -> None:
    toolbox(tmp_path / "badnet", digits, pictures)
    main(["import", "backdoor-toolbox", "badnet", *CONFIG])
    assert "ASR, RA and TMR cannot be measured" in capfd.readouterr().err
    frozen = Frozen("out")
    view = frozen.training_view()
    poison, cover = torch.arange(0, 50, 2), torch.tensor([1, 3, 5])
    assert torch.equal(frozen.truth.poisoned.nonzero().flatten(), poison)
    assert torch.equal((frozen.truth.role == COVER).nonzero().flatten(), cover)
    assert torch.equal(view.source.image[poison], stamped(digits[0][poison]))
    assert torch.equal(frozen.truth.true_label, digits[1])
    assert set(view.label[poison].tolist()) == {0}
    assert frozen.triggered_tests() == ()
    assert frozen.triggered_test() is None


def test_without_triggered_images_detection_is_measured_and_asr_is_not(
    tmp_path: Path, digits: Parts, capfd: pytest.CaptureFixture[str]
) -> None:
    toolbox(tmp_path / "badnet", digits)
    main(["import", "backdoor-toolbox", "badnet", *CONFIG])
    main(
        ["fit", "--config", "none.yaml", "--config", "quick.yaml", "--config", "data/frozen.yaml", "--data.root", "out",
         "--model.epochs", "1", "--compare", "[]", "--watch", "true"]
    )  # fmt: skip
    results = json.loads((Path(capfd.readouterr().out.splitlines()[-1]) / "results.json").read_text())
    assert results["asr"] is None
    assert results["tpr"] == 0
    assert 0 <= results["sa"] <= 1


# --- from a stranger ---
def refused(*words: str) -> str:
    with pytest.raises(ValueError, match=r".") as error:  # UsageError is one
        from cleanse.cli.import_set import import_set

        import_set(list(words))
    assert not Path("out").exists()
    return str(error.value)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("ran"),))


@pytest.mark.parametrize("name", ["labels", "poison_indices", "cover_indices", "imgs"])
def test_code_in_a_file_of_backdoor_toolbox_does_not_run(name: str, tmp_path: Path, digits: Parts) -> None:
    toolbox(tmp_path / "badnet", digits)
    torch.save([Evil()], tmp_path / "badnet" / name)
    assert "holds objects whose loading would run code" in refused("backdoor-toolbox", "badnet", *CONFIG)
    assert not Path("ran").exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_attack_result_does_not_run(protocol: int, tmp_path: Path, digits: Parts) -> None:
    found = bench(tmp_path / "set", digits)
    torch.save(found | {"model": Evil()}, tmp_path / "set" / "attack_result.pt", pickle_protocol=protocol)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert "holds objects whose loading would run code" in refused("backdoorbench", "set", *CONFIG)
    assert not [one for one in warned if "pickle" in str(one.message)]
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "record/set/bd_train_dataset/../../secret.png", "record/set/bd_train_dataset/0/../../x.png",
        "bd_train_dataset/..", "bd_train_dataset/0/deep/1.png", "bd_train_dataset//1.png", "",
    ],
)  # fmt: skip
def test_a_path_that_leaves_the_folder_is_refused(path: str, tmp_path: Path, digits: Parts) -> None:
    found = bench(tmp_path / "set", digits)
    held = found["bd_train"]["bd_data_container"]["data_dict"]
    held[next(iter(held))]["path"] = path
    torch.save(found, tmp_path / "set" / "attack_result.pt")
    said = refused("backdoorbench", "set", *CONFIG)
    assert "not read" in said


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, digits: Parts) -> None:
    bench(tmp_path / "set", digits)
    picture = next((tmp_path / "set" / "bd_train_dataset").rglob("*.png"))
    picture.rename(tmp_path / "elsewhere.png")
    picture.symlink_to(tmp_path / "elsewhere.png")
    assert "is not a file inside" in refused("backdoorbench", "set", *CONFIG)


def test_another_order_is_noticed(tmp_path: Path, digits: Parts) -> None:
    image, label, test_image, test_label = digits
    bench(tmp_path / "set", (image.flip(0), label.flip(0), test_image, test_label))
    assert "another data set, or in another order" in refused("backdoorbench", "set", *CONFIG)
    toolbox(tmp_path / "badnet", (image.flip(0), label.flip(0), test_image, test_label))
    assert "another data set, or in another order" in refused("backdoor-toolbox", "badnet", *CONFIG)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("labels", torch.zeros(7, dtype=torch.int64), "labels has 7 rows, but the data set 1400"),
        ("poison_indices", [0, 1400], "names row 1400, but the data set has 1400"),
        ("poison_indices", [-1], "names row -1"),
        ("poison_indices", [4, 4], "names a row twice"),
        ("poison_indices", [0, 1, *range(2, 50, 2)], "a row is in poison_indices and in cover_indices"),
        ("poison_indices", ["a"], "holds something else"),
        ("imgs", torch.zeros(1400, 3, 8, 8), "takes as many floats"),
        ("imgs", torch.zeros(1400, 1, 8, 8, dtype=torch.uint8), "takes as many floats"),
        ("imgs", torch.full((1400, 1, 8, 8), 1.5), r"values outside of \[0, 1\]"),
        ("imgs", torch.full((1400, 1, 8, 8), float("nan")), r"values outside of \[0, 1\]"),
        ("imgs", torch.zeros(1).expand(1400, 1, 8, 8), "larger than its content"),
    ],
)  # fmt: skip
def test_damaged_sets_of_backdoor_toolbox(name: str, value: Any, message: str, tmp_path: Path, digits: Parts) -> None:
    toolbox(tmp_path / "badnet", digits)
    torch.save(value, tmp_path / "badnet" / name)
    with pytest.raises(ValueError, match=message):
        imported("backdoor-toolbox", tmp_path / "badnet", Digits())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bd_train": None}, "keeps no training set"),
        ({"bd_test": {}}, "has no index of bd_test_dataset"),
        ({"bd_train": {"bd_data_container": {"data_dict": {}}, "poison_indicator": np.ones(9),
                       "original_index_array": np.arange(9)}}, "is of 9 images, but the data set has 1400"),
        ({"bd_train": {"bd_data_container": {"data_dict": {}}, "poison_indicator": np.ones(1400),
                       "original_index_array": np.arange(1400)}}, "has no picture of row 0"),
        ({"bd_train": {"bd_data_container": {"data_dict": {"a": 1}}, "poison_indicator": np.ones(1400),
                       "original_index_array": np.arange(1400)}},
         "the index of bd_train_dataset in attack_result.pt is a list of whole numbers, but it holds something else"),
    ],
)  # fmt: skip
def test_damaged_sets_of_backdoorbench(change: dict[str, Any], message: str, tmp_path: Path, digits: Parts) -> None:
    found = bench(tmp_path / "set", digits)
    torch.save(found | change, tmp_path / "set" / "attack_result.pt")
    with pytest.raises(ValueError, match=message):
        imported("backdoorbench", tmp_path / "set", Digits())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("backdoorbox", "set"), "say which tool and which folder"),
        ((), "say which tool and which folder"),
        (("backdoorbench", "none", *CONFIG), "'none' is no folder"),
        (("backdoorbench", ".", "--config", "data/digits.yaml"), "say which folder to make"),
        (("backdoorbench", ".", *CONFIG), "is missing"),
        (("backdoorbench", ".", *CONFIG, "--data.limit_train", "50"), "leave limit_train out"),
        (("backdoorbench", ".", *CONFIG, "--config", "attacks/badnets.yaml"), "leave the attack out"),
    ],
)
def test_wrong_arguments(words: tuple[str, ...], message: str) -> None:
    assert message in refused(*words)


def test_what_a_label_column_says() -> None:
    true = torch.tensor([0, 1, 2])
    assert aims(torch.tensor([2, 0, 1]), true, 3) == {"labels": "random"}
    assert numbers(np.array([1.0, 2.0]), "x").tolist() == [1, 2]
    for other in (torch.tensor([1.5]), [2**63]):
        with pytest.raises(ValueError, match="x is a list of whole numbers, but it holds others"):
            numbers(other, "x")
