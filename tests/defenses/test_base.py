"""What all recipes refuse."""

from typing import Any

import pytest

from cleanse.defenses import ContrastiveFilter, FlowRelabel, NoDefense, Oracle


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
        (FlowRelabel, "epochs"),
        (FlowRelabel, "pretrain_epochs"),
    ],
)
def test_nothing_is_trained_for_zero_epochs_and_nothing_silently_for_another_number(recipe: Any, argument: str) -> None:
    """Before anything is trained."""
    with pytest.raises(ValueError, match=f"{argument} is at least 1, not 0"):
        recipe(**{argument: 0})
