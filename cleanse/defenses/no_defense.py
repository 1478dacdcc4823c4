"""No defense: train on everything as it is given."""

from functools import partial

from cleanse.defenses.base import Defense, Outcome
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


class NoDefense(Defense):
    """Keep every image and train on it: what happens without `cleanse`.

    The training is that of ISPL's final classifier, so that the two share their stage.
    """

    def plan_verdict(self, train: TrainingView) -> list[Planned]:
        return []

    def plan_final(self, train: TrainingView) -> list[Planned]:
        return self.plan_classifier(train.subset(train.labeled))  # exactly these: nothing is left out

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        verdict = Verdict.keep_all(train.id, train.label)
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run))
