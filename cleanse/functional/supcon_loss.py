"""The supervised contrastive loss: pull together what has the same label, push apart the rest."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def supcon_loss(
    features: Tensor,
    label: Tensor,
    temperature: float = 0.1,
    others: Tensor | None = None,
    other_label: Tensor | None = None,
    first: int = 0,
) -> Tensor:
    """Mean over the anchors of -log p(positive), averaged over each anchor's positives.

    Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv 2004.11362, Eq. 2 (L_out), without the
    factor tau / tau_base of the authors' code. Rows are scaled to length one. With two rows of every label it is
    NT-Xent. An anchor without a positive counts as 0.

    Args:
        features: (n, d) float, the anchors; all views of all images.
        label: (n,) int64, equal for views of one image and for images of one class.
        temperature: tau.
        others: (m, d) float, what the anchors are compared with; None for the anchors themselves. With several
            processes, the rows of all of them.
        other_label: (m,) int64, labels of ``others``.
        first: the row of ``others`` that is the first anchor; the next anchors follow.

    Returns:
        () float.

    Raises:
        ValueError: fewer than two rows to compare, or another number of labels than of rows.

    >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> round(supcon_loss(features, torch.tensor([0, 0, 1, 1]), temperature=1.0).item(), 4)
    0.5514
    """
    if others is None or other_label is None:
        others, other_label = features, label
    if len(label) != len(features) or len(other_label) != len(others) or len(others) < 2:
        raise ValueError(
            f"{len(features)} anchors with {len(label)} labels and {len(others)} rows with {len(other_label)} labels: "
            "a contrast needs two rows and a label for each"
        )
    logits = normalize(features.float(), dim=1) @ normalize(others.float(), dim=1).T / temperature
    itself = torch.arange(len(features), device=features.device) + first
    logits = logits.scatter(1, itself[:, None], -torch.inf)
    log_probability = logits - logits.logsumexp(1, keepdim=True)
    positive = (label[:, None] == other_label[None]).scatter(1, itself[:, None], False)
    mean = log_probability.where(positive, 0).sum(1) / positive.sum(1).clamp_min(1)
    return -mean.mean()
