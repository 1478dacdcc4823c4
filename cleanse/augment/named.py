"""Augmentations by the names of Figure 1 of Pal et al. 2023: Kornia's, with the figure's numbers."""

import re
from collections.abc import Callable
from typing import NamedTuple, cast

from torch import nn

from cleanse.augment.color_jitter import ColorJitter
from cleanse.augment.random_crop_scaled import RandomCropScaled, Reading
from cleanse.augment.yoco import YOCO
from cleanse.utils.suggest import did_you_mean

VARIANCES = (0.2, 0.5, 0.7, 1.0)
"""Of GNoise, whose performance the paper averages over them."""
KNOWN = (
    "NoAug", "HFlip", "VFlip", "GrSc", "CJ", "CutOut", "GNoise (all variances)", "GNoise0.2", "RCS0.5 (of the side)",
    "RCS0.5area", "Rot45", "GBlur_3_1.0 (kernel and sigma)", "YOCO(HFlip) (both axes)", "YOCO_W(HFlip)",
    "YOCO_H(HFlip)", "RCS0.5+VFlip (one after another)",
)  # fmt: skip

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_CUT = re.compile(r"YOCO(_[HW])?\((.*)\)")


class Named(NamedTuple):
    """An augmentation, and whether it draws anything."""

    module: nn.Module

    stochastic: bool


def named(name: str) -> Named:
    """The augmentation of a name; ``+`` joins several, from left to right.

    ``HFlip``, ``VFlip``, ``Rot``, ``GrSc``, ``GBlur``, ``GNoise`` and ``CutOut`` are `kornia.augmentation`'s
    ``RandomHorizontalFlip``, ``RandomVerticalFlip``, ``RandomRotation``, ``RandomGrayscale``, ``RandomGaussianBlur``,
    ``RandomGaussianNoise`` (then clipped to [0, 1]) and ``RandomErasing``, applied to every image; ``RCS`` is
    `RandomCropScaled`, ``CJ`` `ColorJitter`.

    Raises:
        ValueError: an unknown name, which tells the known ones; a number out of range; or a name that stands for
            several augmentations, which `variants` tells apart.

    >>> named("RCS0.5+VFlip").stochastic, named("YOCO_H(Rot90)").stochastic
    (True, False)
    """
    several = variants(name)
    if len(several) > 1:
        raise ValueError(f"{name} stands for {', '.join(several)}, which are averaged: name one of them")
    made = [_one(part) for part in _split(several[0])]
    module = made[0].module if len(made) == 1 else nn.Sequential(*(one.module for one in made))
    return Named(module, any(one.stochastic for one in made))


def variants(name: str) -> tuple[str, ...]:
    """The names of the augmentations that Figure 1 averages under one name: GNoise's variances and YOCO's axes.

    Raises:
        ValueError: parentheses that do not match.

    >>> variants("YOCO(HFlip)"), variants("HFlip+VFlip")
    (('YOCO_W(HFlip)', 'YOCO_H(HFlip)'), ('HFlip+VFlip',))
    """
    joined = [""]
    for i, part in enumerate(_split(name)):
        joined = [f"{left}{'+' if i else ''}{right}" for left in joined for right in _versions(part)]
    return tuple(joined)


def _versions(part: str) -> list[str]:
    if part == "GNoise":
        return [f"GNoise{v}" for v in VARIANCES]
    if cut := _CUT.fullmatch(part):
        axes = [cut[1]] if cut[1] else ["_W", "_H"]
        return [f"YOCO{axis}({inner})" for axis in axes for inner in variants(cut[2])]
    return [part]


def _one(name: str) -> Named:
    """An augmentation without ``+``."""
    import kornia.augmentation as K  # slow to import, so only when it is used

    plain: dict[str, Callable[[], Named]] = {
        "NoAug": lambda: Named(nn.Identity(), False),
        "HFlip": lambda: Named(K.RandomHorizontalFlip(p=1.0), False),
        "VFlip": lambda: Named(K.RandomVerticalFlip(p=1.0), False),
        "GrSc": lambda: Named(K.RandomGrayscale(p=1.0), False),
        "CJ": lambda: Named(ColorJitter(), True),
        # a quarter of the area is half the side (D163)
        "CutOut": lambda: Named(K.RandomErasing(scale=(0.25, 0.25), ratio=(1.0, 1.0), value=0.0, p=1.0), True),
    }
    if name in plain:
        return plain[name]()
    if cut := _CUT.fullmatch(name):
        inner = named(cut[2])
        return Named(YOCO(inner.module, "height" if cut[1] == "_H" else "width"), inner.stochastic)
    if found := re.fullmatch(f"GNoise{_NUMBER}", name):
        noise = K.RandomGaussianNoise(mean=0.0, std=float(found[1]) ** 0.5, p=1.0)
        return Named(nn.Sequential(noise, nn.Hardtanh(0.0, 1.0)), True)
    if found := re.fullmatch(f"RCS{_NUMBER}(area|side)?", name):
        return Named(RandomCropScaled(float(found[1]), cast(Reading, found[2] or "side")), True)
    if found := re.fullmatch(f"Rot(-?){_NUMBER}", name):
        angle = float(found[1] + found[2])
        return Named(K.RandomRotation((angle, angle), p=1.0), False)
    if found := re.fullmatch(rf"GBlur_(\d+)_{_NUMBER}", name):
        kernel, sigma = int(found[1]), float(found[2])
        if kernel % 2 == 0 or not sigma > 0:
            raise ValueError(f"{name}: a blur has an odd number of pixels and a standard deviation above 0")
        return Named(K.RandomGaussianBlur((kernel, kernel), (sigma, sigma), p=1.0), False)
    meant = did_you_mean(name, [k.split()[0] for k in KNOWN])
    raise ValueError(f"there is no augmentation {name!r}: {meant}there are {', '.join(KNOWN)}")


def _split(name: str) -> list[str]:
    """The parts between the ``+`` that are in no parentheses."""
    parts, depth = [""], 0
    for letter in name:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == "+" and not depth:
            parts.append("")
        elif not letter.isspace():
            parts[-1] += letter
    if depth:
        raise ValueError(f"the parentheses of the augmentation {name!r} do not match")
    return parts
