"""How much faster our augmentations are than Kornia's on the CPU: ``python benchmarks/augment.py``.

Both are timed in turn in one run on the same batch of 3x32x32, 128 images (256 for SimCLR), on one thread; the median
of the repeats counts. Kornia's output is put back into channels-last where that is the batch's format, because the
network that follows needs it. A fused version stays only while its ratio is 1.5 or more in channels-last, the default
format.

Kornia's crop is timed as it gives torchvision's image. Kornia draws one order of the four color operations for the
whole batch, `SimCLRAugment` one for each image.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from kornia.augmentation import ColorJitter, RandomCrop, RandomGrayscale, RandomHorizontalFlip, RandomResizedCrop
from torch import Tensor, nn

from cleanse.augment import PadCrop, SimCLRAugment

KORNIA_SIMCLR = nn.Sequential(
    RandomResizedCrop((32, 32), (0.2, 1.0), (3 / 4, 4 / 3), same_on_batch=False, align_corners=False),
    RandomHorizontalFlip(p=0.5),
    ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
    RandomGrayscale(p=0.2),
)
Augment = Callable[[Tensor], Tensor]
CASES: dict[str, tuple[Augment, Augment, int, int]] = {  # ours, Kornia's, images, repeats
    "PadCrop": (PadCrop(), RandomCrop((32, 32), padding=4), 128, 101),
    "SimCLRAugment": (SimCLRAugment(), KORNIA_SIMCLR, 256, 11),
}


def seconds(augment: Augment, image: Tensor, memory_format: torch.memory_format) -> float:
    start = perf_counter()
    augment(image).contiguous(memory_format=memory_format)
    return perf_counter() - start


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for name, (ours, kornia, images, repeats) in CASES.items():
            image = torch.rand(images, 3, 32, 32).contiguous(memory_format=memory_format)
            pairs = [[seconds(f, image, memory_format) for f in (ours, kornia)] for _ in range(repeats)]
            fast, slow = (1000 * median(column) for column in zip(*pairs, strict=True))
            print(f"{name:13} {memory_format!s:24} {fast:6.2f} ms, Kornia {slow:6.2f} ms: {slow / fast:.1f}x")


if __name__ == "__main__":
    main()
