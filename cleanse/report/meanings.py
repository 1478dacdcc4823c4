"""What the figures mean, in a few words, wherever people read them."""

LOW = "; low is good"
MEANING = {
    "sa": "clean test images classified as their true class",
    "asr": "triggered test images classified as the target; low is good",
    "asr_max": "the highest ASR of any of the triggers; low is good",
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
"""Of an attack with one target."""
OF_LABELS = {
    "next": {
        "asr": "triggered test images classified as the class after their true one; low is good",
        "tmr": "test images right without the trigger and the class after their true one with it; low is good",
    },
    "random": {
        "asr": "test images wrong with the trigger, of those right without it; low is good",
        "ra": "test images right with the trigger, of those right without it",
        "tmr": "no figure; low is good",
    },
}
"""What is another figure where the trigger stands for no one class, by the attack's ``labels`` (D57)."""
OF_TRIGGERS = ("asr", "ra", "tmr")
"""Figures that are means where there are several triggers."""
SHORT = {
    "asr_max": "Highest ASR",
    "relabel_accuracy": "Relabel acc.",
    "relabel_accuracy_all": "Relabel acc., all",
    "cover_flagged": "Cover flagged",
    "fpr_clean": "FPR, no attack",
}
"""Headings of the figures that are not abbreviations."""


def meaning(figure: str, labels: object = None) -> str:
    """What a figure means where an attack was simulated.

    Args:
        figure: a name in ``MEANING``.
        labels: ``attack_labels`` of results.json: the attack's ``labels``, one for each trigger, with `` | `` between
            them; whatever else is there means one target.

    >>> meaning("asr", "random")
    'test images wrong with the trigger, of those right without it; low is good'
    >>> meaning("ra", "target | target")
    'triggered test images classified as their true class, mean over the triggers'
    >>> meaning("tmr", "random | next | random").split("; ")[0]
    'mean over the triggers, which are not measured alike (trigger 1, 3: no figure'
    """
    modes = labels.split(" | ") if isinstance(labels, str) else [""]
    each = [OF_LABELS.get(mode, MEANING).get(figure, MEANING[figure]) for mode in modes]
    if len(each) == 1 or figure not in OF_TRIGGERS:
        return each[0]
    low = LOW if each[0].endswith(LOW) else ""
    words = [one.removesuffix(LOW) for one in each]
    if len(set(words)) == 1:
        return f"{words[0]}, mean over the triggers{low}"
    numbers = {text: [str(i) for i, one in enumerate(words, 1) if one == text] for text in words}
    kinds = [f"trigger {', '.join(those)}: {text}" for text, those in numbers.items()]
    return f"mean over the triggers, which are not measured alike ({'; '.join(kinds)}){low}"
