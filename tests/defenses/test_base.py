"""What all recipes refuse."""

from typing import Any

import pytest
import torch

from cleanse.defenses import ContrastiveFilter, FlowRelabel, NoDefense, Oracle
from cleanse.defenses.lost_classes import warn_of_lost_classes
from cleanse.verdict import Verdict


@pytest.mark.parametrize(
    ("recipe", "argument"),
    [
        (NoDefense, "epochs"),
        (Oracle, "epochs"),
        (ContrastiveFilter, "epochs"),
        (ContrastiveFilter, "pretrain_epochs"),
        (ContrastiveFilter, "ablation_epochs"),
        (ContrastiveFilter, "probe_epochs"),
        (ContrastiveFilter, "probe_batch_size"),
        (ContrastiveFilter, "k"),
        (FlowRelabel, "epochs"),
        (FlowRelabel, "pretrain_epochs"),
    ],
)
def test_nothing_is_trained_for_zero_epochs_and_nothing_silently_for_another_number(recipe: Any, argument: str) -> None:
    """Before anything is trained."""
    with pytest.raises(ValueError, match=f"{argument} is at least 1, not 0"):
        recipe(**{argument: 0})


def test_a_class_of_one_image_that_is_kept_is_not_lost() -> None:
    label = torch.tensor([0, 0, 0, 1, 2, 2])
    keep = torch.tensor([True, True, False, True, True, False])
    assert warn_of_lost_classes(Verdict.keep_mask("abcdef", label, keep), ["cat", "dog", "owl"]) == ["owl"]
