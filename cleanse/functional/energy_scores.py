"""Class energies in an embedding: how likely each image is to be paired with one of each class."""

import torch
from torch import Tensor

from cleanse.functional._unit import unit_rows


def energy_scores(features: Tensor, label: Tensor, temperature: float = 0.5, block: int = 1024) -> Tensor:
    """S_c(z_i), the log of the mean probability that z_i is paired with an image of class c.

    Wang et al. 2022 (arXiv 2210.10272), Eq. 6 (D75):
    ``logsumexp_{k in I_c - i}(z_i z_k / tau) - log |I_c - i| - logsumexp_{k != i}(z_i z_k / tau)``, on embeddings
    scaled to length one. No exponential is taken on its own, so that any temperature is safe.

    Image i is left out of its own class. A class without another image, be it absent or i alone, scores -inf.

    Args:
        features: (n, d) float embeddings of any length; half precision is computed in float32.
        label: (n,) int64, as given.
        temperature: tau, that of the contrastive loss.
        block: rows compared at a time; memory is little more than block * n numbers.

    Returns:
        (n, C) float, C the largest label + 1; float64 for float64 features, float32 otherwise.

    Raises:
        ValueError: a temperature that is not positive, fewer than two images, NaN or zero vectors, another number of
            labels, or a negative one.

    >>> features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> energy_scores(features, torch.tensor([0, 0, 2])).round(decimals=4).tolist()
    [[-0.1269, -inf, -2.1269], [-0.1269, -inf, -2.1269], [-0.6931, -inf, -inf]]
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature is above 0 and finite, not {temperature}")
    unit, n = unit_rows(features, label, block), len(features)
    label = label.to(unit.device)
    order = label.argsort(stable=True)
    by_class, place = unit[order], order.argsort()  # the images of a class lie side by side
    size = label.bincount()
    scores = unit.new_full((n, len(size)), -torch.inf)
    for start in range(0, n, block):
        rows = slice(start, start + block)
        similarity = (unit[rows] @ by_class.T).div_(temperature)
        similarity.scatter_(1, place[rows, None], -torch.inf)
        for c, columns in enumerate(torch.split(similarity, size.tolist(), dim=1)):
            if columns.shape[1]:
                scores[rows, c] = columns.logsumexp(1)
    scores -= scores.logsumexp(1, keepdim=True)
    log_size, log_others = (s.clamp(min=1).to(unit).log() for s in (size, size - 1))
    scores -= log_size
    scores[torch.arange(n, device=unit.device), label] += (log_size - log_others)[label]
    return scores
