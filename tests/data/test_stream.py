"""Images that stay on disk are the images in memory, bit for bit, and a cache that is not whole is made again."""

from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from cleanse.attacks import BadNets
from cleanse.data import ImageDataModule, ImageFolder, mapped
from cleanse.engine.fingerprint import describe
from cleanse.experiments.parser import Parser
from cleanse.utils.configs import CONFIGS

TRIGGER = {"target": 0, "poison_rate": 0.2, "size": 3}


def write(root: Path, folders: dict[str, int], color: bool = True, side: int = 12) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, count in folders.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = torch.randint(256, (side, side + 1, 3), generator=generator, dtype=torch.uint8).numpy()
            Image.fromarray(pixels if color else pixels[..., 0]).save(root / name / f"{i}.png")


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("limit", [None, 20])
def test_streamed_is_the_same_bit_for_bit(
    tmp_path: Path, color: bool, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = tmp_path / "photos", tmp_path / "cache"
    write(root, {"a": 20, "b": 21}, color)
    (root / "a" / "0.png").write_bytes(b"torn")
    monkeypatch.setattr(mapped, "CHUNK", 5 * 3 * 8 * 8)  # many parts
    made = []
    for stream in (False, True, True):  # decoded, then from the cache
        data = ImageFolder(
            str(root), size=8, stream=stream, cache=str(cache), attack=BadNets(**TRIGGER), limit_train=limit,
            limit_test=5, seed=3, holdout=0.2,
        )  # fmt: skip
        made.append((data, data.training_view(), data.clean_test(), data.triggered_test()))
    plain = made[0]
    for data, *views in made[1:]:
        for view, reference in zip(views, plain[1:], strict=True):
            assert view is not None
            assert reference is not None
            assert view.source.stream
            assert not reference.source.stream
            assert torch.equal(view.source.image, reference.source.image)
            assert view.id == reference.id
            assert torch.equal(view.label, reference.label)
            assert view.spec() == reference.spec()
            assert (view.mean, view.std) == (reference.mean, reference.std)
        assert data.truth.role.tolist() == plain[0].truth.role.tolist()
        assert data.truth.role.any()
        assert data.unreadable == plain[0].unreadable
    names = {path.suffix for path in cache.iterdir()}
    assert names == {".images", ".json", ".lock"}  # scratch files have no name


def test_poison_does_not_reach_the_file(tmp_path: Path) -> None:
    write(tmp_path / "photos", {"a": 6, "b": 6})
    data = ImageFolder(str(tmp_path / "photos"), size=8, stream=True, cache=str(tmp_path / "cache"))
    before = describe(data.load(train=True).image)
    data.load(train=True).image.zero_()
    assert describe(data.load(train=True).image) == before


def test_a_half_written_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def image() -> torch.Tensor:
        data = ImageFolder(str(tmp_path / "photos"), size=8, stream=True, cache=str(tmp_path / "cache"))
        return data.load(train=True).image.clone()

    write(tmp_path / "photos", {"a": 6, "b": 6})
    whole = image()
    (record,), (pixels,) = (tmp_path / "cache").glob("*.json"), (tmp_path / "cache").glob("*.images")
    record.unlink()  # killed after the images, before the record
    pixels.write_bytes(bytes(pixels.stat().st_size))
    assert torch.equal(image(), whole)
    pixels.write_bytes(b"short")
    assert torch.equal(image(), whole)
    Image.new("RGB", (9, 9), "red").save(tmp_path / "photos" / "a" / "0.png")  # in the training part or held out
    Image.new("RGB", (9, 9), "red").save(tmp_path / "photos" / "a" / "1.png")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "photos" / "a" / "2.png")
    assert not torch.equal(image(), whole)


def test_a_full_disk_is_said_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped.os, "posix_fallocate", full, raising=False)
    write(tmp_path / "photos", {"a": 3, "b": 3})
    with pytest.raises(ValueError, match=r"has no room for .*No space left on device.*argument cache"):
        ImageFolder(str(tmp_path / "photos"), stream=True, cache=str(tmp_path / "cache")).load(train=True)
    assert not list((tmp_path / "cache").glob("*.part"))


def test_size_decides_unless_it_is_said() -> None:
    large, small = (39_000, 3, 224, 224), (50_000, 3, 32, 32)
    data = ImageFolder("photos")
    assert data.streams(large)
    assert not data.streams(small)
    assert not ImageFolder("photos", stream=False).streams(large)
    assert ImageFolder("photos", stream=True).streams(small)


def preset(name: str, root: Path, **changes: object) -> ImageFolder:
    config = yaml.safe_load((CONFIGS / "data" / name).read_text())
    config["data"]["init_args"] |= {"root": str(root), "size": 8, **changes}
    parser = Parser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    return parser.instantiate(parser.parse_object(config)).data  # type: ignore[no-any-return]


def test_imagenet_30_is_a_drawn_part_of_the_tree(tmp_path: Path) -> None:
    classes = [f"n{c:08}" for c in range(40)]
    write(tmp_path, {f"train/{c}": 3 for c in classes} | {f"val/{c}": 2 for c in classes}, side=8)
    data = preset("imagenet30.yaml", tmp_path)
    assert len(data.training_view()) == 90
    assert len(data.clean_test()) == 60
    assert data.clean_test().classes == data.classes
    assert len(set(data.classes) & set(classes)) == 30
    assert list(data.classes) == sorted(data.classes)
    assert preset("imagenet30.yaml", tmp_path, seed=5).training_view().classes == data.classes
    assert preset("imagenet30.yaml", tmp_path, class_seed=1).training_view().classes != data.classes
    named = preset("imagenet30.yaml", tmp_path, only=[classes[7], classes[3]])
    assert named.training_view().classes == (classes[3], classes[7])
    for only, said in ((41, "41 classes cannot be drawn of 40"), (["ant", classes[0]], "there is no class 'ant'")):
        with pytest.raises(ValueError, match=said):
            preset("imagenet30.yaml", tmp_path, only=only).training_view()
    with pytest.raises(ValueError, match="has no folder 'validation'"):
        preset("imagenet30.yaml", tmp_path, test_folder="validation").training_view()


def test_vggface2_30_holds_a_part_of_each_person_out(tmp_path: Path) -> None:
    folders = {f"train/n{c:06}": 10 for c in range(32)} | {f"test/n{c:06}": 2 for c in range(90, 93)}
    write(tmp_path, folders, side=8)
    data = preset("vggface2_30.yaml", tmp_path)
    assert len(data.training_view()) == 240
    assert len(data.clean_test()) == 60
    assert {name.split("/")[0] for name in data.clean_test().id} == {"train"}
    with pytest.raises(ValueError, match="set test_folder to null"):
        preset("vggface2_30.yaml", tmp_path, test_folder="test").training_view()
