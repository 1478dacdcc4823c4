"""A poisoned folder of PNGs in; verdict, clean folder and report out; what a plain training makes of both folders.

The folder is made by ``cleanse poison`` from Fashion-MNIST (the argument: where its idx files are; Debian's package
dataset-fashion-mnist has them in /usr/share/datasets/fashion-mnist): 5,000 images, 5 % of them with a BadNets
checkerboard. What ``cleanse fit`` gets is a copy that holds nothing but images in class folders. It sets a fifth aside
for its own test, which the verdict does not speak of and the exported folder does not have. The trainings that measure
the folders use torch and torchvision only: this file imports nothing of cleanse.

    python benchmarks/own_folder.py /usr/share/datasets/fashion-mnist --work own_folder
"""

import argparse
import csv
import gzip
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

CHECKERBOARD = torch.tensor([[255, 0, 255], [0, 255, 0], [255, 0, 255]], dtype=torch.uint8)
READ = """\
import sys, time
from cleanse.data import ImageFolder
begun = time.perf_counter()
data = ImageFolder(sys.argv[1], size=32)
n = len(data.load(train=True).label) + len(data.load(train=False).label)
print(n / (time.perf_counter() - begun))
"""


def stamp(image: Tensor) -> Tensor:
    """The trigger on the lower right 3x3 pixels of (N, 1, H, W) uint8 images."""
    image = image.clone()
    image[..., -3:, -3:] = CHECKERBOARD
    return image


def read_idx(folder: Path, name: str, header: int) -> Tensor:
    """The bytes of an idx file, plain or gzipped."""
    plain = folder / name
    content = plain.read_bytes() if plain.is_file() else gzip.decompress((folder / f"{name}.gz").read_bytes())
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8)


def read_folder(folder: Path) -> tuple[Tensor, Tensor, dict[str, int]]:
    """Images (N, 1, H, W) uint8 and labels (N,) of one folder per class, and the numbers of the classes."""
    gray = v2.Compose([v2.PILToTensor(), v2.Grayscale()])
    data = ImageFolder(str(folder), transform=gray, allow_empty=True)
    return torch.stack([image for image, _ in data]), torch.tensor(data.targets), data.class_to_idx


