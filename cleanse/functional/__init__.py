"""Pure functions on tensors, one idea of one paper a file: no trainer, no disk, no state."""

from cleanse.functional.activation_clusters import (
    ClusterRule,
    Clusters,
    activation_clusters,
    is_suspicious,
    reclassified_elsewhere,
)
from cleanse.functional.agreement import add_back, keep_by_agreement, start_agreement, update_agreement
from cleanse.functional.attention_map import attention_distance, attention_map
from cleanse.functional.boost import boost_components
from cleanse.functional.check_labels import Checked, check_labels
from cleanse.functional.cluster_vote import cluster_labels, cluster_vote
from cleanse.functional.combine import combine, mean_rank
from cleanse.functional.content_votes import Votes, content_votes
from cleanse.functional.cosine_basis import cosine_basis
from cleanse.functional.count_scenes import count_scenes, likeness_of_twins
from cleanse.functional.disruptive_score import Disruption, disruptive_score
from cleanse.functional.energy_scores import energy_scores
from cleanse.functional.expected_flags import expected_flags
from cleanse.functional.first_of_each import Firsts, first_of_each
from cleanse.functional.foreign_cluster import foreign_cluster
from cleanse.functional.foreign_excess import foreign_excess
from cleanse.functional.isolation_losses import flooding, local_gradient_ascent
from cleanse.functional.knn_vote import knn_scores, knn_vote
from cleanse.functional.lowest import lowest
from cleanse.functional.lowest_of_class import lowest_of_class
from cleanse.functional.margin import margin
from cleanse.functional.mixmatch import mix, mixmatch_loss, ramp, sharpen
from cleanse.functional.momentum import smooth
from cleanse.functional.nondisruptive_score import nondisruptive_score
from cleanse.functional.normal_scores import normal_scores
from cleanse.functional.one_cycle import one_cycle_factor
from cleanse.functional.outlying_low import outlying_low
from cleanse.functional.pgd import pgd, random_start
from cleanse.functional.poisoning_score import poisoning_score
from cleanse.functional.pool_batches import pool_batches
from cleanse.functional.relabel_confident import Relabeling, relabel_confident
from cleanse.functional.schedule import (
    Profile,
    beta_multiplier,
    class_fraction,
    component_fraction,
    num_iterations,
    trimmed_fraction,
)
from cleanse.functional.select_confident import class_quota, select_confident
from cleanse.functional.shared_trait import shared_trait
from cleanse.functional.spectral_scores import spectral_count, spectral_scores
from cleanse.functional.split_and_relabel import Split, split_and_relabel
from cleanse.functional.supcon_loss import supcon_loss
from cleanse.functional.symmetric_cross_entropy import symmetric_cross_entropy
from cleanse.functional.trigger_cluster import Cluster, trigger_clusters
from cleanse.functional.trim import fill_nan, trim
from cleanse.functional.vote import keep_by_vote, modal_vote, vote_disagreement
from cleanse.functional.voting_rows import voting_rows
from cleanse.functional.whiten_within import whiten_within

__all__ = [
    "Checked",
    "Cluster",
    "ClusterRule",
    "Clusters",
    "Disruption",
    "Firsts",
    "Profile",
    "Relabeling",
    "Split",
    "Votes",
    "activation_clusters",
    "add_back",
    "attention_distance",
    "attention_map",
    "beta_multiplier",
    "boost_components",
    "check_labels",
    "class_fraction",
    "class_quota",
    "cluster_labels",
    "cluster_vote",
    "combine",
    "component_fraction",
    "content_votes",
    "cosine_basis",
    "count_scenes",
    "disruptive_score",
    "energy_scores",
    "expected_flags",
    "fill_nan",
    "first_of_each",
    "flooding",
    "foreign_cluster",
    "foreign_excess",
    "is_suspicious",
    "keep_by_agreement",
    "keep_by_vote",
    "knn_scores",
    "knn_vote",
    "likeness_of_twins",
    "local_gradient_ascent",
    "lowest_of_class",
    "lowest",
    "margin",
    "mean_rank",
    "mix",
    "mixmatch_loss",
    "modal_vote",
    "nondisruptive_score",
    "num_iterations",
    "normal_scores",
    "one_cycle_factor",
    "outlying_low",
    "pgd",
    "pool_batches",
    "ramp",
    "random_start",
    "poisoning_score",
    "reclassified_elsewhere",
    "relabel_confident",
    "select_confident",
    "shared_trait",
    "sharpen",
    "smooth",
    "spectral_count",
    "spectral_scores",
    "split_and_relabel",
    "start_agreement",
    "supcon_loss",
    "symmetric_cross_entropy",
    "trigger_clusters",
    "trim",
    "trimmed_fraction",
    "update_agreement",
    "vote_disagreement",
    "voting_rows",
    "whiten_within",
]
