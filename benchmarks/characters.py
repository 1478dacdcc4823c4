"""Hundreds of classes of real pictures from what a machine has: characters in the fonts that are installed on it.

A class is a character (a letter, numeral, sign), an image the character in one font: dark on light at 48x48 pixels, a
little turned, moved and scaled. Of characters that look alike only the first is taken. Fonts of one folder, such as a
family, fall into the same half, and so does a character: what was found on half 0 can be tried on half 1, which shares
neither.

    apt-get install fonts-...                 # a hundred families or more
    python benchmarks/characters.py characters-0 --half 0 --classes 193 --images 120
    python benchmarks/check_rule.py folder characters-0 --draws 8 --some 43 --seed 1

Needs fontTools, which matplotlib brings.
"""

import argparse
import hashlib
import logging
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.functional import pil_to_tensor

SIDE = 48
ALIKE = 0.16  # of two characters in three fonts: mean difference of their pixels, where white on white is 0


def in_half(name: str, half: int) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % 2 == half


def fonts_of(root: Path, half: int) -> dict[Path, set[int]]:
    """Font files, with the characters that each has."""
    logging.disable(logging.ERROR)
    found = {}
    for file in sorted(root.rglob("*")):
        if file.suffix.lower() in (".ttf", ".otf") and in_half(file.parent.name, half):
            try:
                found[file] = set(TTFont(file, lazy=True).getBestCmap() or ())
            except Exception:  # a damaged or odd font file is not what is looked at here
                continue
    return found


def drawn(file: Path, character: str, scale: float = 0.7, turn: float = 0.0, move: tuple[float, float] = (0, 0)) -> (
    Image.Image | None
):  # fmt: skip
    """The character, or None where the font has an empty picture for it."""
    try:
        font = ImageFont.truetype(str(file), 64)
        left, top, right, bottom = font.getbbox(character)
    except Exception:  # as above
        return None
    width, height = right - left, bottom - top
    if min(width, height) < 2 or max(width, height) > 400:
        return None
    side = round(max(width, height) / scale)
    image = Image.new("L", (side, side), 255)
    at = ((side - width) / 2 - left + move[0] * side, (side - height) / 2 - top + move[1] * side)
    ImageDraw.Draw(image).text(at, character, font=font, fill=0)
    if image.getextrema()[0] > 128:
        return None
    return image.rotate(turn, Image.Resampling.BICUBIC, fillcolor=255).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def unlike(characters: list[int], fonts: dict[Path, set[int]], wanted: int) -> Iterator[int]:
    """Those of the characters that look like none before them."""
    known: list[torch.Tensor] = []
    files = [file for file, has in fonts.items() if sum(c in has for c in characters) > 0.9 * len(characters)][:3]
    for c in characters:
        pictures = [drawn(file, chr(c)) for file in files if c in fonts[file]]
        if len(known) == wanted or len(pictures) < len(files) or any(picture is None for picture in pictures):
            continue
        seen = torch.cat([1 - pil_to_tensor(picture).float().flatten() / 255 for picture in pictures])
        if all(float((seen - other).abs().mean()) > ALIKE * float((seen + other).mean() + 0.2) for other in known):
            known.append(seen)
            yield c


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--half", type=int, choices=(0, 1), default=0)
    parser.add_argument("--classes", type=int, default=193, help="at most; fewer where fonts have fewer characters")
    parser.add_argument("--images", type=int, default=120, help="of a class: a font each")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    fonts = fonts_of(given.fonts, given.half)
    generator = torch.Generator().manual_seed(given.seed)
    count = torch.zeros(0x3000, dtype=torch.int64)
    for has in fonts.values():
        count[[c for c in has if c < len(count)]] += 1
    common = [c for c in (count >= 1.2 * given.images).nonzero().flatten().tolist()
              if unicodedata.category(chr(c))[0] in "LNSP" and in_half(str(c), given.half)]  # fmt: skip
    mixed = [common[i] for i in torch.randperm(len(common), generator=generator)]
    classes = list(unlike(mixed, fonts, given.classes))
    print(f"{len(fonts)} fonts, {len(common)} characters in enough of them, {len(classes)} classes", flush=True)
    for c in classes:
        files = [file for file, has in fonts.items() if c in has]
        folder, made = given.out / f"{c:04x}", 0
        folder.mkdir(parents=True)
        for i in torch.randperm(len(files), generator=generator).tolist():
            scale, turn, right, down = (torch.rand(4, generator=generator) * 2 - 1).tolist()
            image = drawn(files[i], chr(c), 0.7 + 0.15 * scale, 8 * turn, (0.06 * right, 0.06 * down))
            if image is not None and made < given.images:
                image.save(folder / f"{made:03}.png")
                made += 1


if __name__ == "__main__":
    main()