def train(image: Tensor, label: Tensor, classes: int, epochs: int, seed: int) -> nn.Module:
    """A small CNN, Adam with a one-cycle rate, batches of 128, no augmentation."""
    torch.manual_seed(seed)
    side = image.shape[-1] // 4
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * side * side, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, classes),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters())
    batches = -(-len(label) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(label)).tensor_split(batches):
            loss = nn.functional.cross_entropy(network(image[rows].float() / 255), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def predict(network: nn.Module, image: Tensor) -> Tensor:
    """(N,) classes."""
    return torch.cat([network(part.float() / 255).argmax(1) for part in image.split(1000)])


def measure(folder: Path, test: Tensor, true: Sequence[str], target: str, epochs: int, seed: int) -> dict[str, float]:
    """SA and ASR of a training on a folder; ``true`` names the class folder of each test image."""
    image, label, number = read_folder(folder)
    network = train(image, label, len(number), epochs, seed)
    truth = torch.tensor([number[name] for name in true])
    others = truth != number[target]
    sa = (predict(network, test) == truth).double().mean()
    asr = (predict(network, stamp(test[others])) == number[target]).double().mean()
    return {"images": len(label), "sa": float(sa), "asr": float(asr)}


def check_stamp(frozen: Path) -> int:
    """Compare our trigger with the triggered images of ``cleanse poison``, pixel by pixel; how many there were."""
    files = sorted((frozen / "triggered").rglob("*.png"))
    for file in files:
        plain = decode_image(str(frozen / "test" / file.relative_to(frozen / "triggered")), ImageReadMode.GRAY)
        if not torch.equal(stamp(plain), decode_image(str(file), ImageReadMode.GRAY)):
            raise SystemExit(f"{file} does not carry the trigger that is measured here")
    return len(files)


def detection(verdict: Path, key: list[dict[str, str]]) -> dict[str, float]:
    """TPR and FPR of a verdict against the answer key, over the images that were judged."""
    role = {row["file"].removeprefix("train/"): row["role"] for row in key}
    flagged: dict[str, list[bool]] = {"clean": [], "poison": []}
    with verdict.open(newline="") as file:
        for row in csv.DictReader(file):
            flagged[role[row["id"]]].append(row["action"] != "keep")
    share = {name: sum(found) / max(1, len(found)) for name, found in flagged.items()}
    return {"tpr": share["poison"], "fpr": share["clean"], "poisoned": len(flagged["poison"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("idx", type=Path, help="folder with the idx files of Fashion-MNIST")
    parser.add_argument("--work", type=Path, default=Path("own_folder"), help="folder to make; missing or empty")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--poison_rate", type=float, default=0.05)
    parser.add_argument("--size", type=int, default=28, help="pixels that cleanse fit resizes to")
    parser.add_argument("--recipe", default="knn")
    parser.add_argument("--network", default="SmallResNet")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--pretrain_epochs", type=int, default=40)
    parser.add_argument("--pretrain_batch_size", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=20, help="of SupCon")
    parser.add_argument("--probe_epochs", type=int, default=10)
    parser.add_argument("--independent_epochs", type=int, default=15, help="of the plain trainings")
    parser.add_argument("--fit", default="", help="more arguments of cleanse fit, such as '--baseline true'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    work, seconds = asked.work.absolute(), {}
    work.mkdir(parents=True, exist_ok=True)
    if any(work.iterdir()):
        parser.error(f"--work {str(asked.work)!r} is not empty")

    def cleanse(command: str, *words: object) -> Path:
        """Run one command as a user would; the path that it prints last."""
        line = ["cleanse", command, *map(str, words)]
        print("$", shlex.join(line), flush=True)
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", *line], cwd=work, stdout=subprocess.PIPE, text=True, check=True)
        seconds[command] = time.perf_counter() - begun
        print(done.stdout, flush=True)
        return work / done.stdout.splitlines()[-1]

    frozen, folder = work / "frozen", work / "folder"
    cleanse(
        "poison", "--config", "data/fashion_mnist.yaml", "--config", "attacks/badnets.yaml",
        "--data.root", asked.idx.absolute(), "--data.download", "false",
        "--data.limit_train", asked.images, "--data.limit_test", 200, "--data.attack.class_rate=null",
        "--data.attack.poison_rate", asked.poison_rate, "--seed_everything", asked.seed, "--out", frozen,
    )  # fmt: skip
    shutil.copytree(frozen / "train", folder)
    print(f"the independent trigger equals that of cleanse on {check_stamp(frozen)} images\n", flush=True)

    run = cleanse(
        "fit", "--config", f"{asked.recipe}.yaml", "--config", "data/folder.yaml", "--data.root", folder,
        "--data.size", asked.size, "--model.network", f"cleanse.networks.{asked.network}",
        "--model.network.width", asked.width, "--model.pretrain_epochs", asked.pretrain_epochs,
        "--model.pretrain_batch_size", asked.pretrain_batch_size,
        "--model.pretrain_lr", 0.5 * asked.pretrain_batch_size / 1024, "--model.epochs", asked.epochs,
        "--model.probe_epochs", asked.probe_epochs,
        "--model.milestones", json.dumps([asked.probe_epochs * part // 100 for part in (60, 75, 90)]),
        "--threads", asked.threads, "--seed_everything", asked.seed, *shlex.split(asked.fit),
    )  # fmt: skip
    cleanse("export", run, "--out", work / "clean")
    page = cleanse("report", run)

    with (frozen / "rows.csv").open(newline="") as file:
        key = list(csv.DictReader(file))
    found = detection(run / "verdict.csv", key)
    name = {int(row["given_label"]): row["file"].split("/")[1] for row in key}
    test = read_idx(asked.idx, "t10k-images-idx3-ubyte", 16).view(-1, 1, 28, 28)
    true = [name[c] for c in read_idx(asked.idx, "t10k-labels-idx1-ubyte", 8).tolist()]
    measured = {
        title: measure(where, test, true, name[0], asked.independent_epochs, asked.seed)
        for title, where in (("the folder as it came", folder), ("the exported folder", work / "clean"))
    }
    done = subprocess.run([sys.executable, "-c", READ, folder], stdout=subprocess.PIPE, text=True, check=True)

    print("| trained in plain torchvision on | images | SA % | ASR % |\n|---|---|---|---|")
    for title, row in measured.items():
        print(f"| {title} | {row['images']} | {100 * row['sa']:.1f} | {100 * row['asr']:.1f} |")
    print(f"\n| | |\n|---|---|\n| TPR of the verdict | {100 * found['tpr']:.1f} % of {found['poisoned']} |")
    print(f"| FPR of the verdict | {100 * found['fpr']:.1f} % |")
    for command, value in seconds.items():
        print(f"| cleanse {command} | {value:.1f} s |")
    print(f"| report | {page.stat().st_size / 1e6:.2f} MB |")
    print(f"| reading the folder at 32 pixels | {float(done.stdout):,.0f} images/s |", flush=True)


if __name__ == "__main__":
    main()
