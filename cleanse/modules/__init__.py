"""LightningModules: what one fit of a recipe trains; each is usable alone as ``model`` of ``cleanse fit``."""

from cleanse.modules.augmented import Augmented
from cleanse.modules.autoencoder import Autoencoder
from cleanse.modules.base import ImageModule, NetworkFactory
from cleanse.modules.classifier import Classifier, warm_start
from cleanse.modules.embedding import Embedding
from cleanse.modules.flow_density import FlowDensity
from cleanse.modules.ispl_round import ISPLRound
from cleanse.modules.linear_probe import LinearProbe
from cleanse.modules.simclr import SimCLR
from cleanse.modules.supcon import SupCon

__all__ = [
    "Augmented",
    "Autoencoder",
    "Classifier",
    "Embedding",
    "FlowDensity",
    "ISPLRound",
    "ImageModule",
    "LinearProbe",
    "NetworkFactory",
    "SimCLR",
    "SupCon",
    "warm_start",
]
