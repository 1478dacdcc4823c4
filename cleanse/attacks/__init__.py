"""Attacks: one paper a file, each poisons a training set and triggers test images."""

from cleanse.attacks.adaptive_patch import AdaptivePatch
from cleanse.attacks.additive import Additive
from cleanse.attacks.adversarial_embedding import AdversarialEmbedding
from cleanse.attacks.badnets import BadNets
from cleanse.attacks.base import CLEAN, COVER, POISON, ROLES, Attack, Poisoned
from cleanse.attacks.blend import Blend
from cleanse.attacks.bpp import Bpp
from cleanse.attacks.ctrl import CTRL
from cleanse.attacks.dirty_label import DirtyLabel
from cleanse.attacks.from_file import FromFile
from cleanse.attacks.imported import Imported
from cleanse.attacks.input_aware import InputAware
from cleanse.attacks.issba import ISSBA
from cleanse.attacks.label_consistent import LabelConsistent
from cleanse.attacks.low_frequency import LowFrequency
from cleanse.attacks.narcissus import Narcissus
from cleanse.attacks.qi_adaptive_blend import QiAdaptiveBlend
from cleanse.attacks.qi_adaptive_patch import QiAdaptivePatch
from cleanse.attacks.refool import Refool
from cleanse.attacks.several import Several
from cleanse.attacks.sig import SIG
from cleanse.attacks.tact import TaCT
from cleanse.attacks.wanet import WaNet

__all__ = [
    "AdaptivePatch",
    "CLEAN",
    "COVER",
    "POISON",
    "ROLES",
    "Additive",
    "AdversarialEmbedding",
    "Attack",
    "BadNets",
    "Blend",
    "Bpp",
    "CTRL",
    "DirtyLabel",
    "FromFile",
    "ISSBA",
    "Imported",
    "InputAware",
    "Poisoned",
    "LabelConsistent",
    "LowFrequency",
    "Narcissus",
    "QiAdaptiveBlend",
    "QiAdaptivePatch",
    "Refool",
    "SIG",
    "Several",
    "TaCT",
    "WaNet",
]
