from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from cleanse.data import decode as module
from cleanse.data.decode import decode, decode_files


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("shape", [(64, 64), (20, 64), (80, 24), (5, 9), (16, 16)])
def test_a_picture_is_squeezed_as_torchvision_does(shape: tuple[int, int], tmp_path: Path) -> None:
    file, image = tmp_path / "a.png", picture(*shape)
    image.save(file)
    np.testing.assert_array_equal(decode(str(file), 16, crop=False), np.asarray(v2.Resize((16, 16))(image)))


@pytest.mark.parametrize("shape", [(16, 48), (80, 16), (16, 16), (4, 12)])
def test_the_middle_is_what_torchvision_resizes_and_crops(shape: tuple[int, int], tmp_path: Path) -> None:
    file, image = tmp_path / "a.png", picture(*shape)
    image.save(file)
    expected = v2.Compose([v2.Resize(8), v2.CenterCrop(8)])(image)
    np.testing.assert_array_equal(decode(str(file), 8), np.asarray(expected))


def test_an_endless_strip_costs_no_memory(tmp_path: Path) -> None:
    Image.new("L", (1_000_000, 1), 9).save(tmp_path / "a.png")
    assert (decode(str(tmp_path / "a.png"), 32) == 9).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    image, exif = picture(12, 20), Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as file:
        upright = ImageOps.exif_transpose(file).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(str(tmp_path / "a.png"), 8, crop=False), np.asarray(upright))


def test_a_large_jpeg_is_much_as_if_decoded_in_full(tmp_path: Path) -> None:
    smooth = picture(8, 8).resize((800, 800), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as file:
        full = np.asarray(file.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(str(tmp_path / "a.jpg"), 32) - full).max() <= 8


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    level = np.array([[0, 257, 32896, 65535]] * 4, dtype=np.uint16)
    for name in ("a.png", "a.tif", "a.pgm"):
        Image.fromarray(level).save(tmp_path / name)
        assert decode(str(tmp_path / name), 4)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_palette_and_bilevel_become_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    red.convert("P").save(tmp_path / "palette.png")
    Image.new("1", (4, 4), 1).save(tmp_path / "bilevel.png")
    assert np.abs(decode(str(tmp_path / "cmyk.jpg"), 4).astype(int) - [255, 0, 0]).max() <= 3
    assert (decode(str(tmp_path / "palette.png"), 4) == [255, 0, 0]).all()
    assert (decode(str(tmp_path / "bilevel.png"), 4) == 255).all()


def test_transparency_lies_on_black(tmp_path: Path) -> None:
    half = Image.new("RGBA", (4, 4), (200, 100, 50, 128))
    half.save(tmp_path / "rgba.png")
    assert np.abs(decode(str(tmp_path / "rgba.png"), 4).astype(int) - [100, 50, 25]).max() <= 1
    gray = Image.new("LA", (4, 4), (200, 0))
    gray.save(tmp_path / "la.png")
    assert (decode(str(tmp_path / "la.png"), 4) == 0).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 255, 255])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert (decode(str(tmp_path / "palette.png"), 4) == 0).all()


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("white", "black")]
    for name in ("a.gif", "a.webp", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert (decode(str(tmp_path / name), 4) > 250).all()


def test_what_cannot_be_used_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = picture(64, 64)
    noise.save(tmp_path / "whole.png")
    noise.save(tmp_path / "whole.jpg")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:1000])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    noise.save(tmp_path / "script.eps")
    (tmp_path / "script.eps").rename(tmp_path / "script.png")
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "wide.tif")
    monkeypatch.setattr(module, "MAX_PIXELS", 4096)
    picture(65, 64).save(tmp_path / "bomb.png")
    reasons = {
        **{"cut.png": "trunc", "cut.jpg": "truncated", "empty.png": "empty file", "text.png": "not an image"},
        **{"script.png": "not an image", "float.tif": "range", "wide.tif": "range", "bomb.png": "64 x 65 pixels"},
        **{"none.png": "No such file"},
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason) as error:
            decode(str(tmp_path / name), 8)
        assert str(tmp_path) not in str(error.value)
    image, why = decode_files([str(tmp_path / name) for name in ("whole.png", *reasons, "whole.jpg")], 8)
    assert list(why) == list(range(1, 1 + len(reasons)))
    assert image.shape == (2 + len(reasons), 3, 8, 8) and image.dtype == torch.uint8


def test_pillows_own_limit_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(64, 64).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="more than 89000000 pixels"):
        decode(str(tmp_path / "bomb.png"), 8)


def test_damaged_metadata_does_not_cost_the_image(tmp_path: Path) -> None:
    picture(8, 8).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff garbage")
    assert decode(str(tmp_path / "a.jpg"), 8).shape == (8, 8, 3)


def test_many_files_show_a_bar_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    decode_files([str(tmp_path / "a.png")] * 2000, 1)
    assert capsys.readouterr().err == ""
    decode_files([str(tmp_path / "a.png")] * 2001, 1)
    shown = capsys.readouterr()
    assert "2001/2001" in shown.err and shown.out == ""
