"""Attacks: one paper a file, each poisons a training set and triggers test images."""

from cleanse.attacks.additive import Additive
from cleanse.attacks.badnets import BadNets
from cleanse.attacks.base import CLEAN, COVER, POISON, ROLES, Attack, Poisoned
from cleanse.attacks.blend import Blend
from cleanse.attacks.dirty_label import DirtyLabel
from cleanse.attacks.wanet import WaNet

__all__ = [
    "CLEAN",
    "COVER",
    "POISON",
    "ROLES",
    "Additive",
    "Attack",
    "BadNets",
    "Blend",
    "DirtyLabel",
    "Poisoned",
    "WaNet",
]
