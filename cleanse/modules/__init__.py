"""LightningModules: what one fit of a recipe trains; each is usable alone as ``model`` of ``cleanse fit``."""

from cleanse.modules.classifier import Classifier, NetworkFactory, warm_start
from cleanse.modules.ispl_round import ISPLRound

__all__ = ["Classifier", "ISPLRound", "NetworkFactory", "warm_start"]
