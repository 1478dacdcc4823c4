"""Full batches from a pool of rows, for as many steps as one likes."""

import torch
from torch import Tensor


def pool_batches(rows: Tensor, batch_size: int, batches: int, generator: torch.Generator) -> Tensor:
    """Go through the pool again and again, each time in another order, and leave what fills no batch out.

    A pool with fewer rows than a batch has them repeated, so that some count more often than others.

    Args:
        rows: (n,) int64, the pool, n > 0.
        batch_size: B.
        batches: how many.
        generator: draws the orders.

    Returns:
        (batches, B) int64.

    Raises:
        ValueError: the pool is empty.

    >>> pool_batches(torch.tensor([4]), 2, 3, torch.Generator()).tolist()
    [[4, 4], [4, 4], [4, 4]]
    """
    if not len(rows):
        raise ValueError("there is no row to make batches of")
    in_a_pass = max(1, len(rows) // batch_size)
    passes = []
    for _ in range(-(-batches // in_a_pass)):
        order = rows[torch.randperm(len(rows), generator=generator)]
        wanted = in_a_pass * batch_size
        passes.append(order.repeat(-(-wanted // len(rows)))[:wanted].view(in_a_pass, batch_size))
    return torch.cat(passes)[:batches]
