"""How good a classifier and a verdict are: functions on whole tables, where every image has one row."""

from cleanse.metrics.attack_success_rate import attack_success_rate
from cleanse.metrics.detection import detection_rates
from cleanse.metrics.relabel_accuracy import relabel_accuracy
from cleanse.metrics.robust_accuracy import robust_accuracy
from cleanse.metrics.standard_accuracy import standard_accuracy
from cleanse.metrics.targeted_misclassification_rate import targeted_misclassification_rate

__all__ = [
    "attack_success_rate",
    "detection_rates",
    "relabel_accuracy",
    "robust_accuracy",
    "standard_accuracy",
    "targeted_misclassification_rate",
]
