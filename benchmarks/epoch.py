"""One epoch of ResNet-18 training on CIFAR-10-sized images: this package's way against the usual way, in one run.

The usual way: torchvision's PIL transforms in DataLoader workers, float32, NCHW. Ours: uint8 images on the device,
batched augmentation, channels-last, and bf16 where the device computes in it faster (AMX, CUDA). Both under Lightning.

    python benchmarks/epoch.py [IMAGES] [ROUNDS]        # prints images/s of both and the ratio, medians over rounds
"""

import statistics
import sys
import time
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from kornia.augmentation import RandomHorizontalFlip
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cleanse.augment import PadCrop
from cleanse.engine.progress import quiet
from cleanse.experiments.build import best_precision
from cleanse.modules import Classifier
from cleanse.networks import ResNet18
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import ImageSource, TrainingView

MEAN, STD, BATCH = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 128


class Usual(Dataset[Any]):
    def __init__(self, image: torch.Tensor, label: torch.Tensor) -> None:
        self.image, self.label = image.permute(0, 2, 3, 1).numpy(), label.tolist()
        self.transform = transforms.Compose(
            [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, i: int) -> Any:
        return {"image": self.transform(Image.fromarray(self.image[i])), "label": self.label[i], "index": i}


class PlainClassifier(Classifier):
    """The same network and optimizer in NCHW."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.network = self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def trainer(precision: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=1,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main(images: int = 1280, rounds: int = 3) -> None:
    quiet()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    label = torch.randint(0, 10, (images,), generator=generator)
    source = ImageSource(image, tuple(map(str, range(images))), tuple("0123456789"), MEAN, STD, "benchmark")
    build = partial(Classifier, ResNet18, ImageSpec(3, 10, MEAN, STD, (32, 32)))
    precision = best_precision("auto")
    times: dict[str, list[float]] = {"usual": [], "ours": []}
    for _ in range(rounds):  # in turn, so that both see the same machine
        loader = DataLoader(Usual(image, label), BATCH, shuffle=True, drop_last=True, num_workers=2)
        begun = time.perf_counter()
        trainer("32-true").fit(PlainClassifier(ResNet18, ImageSpec(3, 10, MEAN, STD, (32, 32))), loader)
        times["usual"].append(time.perf_counter() - begun)
        view = TrainingView(source, torch.arange(images), label, [PadCrop(4), RandomHorizontalFlip()], BATCH)
        begun = time.perf_counter()
        trainer(precision).fit(build(), datamodule=view)
        times["ours"].append(time.perf_counter() - begun)
    seconds = {k: statistics.median(v) for k, v in times.items()}
    for name, s in seconds.items():
        print(f"{name:6} {images / s:8.0f} images/s  ({s:.2f} s, {'32-true' if name == 'usual' else precision})")
    ratios = sorted(u / o for u, o in zip(times["usual"], times["ours"], strict=True))
    print(f"ratio  {statistics.median(ratios):8.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
