"""What the figures mean, in a few words, wherever people read them."""

MEANING = {
    "sa": "clean test images classified as their true class",
    "asr": "triggered test images classified as the target; low is good",
    "ra": "triggered test images classified as their true class",
    "tmr": "test images right without the trigger and the target with it; low is good",
    "tpr": "poisoned images that were relabeled or dropped",
    "fpr": "clean images that were relabeled or dropped; low is good",
    "auroc": "area under the ROC curve of the score, poisoned against clean",
    "cover_flagged": "cover images (with the trigger and their own label) that were relabeled or dropped",
    "relabel_accuracy": "relabeled poisoned images that got their true label",
    "relabel_accuracy_all": "relabeled images, poisoned or not, that got their true label",
    "fpr_clean": "images that the same recipe relabels or drops where there is no attack",
}
SHORT = {
    "relabel_accuracy": "Relabel acc.",
    "relabel_accuracy_all": "Relabel acc., all",
    "cover_flagged": "Cover flagged",
    "fpr_clean": "FPR, no attack",
}
"""Headings of the figures that are not abbreviations."""
