"""`cleanse poison`: a poisoned data set as files that describe themselves."""

import csv
import json
import os
from pathlib import Path

import pytest
import torch
import yaml

from cleanse.attacks import BadNets
from cleanse.cli.main import main
from cleanse.cli.poison import freeze
from cleanse.data import Digits, Frozen, ImageFolder, Images

DIGITS = ("poison", "--config", "data/digits.yaml", "--data.limit_train", "200", "--data.limit_test", "80")
BADNETS = (*DIGITS, "--config", "attacks/badnets.yaml")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and the last line of standard error; nothing may be on standard output."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return int(stopped.value.code or 0), err.strip().splitlines()[-1]


def test_what_it_leaves(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main([*BADNETS, "--out", "made/it"])
    out, err = capfd.readouterr()
    assert out == "made/it\n"
    assert "18 of 200 images poisoned" in err
    assert "%|" not in err  # no bar in a file
    made = tmp_path / "made" / "it"
    names = {"train", "test", "triggered", "rows.csv", "trigger.pt", "attack.yaml", "README.md"}
    assert {path.name for path in made.iterdir()} == names
    assert os.listdir(made.parent) == ["it"]
    with (made / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert sum(row["role"] == "poison" for row in rows) == 18
    for row in rows:
        assert (made / row["file"]).is_file()
        assert row["file"].split("/")[1] == row["given_label"]
        assert (row["given_label"] != row["true_label"]) == (row["role"] == "poison")
    assert {str(p.relative_to(made)) for p in made.glob("train/*/*")} == {row["file"] for row in rows}
    tests = {"/".join(p.parts[-2:]) for p in made.glob("test/*/*")}
    assert len(tests) == 80
    assert {"/".join(p.parts[-2:]) for p in made.glob("triggered/*/*")} == {t for t in tests if t[0] != "0"}
    state = torch.load(made / "trigger.pt", weights_only=True)
    assert set(state) == {"trigger_image", "trigger_mask"}
    card = yaml.safe_load((made / "attack.yaml").read_text())
    assert (card["class_path"], card["seed"]) == ("cleanse.attacks.badnets.BadNets", 0)
    assert card["init_args"]["class_rate"] == 0.1
    assert card["classes"] == [str(i) for i in range(10)]
    readme = (made / "README.md").read_text()
    assert "200 training images: 182 clean, 18 poison, 0 cover" in readme
    assert "data/frozen.yaml" in readme
    for name in ("rows.csv", "attack.yaml", "trigger.pt", "triggered"):
        assert f"* `{name}" in readme.split("What holds the answer")[1].split("## Load")[0]


@pytest.mark.parametrize("first", ["attack", "data"])
def test_it_is_what_fit_would_train_on(first: str) -> None:
    """The same seed, the same images; and a fragment with the attack may come before or after the data."""
    configs = ["--config", "attacks/badnets.yaml", "--config=data/digits.yaml"]
    order = configs if first == "attack" else [configs[2], *configs[:2]]
    main(["poison", *order, "--seed_everything", "5", "--data.limit_train", "150", "--out", "out"])
    attack = BadNets(pattern="checkerboard", class_rate=0.1)
    original, frozen = Digits(attack=attack, limit_train=150, seed=5), Frozen("out")
    card = yaml.safe_load(Path("out/attack.yaml").read_text())["init_args"]
    assert card == attack.arguments
    assert torch.equal(frozen.training_view().source.image, original.training_view().source.image)
    assert torch.equal(frozen.truth.role, original.truth.role)
    triggered = original.triggered_test()
    assert triggered is not None
    assert torch.equal(frozen.triggered_test().source.image, triggered.source.image)


def test_the_config_of_a_recipe_will_do_and_a_recipe_runs_on_the_result(capfd: pytest.CaptureFixture[str]) -> None:
    recipe = ("--config", "none.yaml", "--config", "quick.yaml")
    main(["poison", *recipe, *BADNETS[3:], "--out", "out"])
    main(
        ["fit", *recipe, "--config", "data/frozen.yaml", "--data.root", "out", "--model.epochs", "1", "--compare", "[]"]
    )
    run = Path(capfd.readouterr().out.splitlines()[-1])
    results = json.loads((run / "results.json").read_text())
    assert (results["attack"], results["data"]) == ("BadNets", "Frozen")
    assert (results["poisoned"], results["train_images"], results["test_images"]) == (18, 200, 80)
    assert 0 <= results["asr"] <= 1
    assert results["tpr"] == 0


def test_an_attack_that_trains_something_does_so_once(capfd: pytest.CaptureFixture[str]) -> None:
    """What `fit` has trained for the attack is read back, so the images are those of the run; `export` has them too."""
    small = ("--data.attack.surrogate_epochs", "1", "--data.attack.epochs", "1", "--data.attack.size", "3")
    words = ("--config", "quick.yaml", "--config", "attacks/adaptive_patch.yaml", *small, *DIGITS[3:])
    main(["fit", "--config", "none.yaml", *words, "--model.epochs", "1", "--compare", "[]"])
    run = capfd.readouterr().out.splitlines()[-1]
    trained = sorted(os.listdir("runs"))
    main(["poison", "--config", "data/digits.yaml", *words, "--out", "one"])
    main(["poison", "--config", f"{run}/config.yaml", "--out", "two"])
    main(["export", run, "--out", "three"])
    assert sorted(os.listdir("runs")) == trained
    one, two = Frozen("one"), Frozen("two")
    assert one.attack is not None
    assert one.attack.state_dict()["patch"].shape == (1, 3, 3)
    assert torch.equal(one.training_view().source.image, two.training_view().source.image)
    with Path("one/rows.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            exported = Path("three", row["given_label"], f"{row['original']}.png")
            assert exported.read_bytes() == Path("one", row["file"]).read_bytes()
    main(["poison", "--config", "data/digits.yaml", *words, "--out", "four", "--root", "elsewhere"])
    assert len(list(Path("elsewhere").glob("*/stage.json"))) == 2
    assert (Path("four") / "trigger.pt").is_file()


def test_mistakes_are_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    out = ("--out", "out")
    assert refused(capfd, *BADNETS) == (2, "cleanse: say which folder to make: --out DIR")
    status, said = refused(capfd, *DIGITS, *out)
    assert status == 2
    assert "there is no attack: name one after the data" in said
    status, said = refused(capfd, "poison", *out)
    assert status == 2
    assert "data is missing" in said
    status, said = refused(capfd, "poison", "--config", "nope.yaml", *out)
    assert status == 2
    assert "there is no config file 'nope.yaml'" in said
    status, said = refused(capfd, *BADNETS, *out, "--data.attack.class_rate", "1.5")
    assert status == 2
    assert "class_rate is a fraction" in said
    status, said = refused(capfd, *BADNETS, *out, "--data.attack.size", "9")
    assert status == 1
    assert "the images have only 8 rows" in said
    status, said = refused(capfd, *BADNETS, *out, "--nope", "1")
    assert status == 2
    assert "nope" in said
    assert os.listdir() == []


def test_a_folder_in_use_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    Path("full").mkdir()
    Path("full/mine").write_text("mine")
    Path("file").write_text("mine")
    Path("dangling").symlink_to("nowhere")
    for name in ("full", "file", "dangling", ".."):
        status, said = refused(capfd, *BADNETS, "--out", name)
        assert status == 1
        assert "not an empty folder" in said
    assert sorted(os.listdir()) == ["dangling", "file", "full"]
    assert os.listdir("full") == ["mine"]
    Path("empty").mkdir()
    main([*BADNETS, "--out", "empty/"])
    assert (Path("empty") / "rows.csv").is_file()
    assert not list(Path().glob("*.part"))
    assert not list(Path().glob(".*"))


def test_a_frozen_set_is_not_frozen_again(capfd: pytest.CaptureFixture[str]) -> None:
    main([*BADNETS, "--out", "out"])
    capfd.readouterr()
    status, said = refused(capfd, "poison", "--config", "data/frozen.yaml", "--data.root", "out", "--out", "again")
    assert status == 1
    assert "frozen data set already" in said
    assert os.listdir() == ["out"]


def test_the_source_is_not_written_to(tmp_path: Path) -> None:
    from PIL import Image

    for c in "ab":
        (tmp_path / "in" / c).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (4, 4), i).save(tmp_path / "in" / c / f"{i}.png")
    data = ImageFolder("in", size=4, attack=BadNets(class_rate=0.5, size=2), seed=0)
    with pytest.raises(ValueError, match="inside the source"):
        freeze(data, "in/c")
    with pytest.raises(ValueError, match="no attack to freeze"):
        freeze(ImageFolder("in", size=4), "out")
    assert sorted(os.listdir("in")) == ["a", "b"]


class Deep(Digits):
    """Digits in five channels."""

    mean = std = ()

    def load(self, train: bool) -> Images:
        images = super().load(train)
        return Images(images.image.repeat(1, 5, 1, 1), images.label, images.id)


def test_images_that_no_png_file_keeps_are_refused(tmp_path: Path) -> None:
    attack = BadNets(class_rate=0.1, pattern="noise")
    with pytest.raises(ValueError, match="5 channels, but a PNG file keeps 1"):
        freeze(Deep(attack=attack, limit_train=100, limit_test=40, seed=0), "out")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_an_interrupted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import cleanse.cli.poison

    saved = cleanse.cli.poison.save_png

    def interrupted(image: torch.Tensor, path: Path) -> None:
        if "0042" in path.name or "042" in path.name:
            raise KeyboardInterrupt
        saved(image, path)

    monkeypatch.setattr(cleanse.cli.poison, "save_png", interrupted)
    with pytest.raises(SystemExit) as stopped:
        main([*BADNETS, "--out", "out"])
    assert stopped.value.code == 130
    assert os.listdir() == []
