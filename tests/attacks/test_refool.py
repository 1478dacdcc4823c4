"""Refool: its two kinds of reflection against a loop over pixels, its pictures, and that it is frozen."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from kornia.filters import gaussian_blur2d
from PIL import Image
from read_back import assert_its_trigger_is_read_back
from torch import Tensor

from cleanse.attacks import POISON, Refool
from cleanse.attacks.badnets import resize
from cleanse.attacks.base import match_channels
from cleanse.attacks.refool import _window, synthetic
from cleanse.data import Digits
from cleanse.engine.fingerprint import hash_of


def drawn(channels: int = 3, size: int = 16, seed: int = 0, **arguments: Any) -> Refool:
    attack = Refool(**{"class_rate": 0.5, "reflections": 6, **arguments})
    attack.draw((channels, size, size), torch.Generator().manual_seed(seed))
    return attack


def pictures(count: int = 8, channels: int = 3, size: int = 16) -> Tensor:
    shape = (count, channels, size, size)
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def expected(attack: Refool, image: Tensor) -> Tensor:
    """The blend of one image, value by value."""
    k = int(image.long().sum()) % len(attack.layer)
    out = torch.zeros_like(image)
    for c in range(image.shape[0]):
        light, other = (image[c].double() / 255) ** 2.2, attack.layer[k, c].double()
        total = (light + other).flatten().tolist()
        bright = [value for value in total if value > 1]
        darker = (max(sum(bright) / max(len(bright), 1), 1) - 1) * float(attack.dim[k])
        for y in range(image.shape[1]):
            for x in range(image.shape[2]):
                t, r = float(light[y, x]), float(other[y, x])
                if attack.ghost[k]:
                    value = 0.4 * t + 0.6 * r
                else:
                    value = min(max(r - darker, 0), 1) * float(attack.window[k, y, x]) * 0.8 + 0.4 * t
                out[c, y, x] = round(min(value, 1) ** (1 / 2.2) * 255)
    return out


def test_it_blends_as_written() -> None:
    attack, image = drawn(), pictures()
    kinds = {bool(attack.ghost[int(one.long().sum()) % 6]) for one in image}
    assert kinds == {True, False}
    for one, made in zip(image, attack.trigger(image), strict=True):
        assert int((made.int() - expected(attack, one).int()).abs().max()) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_pane_lies_where_it_was_drawn(seed: int) -> None:
    bare, made = (synthetic(torch.Generator().manual_seed(seed), 100, panes).int() for panes in (0, 1))
    generator = torch.Generator().manual_seed(seed)
    torch.rand(3, 4, 4, generator=generator)
    top, left, height, width, level = torch.rand(5, generator=generator).tolist()
    color = (0.5 + 0.5 * torch.rand(3, generator=generator)) * (0.5 + 0.5 * level)
    rows = slice(int(80 * top), int(80 * top) + 2 + int(40 * height))
    columns = slice(int(80 * left), int(80 * left) + 2 + int(40 * width))
    assert torch.equal(made[:, rows, columns].amax((1, 2)), (255 * color).round().int())
    assert torch.equal(made[:, rows, columns].amin((1, 2)), (255 * color).round().int())
    made[:, rows, columns] = bare[:, rows, columns]
    assert torch.equal(made, bare)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_reflection_is_a_picture_doubled_or_blurred_and_dimmed_as_drawn(channels: int) -> None:
    """Its draws one after the other, on pictures of the size at which shifts and blurs are meant."""
    attack, generator = drawn(channels=channels, size=20, reflections=12), torch.Generator().manual_seed(0)
    for i in range(12):
        made = match_channels(synthetic(generator), channels)
        picture = (resize(made, 560, 560) / 255).clamp(0, 1) ** 2.2
        draws = torch.rand(8, generator=generator).tolist()
        assert bool(attack.ghost[i]) == (draws[0] < 0.49)
        if draws[0] < 0.49:
            down, right = 3 + int(6 * draws[1]), 3 + int(6 * draws[2])
            share = abs(round(draws[3]) - (0.15 + 0.35 * draws[4]))
            light = share * picture[:, down:, right:] + (1 - share) * picture[:, : 560 - down, : 560 - right]
        else:
            sigma = 1 + 4 * draws[1]
            side = 2 * math.ceil(2 * sigma) + 1
            light = gaussian_blur2d(picture[None], side, (sigma, sigma), border_type="replicate")[0]
        assert torch.allclose(attack.layer[i], resize(light, 20, 20), atol=1e-5)
        assert float(attack.dim[i]) == pytest.approx(1.08 + draws[5] / 10)
        assert torch.equal(attack.window[i], _window(20, 20, draws[6], draws[7]))


@pytest.mark.parametrize(("down", "right", "place"), [(0.0, 0.0, (2, 5)), (0.5, 1.0, (4, 15)), (1.0, 0.5, (6, 10))])
def test_a_reflection_is_brightest_at_its_place_in_the_middle_half(
    down: float, right: float, place: tuple[int, int]
) -> None:
    bell = _window(9, 21, down, right)
    assert divmod(int(bell.argmax()), 21) == place
    assert float(bell.max()) == 1
    away = abs(20 - place[1]) / 21
    assert float(bell[place[0], 20]) == pytest.approx(math.exp(-2 * away**2))


def test_an_image_gets_the_same_reflection_whatever_its_batch() -> None:
    attack, image = drawn(), pictures()
    assert torch.equal(attack.trigger(image)[3:4], attack.trigger(image[3:4]))
    assert len(attack.trigger(image[:0])) == 0


def test_images_share_a_family_of_reflections() -> None:
    attack = drawn(reflections=3)
    assert attack.layer.shape == (3, 3, 16, 16)
    assert len({layer.sum().item() for layer in attack.layer}) == 3
    assert not torch.equal(attack.layer, drawn(reflections=3, seed=1).layer)


def test_on_gray_images() -> None:
    attack = drawn(channels=1, size=8)
    assert attack.trigger(pictures(2, 1, 8)).shape == (2, 1, 8, 8)


def test_dirty_labels_and_rows() -> None:
    label = torch.arange(100) % 5
    image = torch.full((100, 1, 8, 8), 40, dtype=torch.uint8)
    made = Refool(class_rate=0.5, target=2).poison(image, label, torch.ones(100, dtype=torch.bool), 5, 0)
    assert int((made.role == POISON).sum()) == 40
    assert set(made.label[made.role == POISON].tolist()) == {2}


def test_own_pictures(tmp_path: Path) -> None:
    """White ones: a ghost of them is as bright as it gets."""
    for i in range(3):
        Image.new("RGB", (40, 30), (255, 255, 255)).save(tmp_path / f"{i}.png")
    attack = drawn(folder=str(tmp_path), reflections=3)
    assert float(attack.layer.min()) > 0.99
    with pytest.raises(ValueError, match="has 3 pictures, but reflections=4"):
        drawn(folder=str(tmp_path), reflections=4)
    (tmp_path / "empty").mkdir()
    for reflections in (1, 20):
        with pytest.raises(ValueError, match="empty' has no PNG or JPEG pictures: name one that has"):
            drawn(folder=str(tmp_path / "empty"), reflections=reflections)
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        drawn(folder=str(tmp_path), reflections=3)


def test_the_key_has_the_pictures_and_not_their_place(tmp_path: Path) -> None:
    for name, level in (("a", 9), ("b", 9), ("c", 10)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / name / "one.png")
    keys = [hash_of(Refool(str(tmp_path / name), 1, count=1)) for name in "abc"]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]


def test_its_files_are_read_back(tmp_path: Path) -> None:
    data = Digits(attack=Refool(class_rate=0.2), limit_train=100, limit_test=40, seed=0)
    assert_its_trigger_is_read_back(data, tmp_path / "out")


def test_synthetic_pictures_have_bright_panes() -> None:
    picture = synthetic(torch.Generator().manual_seed(3))
    assert picture.amax() > 180
    assert picture.float().std() > 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"reflections": 0}, "at least 1, not 0"), ({"transmission": 1.0}, "between 0 and 1, not 1.0")],
)
def test_refuses(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Refool(count=1, **wrong)


def test_refuses_images_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"drawn for images of \(3, 16, 16\)"):
        drawn().trigger(pictures(1, 3, 8))
