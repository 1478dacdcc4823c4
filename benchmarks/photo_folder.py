"""A poisoned folder of photographs, as a stranger would have it, and what a verdict says about it.

All images are cut to squares of --size pixels, so that nothing but the patch tells the poisoned ones apart; the truth
is written beside the folder, not into it.

    python benchmarks/photo_folder.py make ~/imagewoof/train photos --size 224 --patch 13 --count 75 --target 6
    cleanse check photos
    python benchmarks/photo_folder.py compare photos runs/check-imagefolder-...
    python benchmarks/photo_folder.py make cifar10:~/data photos --images 3000 --patch 3 --count 108 --target 9
"""

import argparse
import csv
import json
from pathlib import Path

import torch
from PIL import Image
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms.functional import center_crop, pil_to_tensor, resize, to_pil_image

from cleanse.attacks import BadNets
from cleanse.verdict import Verdict


def square(file: str, size: int) -> Image.Image:
    """The middle of a picture."""
    return center_crop(resize(Image.open(file).convert("RGB"), size, antialias=True), [size, size])


def make(given: argparse.Namespace) -> None:
    """Write the folder, and its truth beside it."""
    kind, _, root = given.source.rpartition(":")
    if kind == "cifar10":
        data = CIFAR10(Path(root).expanduser())
    else:
        data = ImageFolder(str(Path(given.source).expanduser()), loader=lambda file: square(file, given.size))
    generator = torch.Generator().manual_seed(given.seed)
    chosen = torch.randperm(len(data), generator=generator)[: given.images or None].tolist()
    others = [i for i in chosen if data.targets[i] != given.target]
    poisoned = set(others[: given.count])
    attack = BadNets(target=given.target, count=0, size=given.patch)
    truth = []
    for i in sorted(chosen):
        image, label = data[i]
        if i == min(chosen):
            attack.draw((3, image.height, image.width), generator)
        if i in poisoned:
            image = to_pil_image(attack.trigger(pil_to_tensor(image)[None])[0])
        name = f"{data.classes[given.target if i in poisoned else label]}/{i:05}.png"
        (given.out / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(given.out / name)
        truth.append((name, int(i in poisoned), data.classes[label]))
    with Path(f"{given.out}.truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "poisoned", "true_class"), *truth])


def compare(given: argparse.Namespace) -> None:
    """TPR, FPR, and how many relabeled images got their true class."""
    verdict = Verdict.load(given.run).to_frame()
    with Path(f"{given.out}.truth.csv").open(newline="") as file:
        truth = {row["id"]: row for row in csv.DictReader(file)}
    poisoned = verdict["id"].map(lambda id: truth[id]["poisoned"] == "1")
    flagged = verdict["action"] != "keep"
    classes = sorted(folder.name for folder in given.out.iterdir())
    right = verdict["new_label"] == verdict["id"].map(lambda id: classes.index(truth[id]["true_class"]))
    relabeled = verdict["action"] == "relabel"
    found = {
        "flagged_poison": int((flagged & poisoned).sum()),
        "poison": int(poisoned.sum()),
        "flagged_clean": int((flagged & ~poisoned).sum()),
        "clean": int((~poisoned).sum()),
        "relabeled": int(relabeled.sum()),
        "relabeled_right": int((relabeled & right).sum()),
    }
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    one = tasks.add_parser("make")
    one.add_argument("source", help="a folder of one folder per class, or cifar10:ROOT")
    one.add_argument("out", type=Path)
    one.add_argument("--size", type=int, default=224)
    one.add_argument("--images", type=int, default=0, help="0 for all")
    one.add_argument("--patch", type=int, default=13, help="side of the checkerboard in pixels")
    one.add_argument("--count", type=int, default=75, help="images that get it, from other classes than the target")
    one.add_argument("--target", type=int, default=6)
    one.add_argument("--seed", type=int, default=3)
    one.set_defaults(task=make)
    other = tasks.add_parser("compare")
    other.add_argument("out", type=Path)
    other.add_argument("run", type=Path)
    other.set_defaults(task=compare)
    given = parser.parse_args()
    given.task(given)


if __name__ == "__main__":
    main()
