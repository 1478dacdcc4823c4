import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin
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
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.avif", "lzw.tif", "two-frames.tif"])
def test_the_orientation_is_applied_once(orientation: int, name: str, tmp_path: Path) -> None:
    image, exif, options = picture(12, 20), Image.Exif(), {}
    exif[0x0112] = orientation
    if name == "lzw.tif":
        options["compression"] = "tiff_lzw"
    if name == "two-frames.tif":
        options |= {"save_all": True, "append_images": [picture(12, 20, 1)]}
    Image.init()
    if Path(name).suffix == ".avif" and "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow writes no AVIF")
    image.save(tmp_path / name, exif=exif, **options)
    with Image.open(tmp_path / name) as file:
        upright = ImageOps.exif_transpose(file).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(str(tmp_path / name), 8, crop=False), np.asarray(upright))


def test_a_large_jpeg_is_much_as_if_decoded_in_full(tmp_path: Path) -> None:
    smooth = picture(8, 8).resize((800, 800), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as file:
        full = np.asarray(file.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decode(str(tmp_path / "a.jpg"), 32) - full).max() <= 8


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
@pytest.mark.parametrize("highest", [255, 1023, 4095, 16383, 65535])
def test_values_of_more_than_eight_bits_span_the_range_that_they_use(name: str, highest: int, tmp_path: Path) -> None:
    level = np.array([[0, highest // 5, highest // 2, highest]] * 4, dtype=np.uint16)
    Image.fromarray(level).save(tmp_path / name)
    assert np.abs(decode(str(tmp_path / name), 4)[0, :, 0].astype(int) - [0, 51, 127, 255]).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        pytest.param(np.array([[0.0, 0.2, 0.5, 1.0]], np.float32), [0, 51, 128, 255], id="0 to 1"),
        pytest.param(np.array([[0.0, 51.0, 128.0, 255.0]], np.float32), [0, 51, 128, 255], id="0 to 255"),
        pytest.param(np.array([[-100.0, -60.0, 0.0, 100.0]], np.float32), [0, 51, 128, 255], id="its own"),
        pytest.param(np.array([[0, 20_000, 50_000, 100_000]], np.int32), [0, 51, 128, 255], id="32 bits"),
        pytest.param(np.full((1, 4), 7.0, np.float32) * 100, [0, 0, 0, 0], id="constant"),
    ],
)
def test_other_values_have_their_own_range(pixels: np.ndarray, expected: list[int], tmp_path: Path) -> None:
    Image.fromarray(np.repeat(pixels, 4, 0)).save(tmp_path / "a.tif")
    assert np.abs(decode(str(tmp_path / "a.tif"), 4)[0, :, 0].astype(int) - expected).max() <= 1


def test_files_of_a_set_share_one_range(tmp_path: Path) -> None:
    """A dark image stays darker than a bright one, and a file read later is measured by those before."""
    for name, level in (("dark", 400), ("bright", 4000), ("later", 2000)):
        Image.fromarray(np.full((4, 4), level, np.uint16)).save(tmp_path / f"{name}.png")
    first = decode_files([str(tmp_path / "dark.png"), str(tmp_path / "bright.png")], 4)
    assert first.image[:, 0, 0, 0].tolist() == [25, 249]
    assert first.levels == {"int": (0.0, 4095.0)}
    assert first.wide == 2
    later = decode_files([str(tmp_path / "later.png")], 4, levels=first.levels)
    assert later.image[0, 0, 0, 0] == 125


def test_cmyk_palette_and_bilevel_become_rgb(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    red.convert("P").save(tmp_path / "palette.png")
    Image.new("1", (4, 4), 1).save(tmp_path / "bilevel.png")
    assert np.abs(decode(str(tmp_path / "cmyk.jpg"), 4).astype(int) - [255, 0, 0]).max() <= 3
    assert (decode(str(tmp_path / "palette.png"), 4) == [255, 0, 0]).all()
    assert (decode(str(tmp_path / "bilevel.png"), 4) == 255).all()


@pytest.mark.parametrize(("background", "level"), [("black", 0), ("gray", 128), ("white", 255)])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "key color"])
def test_the_background_shows_through(background: Any, level: int, kind: str, tmp_path: Path) -> None:
    clear, options = Image.new("L", (4, 4), 77), {}
    if kind in ("RGBA", "LA"):
        clear = Image.new(kind, (4, 4), 0)
    elif kind == "palette":
        clear = Image.new("P", (4, 4), 1)
        clear.putpalette([9] * 768)
        options["transparency"] = 1
    else:
        options["transparency"] = 77
    clear.save(tmp_path / "a.png", **options)
    assert (decode(str(tmp_path / "a.png"), 4, background=background) == level).all()


def test_half_transparent_pixels_are_mixed(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (200, 100, 50, 128)).save(tmp_path / "rgba.png")
    assert np.abs(decode(str(tmp_path / "rgba.png"), 4).astype(int) - [100, 50, 25]).max() <= 1


def test_files_that_are_not_opaque_are_counted(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    Image.new("RGBA", (4, 4), (1, 2, 3, 254)).save(tmp_path / "clear.png")
    assert decode_files([str(tmp_path / "opaque.png"), str(tmp_path / "clear.png")], 4).transparent == [1]


@pytest.mark.parametrize("kind", ["text", "packed text", "color profile"])
def test_a_long_text_or_profile_does_not_cost_the_image(kind: str, tmp_path: Path) -> None:
    image, info = picture(4, 4), PngImagePlugin.PngInfo()
    noise = np.random.default_rng(0).bytes(3_000_000)
    if kind != "color profile":
        info.add_text("notes", noise.hex()[:5_000_000], zip=kind == "packed text")
    image.save(tmp_path / "a.png", pnginfo=info, icc_profile=noise if kind == "color profile" else None)
    np.testing.assert_array_equal(decode(str(tmp_path / "a.png"), 4), np.asarray(image))


def test_a_text_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("notes", "0" * 40_000_000, zip=True)
    picture(4, 4).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(ValueError, match="too large"):
        decode(str(tmp_path / "a.png"), 4)


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
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "float.tif")
    monkeypatch.setattr(module, "MAX_PIXELS", 4096)
    picture(65, 64).save(tmp_path / "bomb.png")
    reasons = {
        **{"cut.png": "trunc", "cut.jpg": "truncated", "empty.png": "empty file", "text.png": "not an image"},
        **{"script.png": "not an image", "float.tif": "not finite", "bomb.png": "64 x 65 pixels"},
        **{"none.png": "No such file"},
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason) as error:
            decode(str(tmp_path / name), 8)
        assert str(tmp_path) not in str(error.value)
    decoded = decode_files([str(tmp_path / name) for name in ("whole.png", *reasons, "whole.jpg")], 8)
    assert list(decoded.why) == list(range(1, 1 + len(reasons)))
    assert decoded.image.shape == (2 + len(reasons), 3, 8, 8)
    assert decoded.image.dtype == torch.uint8


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
    assert "2001/2001" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\xff\x0a", "JPEG XL"), (b"\0\0\0\x0cJXL \r\n", "JPEG XL")],
    ids=["heic", "bare jxl", "jxl"],
)
def test_formats_that_are_not_read_are_named(head: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(head + bytes(40))
    with pytest.raises(ValueError, match=f"a {kind} image, which is not read: convert it"):
        decode(str(tmp_path / "photo.jpg"), 8)


def test_a_large_file_is_named_by_us_and_not_by_pillow(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Pillow warns of a bomb, with lines of its own source, in the middle of the progress bar."""
    warnings.simplefilter("always")
    header = b"IHDR" + struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "large.png").write_bytes(head + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")))
    found = decode_files([str(tmp_path / "large.png")], 8)
    assert "12000 x 12000 pixels are more than 89000000" in found.why[0]
    assert [str(one.message) for one in recwarn] == []
