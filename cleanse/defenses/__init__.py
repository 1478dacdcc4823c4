"""Recipes, one paper a file."""

from cleanse.defenses.abl import ABL
from cleanse.defenses.activation_clustering import ActivationClustering
from cleanse.defenses.asd import ASD
from cleanse.defenses.base import Defense, OracleDefense, Outcome
from cleanse.defenses.clean_images import CleanImagesDefense
from cleanse.defenses.contrastive_filter import ContrastiveFilter
from cleanse.defenses.dbd import DBD
from cleanse.defenses.flow_relabel import FlowRelabel
from cleanse.defenses.ispl import ISPL
from cleanse.defenses.label_check import LabelCheck
from cleanse.defenses.nad import NAD
from cleanse.defenses.no_defense import NoDefense
from cleanse.defenses.oracle import Oracle
from cleanse.defenses.self_training import SelfTraining
from cleanse.defenses.semi_supervised import SemiSupervised
from cleanse.defenses.simclr_self_training import SimCLRSelfTraining
from cleanse.defenses.spectral_signatures import SpectralSignatures

__all__ = [
    "ABL",
    "ASD",
    "DBD",
    "ISPL",
    "NAD",
    "ActivationClustering",
    "CleanImagesDefense",
    "ContrastiveFilter",
    "Defense",
    "FlowRelabel",
    "LabelCheck",
    "NoDefense",
    "Oracle",
    "OracleDefense",
    "Outcome",
    "SelfTraining",
    "SemiSupervised",
    "SimCLRSelfTraining",
    "SpectralSignatures",
]
