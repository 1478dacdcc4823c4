"""kNN vote and class energies of an embedding: seconds, memory above the embedding, and scikit-learn in the same run.

scikit-learn only finds the neighbors, by brute force, without a vote: with its cosine distance, and with its faster
Euclidean one on embeddings of length one, which orders them the same. The ratio is to the faster of the two. Every
method runs in a process of its own, in which the highest memory use is its own too.

    python benchmarks/neighbors.py [IMAGES] [FEATURES] [CLASSES]        # 50000 512 10
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from cleanse.functional import energy_scores, knn_vote


def neighbors(metric: str) -> Callable[[Tensor, Tensor], object]:
    def find(features: Tensor, label: Tensor) -> object:
        k = len(label) // (2 * len(label.unique()))
        return NearestNeighbors(metric=metric, algorithm="brute").fit(features.numpy()).kneighbors(n_neighbors=k)

    return find


METHODS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "kNN vote": knn_vote,
    "energy vote": lambda features, label: energy_scores(features, label).max(1),
    "scikit-learn, cosine": neighbors("cosine"),
    "scikit-learn, euclidean": neighbors("euclidean"),
}


def peak() -> int:
    """Highest resident memory of this process so far, in bytes (macOS counts bytes, Linux kilobytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(name: str, images: int, features: int, classes: int) -> tuple[float, int]:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(images) % classes
    embedding = torch.randn(images, features, generator=generator)
    for row, c in zip(embedding, label.tolist(), strict=True):  # in place, so that nothing but the embedding counts
        row[c % features] += 5
        row /= row.norm()
    METHODS[name](embedding[:200].clone(), label[:200])  # libraries load
    before, begun = peak(), time.perf_counter()
    METHODS[name](embedding, label)
    return time.perf_counter() - begun, peak() - before


def main(images: int = 50_000, features: int = 512, classes: int = 10) -> None:
    seconds = {}
    for name in METHODS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            seconds[name], memory = process.submit(measure, name, images, features, classes).result()
        print(f"{name:24} {seconds[name]:8.2f} s {memory / 2**20:8.0f} MiB above the embedding", flush=True)
    best = min(seconds[name] for name in METHODS if name.startswith("scikit"))
    print(
        f"ratio to scikit-learn    {best / seconds['kNN vote']:8.2f} (kNN) {best / seconds['energy vote']:.2f} (energy)"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
