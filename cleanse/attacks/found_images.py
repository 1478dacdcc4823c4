"""What an attack found for its images while it trained, handed out row by row."""

import torch
from torch import Tensor


def found_images(found: Tensor | None, of: Tensor | None, rows: Tensor, untrained: str, others: str) -> Tensor:
    """The images that were found for some rows of the training set.

    Args:
        found: (n, C, H, W) uint8; None before the attack has trained.
        of: (n,) int64, ascending, the rows that they are of; None before.
        rows: (m,) int64, the rows that are asked for.
        untrained: the sentence where nothing was trained.
        others: the sentence where a row is asked for that is not among ``of``.

    Returns:
        (m, C, H, W) uint8.

    Raises:
        ValueError: with one of the two sentences.

    >>> found_images(torch.tensor([[7], [8], [9]]), torch.tensor([2, 4, 6]), torch.tensor([6, 2]), "", "").tolist()
    [[9], [7]]
    """
    if found is None or of is None:
        raise ValueError(untrained)
    place = torch.searchsorted(of, rows).clamp(max=max(0, len(of) - 1))
    if not len(of) or not torch.equal(of[place], rows):
        raise ValueError(others)
    return found[place]
