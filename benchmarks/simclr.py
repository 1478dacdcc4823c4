"""One epoch of SimCLR with ResNet-18 on CIFAR-10-sized images: this package's way against lightly's, in one run.

Lightly's way is that of its example: two views by PIL transforms in DataLoader workers, float32, NCHW, its loss and
SGD. Ours: uint8 images on the device, batched augmentation, channels-last, and bf16 where the device computes in it
faster (AMX, CUDA). Both under Lightning, with the same network (the stem for 32x32 images), projector, batch size and
augmentation, without blur. Ours also shows how nearest neighbors vote, which lightly's example does not.

    python benchmarks/simclr.py [IMAGES] [ROUNDS]       # prints images/s of both and the ratio, medians over rounds
"""

import statistics
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightly.loss import NTXentLoss
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cleanse.augment import SimCLRAugment
from cleanse.engine.progress import quiet
from cleanse.experiments.build import best_precision
from cleanse.modules import SimCLR
from cleanse.networks import ResNet18
from cleanse.views import ImageSource, TrainingView

MEAN, STD, BATCH = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 256


class TwoViews(Dataset[Any]):
    def __init__(self, image: Tensor) -> None:
        self.image = image.permute(0, 2, 3, 1).numpy()
        self.transform = SimCLRTransform(
            input_size=32, min_scale=0.2, cj_bright=0.4, cj_contrast=0.4, cj_sat=0.4, cj_hue=0.1,
            gaussian_blur=0.0, normalize={"mean": list(MEAN), "std": list(STD)},
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, i: int) -> list[Tensor]:
        views: list[Tensor] = self.transform(Image.fromarray(self.image[i]))
        return views


class LightlySimCLR(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = ResNet18(3, 10).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        width = self.network.num_features
        self.network.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 128))
        self.loss = NTXentLoss(0.5)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(*(self.network(view) for view in batch))
        self.log("simclr/loss", loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.06, momentum=0.9, weight_decay=1e-4)


def trainer(precision: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=1,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main(images: int = 2560, rounds: int = 3) -> None:
    if images < BATCH:
        raise SystemExit(f"a batch is {BATCH} images: give as many or more, not {images}")
    quiet()
    images -= images % BATCH  # full batches only, as both leave the rest out
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=generator)
    label = torch.randint(0, 10, (images,), generator=generator)
    source = ImageSource(image, tuple(map(str, range(images))), tuple("0123456789"), MEAN, STD, "benchmark")
    precision = best_precision("auto")
    times: dict[str, list[float]] = {"lightly": [], "ours": []}
    for _ in range(rounds):  # in turn, so that both see the same machine
        loader = DataLoader(TwoViews(image), BATCH, shuffle=True, drop_last=True, num_workers=2)
        begun = time.perf_counter()
        trainer("32-true").fit(LightlySimCLR(), loader)
        times["lightly"].append(time.perf_counter() - begun)
        view = TrainingView(source, torch.arange(images), label, (), BATCH)
        begun = time.perf_counter()
        trainer(precision).fit(SimCLR(ResNet18, view.image_spec, augment=SimCLRAugment()), datamodule=view)
        times["ours"].append(time.perf_counter() - begun)
    seconds = {k: statistics.median(v) for k, v in times.items()}
    for name, s in seconds.items():
        print(f"{name:7} {images / s:8.0f} images/s  ({s:.2f} s, {'32-true' if name == 'lightly' else precision})")
    ratios = sorted(u / o for u, o in zip(times["lightly"], times["ours"], strict=True))
    print(f"ratio   {statistics.median(ratios):8.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
