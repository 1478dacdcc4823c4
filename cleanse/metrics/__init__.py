"""How good a classifier and a verdict are: functions for whole tables, and the same as torchmetrics classes."""

from cleanse.metrics.attack_success_rate import AttackSuccessRate, attack_success_rate
from cleanse.metrics.detection import Detection, detection_rates
from cleanse.metrics.relabel_accuracy import RelabelAccuracy, relabel_accuracy
from cleanse.metrics.robust_accuracy import RobustAccuracy, robust_accuracy
from cleanse.metrics.standard_accuracy import StandardAccuracy, standard_accuracy
from cleanse.metrics.targeted_misclassification_rate import (
    TargetedMisclassificationRate,
    targeted_misclassification_rate,
)

__all__ = [
    "AttackSuccessRate",
    "Detection",
    "RelabelAccuracy",
    "RobustAccuracy",
    "StandardAccuracy",
    "TargetedMisclassificationRate",
    "attack_success_rate",
    "detection_rates",
    "relabel_accuracy",
    "robust_accuracy",
    "standard_accuracy",
    "targeted_misclassification_rate",
]
