"""550,000 images of 32x32 pixels, 500,000 of them from a pickle like Carmon et al.'s, poisoned: seconds and memory.

The pickle has random pixels and the size of the real one (1.5 GB, in a temporary folder). Memory is what belongs to the
process alone (Linux: RssAnon, looked at every 10 ms), without the pages of the file, which the system can have back.
Then the images that VGG-16 labels per second, in batches of 128, with the default number of threads.

    python benchmarks/pool.py [UNLABELED [LABELED]]
"""

import multiprocessing
import pickle
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from cleanse.attacks import BadNets
from cleanse.data import TinyImages500K, WithPool
from cleanse.data.tiny_images import FILE
from cleanse.networks import VGG16BN


class Memory(threading.Thread):
    """Watches the highest anonymous memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = 0

    def run(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            self.highest = max(self.highest, next(1024 * int(x.split()[1]) for x in lines if x.startswith("RssAnon")))
            time.sleep(0.01)


def write(folder: Path, images: int) -> None:
    """A pickle of this many images."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    content = {
        "data": draw.integers(256, size=(images, 32, 32, 3), dtype=np.uint8),
        "extrapolated_targets": draw.integers(10, size=images),
    }
    with (folder / FILE).open("wb") as file:
        pickle.dump(content, file, protocol=4)


def throughput(batch: int = 128, batches: int = 5) -> float:
    """Images per second."""
    network, image = VGG16BN(3, 10).eval().to(memory_format=torch.channels_last), torch.rand(batch, 3, 32, 32)
    image = image.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(image)
        begun = time.perf_counter()
        for _ in range(batches):
            network(image)
    return batch * batches / (time.perf_counter() - begun)


def main(unlabeled: int, labeled: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        roots = [Path(folder, name) for name in ("labeled", "pool")]
        for root, images in zip(roots, (labeled, unlabeled), strict=True):  # in processes whose memory does not count
            maker = multiprocessing.get_context("spawn").Process(target=write, args=(root, images))
            maker.start()
            maker.join()
        memory, begun = Memory(), time.perf_counter()
        memory.start()
        attack = BadNets("gray", target=1, poison_rate=0.1, unlabeled_count=unlabeled // 100)
        view = WithPool(*(TinyImages500K(str(root)) for root in roots), attack=attack, seed=0).training_view()
        print(f"{len(view)} images read and poisoned in {time.perf_counter() - begun:.1f} s")
        print(f"{memory.highest / 1e9:.2f} GB of memory at most")
    print(f"VGG-16 labels {throughput():.0f} images/s ({torch.get_num_threads()} threads)")


if __name__ == "__main__":
    main(*(int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 500_000), (2, 50_000))))
