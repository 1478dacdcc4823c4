"""LightningModules: what one fit of a recipe trains; each is usable alone as ``model`` of ``cleanse fit``."""

from cleanse.modules.adaptive_split import AdaptiveSplit
from cleanse.modules.attention_distillation import AttentionDistillation
from cleanse.modules.augmented import Augmented
from cleanse.modules.autoencoder import Autoencoder
from cleanse.modules.base import ImageModule, NetworkFactory
from cleanse.modules.classifier import Classifier, take_over, warm_start
from cleanse.modules.embedding import Embedding
from cleanse.modules.flow_density import FlowDensity
from cleanse.modules.ispl_round import ISPLRound
from cleanse.modules.label_loss import LabelLoss
from cleanse.modules.linear_probe import LinearProbe
from cleanse.modules.mixmatch import MixMatch
from cleanse.modules.simclr import SimCLR
from cleanse.modules.supcon import SupCon
from cleanse.modules.symmetric_probe import SymmetricProbe
from cleanse.modules.unlearner import Unlearner

__all__ = [
    "AdaptiveSplit",
    "AttentionDistillation",
    "Augmented",
    "Autoencoder",
    "Classifier",
    "Embedding",
    "FlowDensity",
    "ISPLRound",
    "ImageModule",
    "LabelLoss",
    "LinearProbe",
    "MixMatch",
    "NetworkFactory",
    "SimCLR",
    "SupCon",
    "Unlearner",
    "SymmetricProbe",
    "take_over",
    "warm_start",
]
