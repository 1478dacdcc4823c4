"""Pure functions on tensors, one idea of one paper a file: no trainer, no disk, no state."""

from cleanse.functional.agreement import add_back, keep_by_agreement, start_agreement, update_agreement
from cleanse.functional.boost import boost_components
from cleanse.functional.momentum import smooth
from cleanse.functional.schedule import (
    Profile,
    beta_multiplier,
    class_fraction,
    component_fraction,
    num_iterations,
    trimmed_fraction,
)
from cleanse.functional.trim import fill_nan, trim
from cleanse.functional.vote import keep_by_vote, modal_vote, vote_disagreement

__all__ = [
    "Profile",
    "add_back",
    "beta_multiplier",
    "boost_components",
    "class_fraction",
    "component_fraction",
    "fill_nan",
    "keep_by_agreement",
    "keep_by_vote",
    "modal_vote",
    "num_iterations",
    "smooth",
    "start_agreement",
    "trim",
    "trimmed_fraction",
    "update_agreement",
    "vote_disagreement",
]
