"""How much faster our flip and crop are than Kornia's on the CPU: ``python benchmarks/augment.py``.

Both are timed in turn in one run on the same batch, 128 images of 3x32x32, on one thread; the median of the repeats
counts. Kornia's output is put back into channels-last where that is the batch's format, because the network that
follows needs it. A fused version stays only while its ratio is 1.5 or more in channels-last, the default format; a flip
of contiguous images gains less. A fused rotation gained 1.4 to 1.6 (both spend their time in ``grid_sample``), so
`cleanse.augment.Rotation` calls Kornia and is not timed here.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from kornia.augmentation import RandomCrop, RandomHorizontalFlip
from torch import Tensor

from cleanse.augment import Flip, PadCrop

REPEATS = 101
PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "Flip": (Flip(), RandomHorizontalFlip(p=0.5)),
    "PadCrop": (PadCrop(), RandomCrop((32, 32), padding=4)),
}


def seconds(augment: Callable[[Tensor], Tensor], image: Tensor, memory_format: torch.memory_format) -> float:
    start = perf_counter()
    augment(image).contiguous(memory_format=memory_format)
    return perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        image = torch.rand(128, 3, 32, 32).contiguous(memory_format=memory_format)
        for name, (ours, kornia) in PAIRS.items():
            pairs = [[seconds(f, image, memory_format) for f in (ours, kornia)] for _ in range(REPEATS)]
            fast, slow = (1000 * median(column) for column in zip(*pairs, strict=True))
            print(f"{name:9} {memory_format!s:24} {fast:6.2f} ms, Kornia {slow:6.2f} ms: {slow / fast:.1f}x")


if __name__ == "__main__":
    main()
