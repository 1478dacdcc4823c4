"""What a machine does in a second, in one table and one run: our way, the usual way, and the machine's own limit.

Each row is measured in turns, ours and the usual way one after the other, and the medians of the turns count. The limit
is a product of two square matrices in the precision that ours computes in, timed in every turn. A row's share of it is
the arithmetic that torch.utils.flop_counter finds in one step (only products and convolutions count), by the steps of a
second.

* ResNet-18, batch 128: uint8 images on the device, batched augmentation, channels-last, the precision that cleanse
  chooses; against torchvision's PIL transforms in a DataLoader, float32, NCHW.
* FastNet, batch 512: the same against the same.
* SimCLR, ResNet-18, batch 256 (an image is two views): against lightly's example (`simclr.py`).
* flows of all classes at once, against nflows' one after the other (`flows.py`), in rows of 512 features.
* kNN vote in rows of 512 features, against scikit-learn's brute force, which finds the neighbors and does not vote.
* poisoning: BadNets on a tenth of the images, against a loop over images by PIL.

    python benchmarks/speed.py [--seconds 20] [--device cuda] [--threads 2] [--only resnet18 fast]

``--seconds`` is for each side of a row. On a machine with other work beside it only the ratios say something.
"""

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from epoch import BATCH, MEAN, STD, PlainClassifier, Usual
from flows import at_once, blobs, one_after_the_other
from kornia.augmentation import RandomHorizontalFlip
from PIL import Image
from simclr import BATCH as SIMCLR_BATCH
from simclr import LightlySimCLR, TwoViews
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from cleanse.attacks import BadNets
from cleanse.augment import PadCrop, SimCLRAugment
from cleanse.engine.memory import memory_kept
from cleanse.engine.precision import BFLOAT16, best_precision
from cleanse.engine.progress import quiet
from cleanse.functional import knn_vote
from cleanse.modules import Classifier, SimCLR
from cleanse.networks import FastNet, ResNet18
from cleanse.views import ImageSource, TrainingView

FAST_BATCH, FEATURES, CLASSES, TURNS = 512, 512, 10, 3
Run = Callable[[int], float]
"""How many units at least, to seconds."""


@dataclass
class Row:
    """A line of the table.

    Attributes:
        name: of what is measured.
        unit: what is counted.
        ours, usual: take a number of steps, do them, and give the seconds that they took.
        units: in a step of ours, and in one of the usual way.
        flops: of a unit; None where there is nothing to multiply.
        reduced: ours computes in the chosen precision, otherwise in float32.
    """

    name: str
    unit: str
    ours: Run
    usual: Run
    units: tuple[int, int]
    flops: float | None
    reduced: bool = False


class Stopwatch(pl.Callback):
    """Seconds from the end of the first batch, which prepares, to the end of the last one."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.begun = 0.0
        self.seconds = 0.0

    def on_train_batch_end(self, *args: Any) -> None:
        if args[-1] == 0:
            synchronize(self.device)
            self.begun = time.perf_counter()

    def on_train_epoch_end(self, *args: Any) -> None:
        synchronize(self.device)
        self.seconds = time.perf_counter() - self.begun


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def trained(make: Callable[[], tuple[pl.LightningModule, dict[str, Any]]], precision: Any, device: str) -> Run:
    """A run of so many training steps under a Lightning Trainer, one more before the watch starts."""

    def run(steps: int) -> float:
        module, data = make()
        watch = Stopwatch(device)
        trainer = pl.Trainer(
            accelerator=device, devices=1, max_epochs=1, limit_train_batches=steps + 1, precision=precision,
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[watch],
        )  # fmt: skip
        with memory_kept():
            trainer.fit(module, **data)
        return watch.seconds

    return run


class Repeated(DataLoader[Any]):
    """A DataLoader that has no end."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        while True:
            yield from super().__iter__()

    def __len__(self) -> int:
        return 1 << 30


def loader(data: Any, batch: int, device: str) -> Repeated:
    """Worker processes only where the processor would wait for a GPU otherwise."""
    return Repeated(data, batch, shuffle=True, drop_last=True, num_workers=8 if device == "cuda" else 0)


def view_of(source: ImageSource, label: Tensor, augment: list[Any], batch: int, steps: int) -> TrainingView:
    """A view of at least so many batches: the rows, as often as it takes."""
    rows = torch.arange(len(label)).repeat((steps + 2) * batch // len(label) + 1)
    return TrainingView(source, rows, label[rows], augment, batch)


def flops_of(module: pl.LightningModule, batch: dict[str, Tensor]) -> float:
    """Of one image's training step: forward and backward; counted on the CPU in float32."""
    module.log = lambda *a, **k: None  # type: ignore[method-assign]
    with FlopCounterMode(display=False) as counter:
        module.training_step(batch, 0).backward()
    return counter.get_total_flops() / len(batch["image"])


def rows(device: str, precision: str, knn_rows: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Name and maker of every line; making one reads no more than it needs."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2560, 3, 32, 32), dtype=torch.uint8, generator=generator)
    label = torch.randint(0, CLASSES, (len(image),), generator=generator)
    names = tuple(str(i) for i in range(len(image)))
    source = ImageSource(image, names, tuple("0123456789"), MEAN, STD, "benchmark")
    spec = TrainingView(source, torch.arange(8), label[:8]).image_spec

    def classifier(name: str, network: Any, batch: int) -> Row:
        def ours(steps: int) -> float:
            view = view_of(source, label, [PadCrop(4), RandomHorizontalFlip()], batch, steps)
            return trained(lambda: (Classifier(network, spec), {"datamodule": view}), precision, device)(steps)

        def plain() -> tuple[pl.LightningModule, dict[str, Any]]:
            return PlainClassifier(network, spec), {"train_dataloaders": loader(Usual(image, label), batch, device)}

        some = TrainingView(source, torch.arange(8), label[:8]).batch(torch.arange(8), augmented=False)
        flops = flops_of(Classifier(network, spec), some)
        return Row(name, "images", ours, trained(plain, "32-true", device), (batch, batch), flops, True)

    def contrastive() -> Row:
        def ours(steps: int) -> float:
            view = view_of(source, label, [], SIMCLR_BATCH, steps)
            module = SimCLR(ResNet18, spec, augment=SimCLRAugment())
            return trained(lambda: (module, {"datamodule": view}), precision, device)(steps)

        def lightly() -> tuple[pl.LightningModule, dict[str, Any]]:
            return LightlySimCLR(), {"train_dataloaders": loader(TwoViews(image), SIMCLR_BATCH, device)}

        some = TrainingView(source, torch.arange(8), label[:8]).batch(torch.arange(8), augmented=False)
        flops = 2 * flops_of(Classifier(ResNet18, spec), some)  # two views; the projector is small beside it
        usual = trained(lightly, "32-true", device)
        return Row("SimCLR, ResNet-18", "images", ours, usual, (SIMCLR_BATCH, SIMCLR_BATCH), flops, True)

    def flows() -> Row:
        def timed(train: Any, steps: int) -> float:
            table = blobs(16 * CLASSES * steps, FEATURES, CLASSES)
            synchronize(device)
            begun = time.perf_counter()
            train(table, 1, device)
            synchronize(device)
            return time.perf_counter() - begun

        per_row = 3 * 2 * 2 * (FEATURES // 2 * FEATURES // 2 + FEATURES // 2 * FEATURES)  # two nets of two layers
        ours, usual = partial(timed, at_once), partial(timed, one_after_the_other)
        return Row("flows of 10 classes", "rows", ours, usual, (16 * CLASSES, 16 * CLASSES), float(per_row))

    def neighbors() -> Row:
        feature = torch.randn(knn_rows, FEATURES, generator=generator)
        given = torch.arange(knn_rows) % CLASSES
        k = knn_rows // (2 * CLASSES)
        unit = (feature / feature.norm(dim=1, keepdim=True)).numpy()

        def ours(steps: int) -> float:
            there = feature.to(device), given.to(device)
            synchronize(device)
            begun = time.perf_counter()
            for _ in range(steps):
                knn_vote(*there)
            synchronize(device)
            return time.perf_counter() - begun

        def usual(steps: int) -> float:
            begun = time.perf_counter()
            for _ in range(steps):
                NearestNeighbors(metric="euclidean", algorithm="brute").fit(unit).kneighbors(n_neighbors=k)
            return time.perf_counter() - begun

        name = f"kNN vote among {knn_rows:,} rows"
        return Row(name, "rows", ours, usual, (knn_rows, knn_rows), 2.0 * knn_rows * FEATURES)

    def poisoning() -> Row:
        attack = BadNets("checkerboard", target=0, poison_rate=0.1)
        everything = torch.ones(len(label), dtype=torch.bool)

        def ours(steps: int) -> float:
            begun = time.perf_counter()
            for seed in range(steps):
                attack.poison(image, label, everything, CLASSES, seed)
            return time.perf_counter() - begun

        def usual(steps: int) -> float:
            patch = Image.new("RGB", (3, 3), (255, 255, 255))
            begun = time.perf_counter()
            for _ in range(steps):
                for i, one in enumerate(image.permute(0, 2, 3, 1).numpy()):
                    picture = Image.fromarray(one)
                    if i % 10 == 0:
                        picture.paste(patch, (29, 29))
                    torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
            return time.perf_counter() - begun

        return Row("poisoning, BadNets", "images", ours, usual, (len(label), len(label)), None)

    yield "resnet18", lambda: classifier("ResNet-18", ResNet18, BATCH)
    yield "fast", lambda: classifier("FastNet", FastNet, FAST_BATCH)
    yield "simclr", contrastive
    yield "flows", flows
    yield "knn", neighbors
    yield "poison", poisoning


def steps_for(run: Run, seconds: float) -> int:
    """How many steps take about so long."""
    if run(1) > seconds:  # libraries load, kernels are chosen
        return 1
    steps, took = 1, 0.0
    while (took := run(steps)) < min(0.5, seconds / 4) and steps < 1 << 20:
        steps *= 4
    return max(1, round(steps * seconds / max(took, 1e-9)))


def measured(row: Row, seconds: float, limit: Callable[[], float]) -> list[tuple[float, float, float]]:
    """Of each turn: units a second of ours, of the usual way, and operations a second of the matrix product then."""
    steps = [steps_for(run, seconds / TURNS) for run in (row.ours, row.usual)]
    turns = []
    for _ in range(TURNS):
        rates = [n * u / run(n) for run, n, u in zip((row.ours, row.usual), steps, row.units, strict=True)]
        turns.append((rates[0], rates[1], limit()))
    return turns


def product(dtype: torch.dtype, device: str, seconds: float) -> float:
    """Operations a second of the machine's own matrix product."""
    size = 8192 if device == "cuda" else 2048
    one = torch.randn(size, size, device=device).to(dtype)
    rates = []
    end = time.perf_counter() + seconds
    one @ one
    while len(rates) < 3 or time.perf_counter() < end:
        synchronize(device)
        begun = time.perf_counter()
        one @ one
        synchronize(device)
        rates.append(2 * size**3 / (time.perf_counter() - begun))
    return statistics.median(rates)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each side of a row")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="of the CPU; torch's number if it is not said")
    parser.add_argument("--only", nargs="+", help="resnet18, fast, simclr, flows, knn, poison")
    parser.add_argument("--knn_rows", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args(argv)
    quiet()
    logging.getLogger("cleanse").setLevel(logging.WARNING)  # a line for every poisoning
    if asked.threads:
        torch.set_num_threads(asked.threads)
    precision = best_precision(asked.device)
    reduced = torch.bfloat16 if precision == BFLOAT16 else torch.float32
    name = torch.cuda.get_device_name() if asked.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{name}; torch {torch.__version__}; {precision}; {asked.seconds:g} s a side\n")
    print("| what | ours, a second | the usual way | ratio (of each turn) | GFLOP/s, ours of the product's | share |")
    print("|---|---|---|---|---|---|", flush=True)
    found = {}
    for key, make in rows(asked.device, precision, asked.knn_rows):
        if asked.only and key not in asked.only:
            continue
        row = make()
        dtype = reduced if row.reduced else torch.float32
        turns = measured(row, asked.seconds, partial(product, dtype, asked.device, min(0.5, asked.seconds)))
        ours, usual, at_most = (statistics.median(column) for column in zip(*turns, strict=True))
        ratios = [one / other for one, other, _ in turns]
        share = None if row.flops is None else statistics.median(one * row.flops / most for one, _, most in turns)
        cells = (
            ["-", "-"] if share is None else [f"{ours * row.flops / 1e9:,.0f} of {at_most / 1e9:,.0f}", f"{share:.0%}"]
        )
        each = ", ".join(f"{r:.2f}" for r in ratios)
        middle = f"{statistics.median(ratios):.2f} ({each})"
        print(f"| {row.name} | {ours:,.0f} {row.unit} | {usual:,.0f} | {middle} | {' | '.join(cells)} |", flush=True)
        found[key] = {"ours": ours, "usual": usual, "ratios": ratios, "flops": row.flops, "share": share}
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
