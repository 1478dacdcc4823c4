"""Does `cleanse check`'s rule name the attacked class, and what does it flag? Poison a folder of data, encode, judge.

    python benchmarks/check_rule.py cifar10 ~/data --images 10000 --attack badnets sig wanet --rate .005 .02 .1
    python benchmarks/check_rule.py gtsrb ~/data --images 10000 --target 1
    python benchmarks/check_rule.py folder ~/imagewoof/train --size 224
    python benchmarks/check_rule.py synthetic --images 200000 --classes 1000 --rate .0005

docs/results.md has its tables. Clean images are encoded once and kept in --cache; for an attack only what it changes
is. ``--draws`` judges random parts of the clean images instead: how often is a class named without an attack?
``--curve`` adds the TPR at given FPRs, from the scores. ``--voters`` lets fewer images vote.
"""

import argparse
import hashlib
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cleanse.attacks import SIG, BadNets, Blend, QiAdaptiveBlend, TaCT, WaNet
from cleanse.encoders import EfficientNetLite
from cleanse.functional.check_labels import Checked, check_labels
from cleanse.functional.content_votes import VOTERS, content_votes
from cleanse.functional.expected_flags import expected_flags


def load(name: str, root: str, images: int, seed: int, size: int) -> tuple[Tensor, Tensor]:
    """(n, C, H, W) uint8 and (n,) labels, a random part."""
    from torchvision import datasets
    from torchvision.transforms.functional import pil_to_tensor

    path = str(Path(root).expanduser())
    data = {
        "cifar10": lambda: datasets.CIFAR10(path, train=True),
        "cifar10test": lambda: datasets.CIFAR10(path, train=False),
        "fashionmnist": lambda: datasets.FashionMNIST(path, train=True),
        "gtsrb": lambda: datasets.GTSRB(path, split="train"),
        "gtsrbtest": lambda: datasets.GTSRB(path, split="test"),
        "folder": lambda: datasets.ImageFolder(path, loader=lambda file: square(file, size)),
    }[name]()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[: images or None]
    pairs = [data[int(i)] for i in order]
    return torch.stack([pil_to_tensor(image) for image, _ in pairs]), torch.tensor([label for _, label in pairs])


def square(file: str, size: int) -> Image.Image:
    """Any picture, on white, at the size that the encoder sees."""
    picture = Image.open(file).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB").resize((size, size))


def attacks(target: int, source: int, rate: float, size: int) -> dict[str, object]:
    patch = max(3, size * 3 // 32) if size > 64 else None
    return {
        "badnets": BadNets(target=target, poison_rate=rate, size=patch),
        "badnets_noise": BadNets("noise", target=target, poison_rate=rate, size=patch),
        "one_source": BadNets(target=target, source=source, poison_rate=rate, size=patch),
        "blend": Blend(target=target, poison_rate=rate),
        "blend.2": Blend(alpha=0.2, target=target, poison_rate=rate),
        "blend_noise": Blend(pattern="noise", target=target, poison_rate=rate),
        "badnets_colors": BadNets("colors", target=target, poison_rate=rate, size=patch),
        "sig": SIG(target=target, poison_rate=rate),
        "wanet": WaNet(target=target, poison_rate=rate),
        "tact": TaCT(target=target, source=source, cover_classes=None, cover_rate=rate, poison_rate=rate),
        "all_to_all": BadNets(labels="next", class_rate=rate, size=patch),
        "all_to_all_blend": Blend(labels="next", class_rate=rate),
        "all_to_all_wanet": WaNet(labels="next", class_rate=rate),
        "random_labels": BadNets(labels="random", class_rate=rate, size=patch),
        "adap_blend": QiAdaptiveBlend(target=target, poison_rate=rate, cover_rate=rate),
    }


def encode(encoder: EfficientNetLite, image: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(n, C, H, W) uint8 to the features of both kinds, in float16 as a run keeps them."""
    content, early = [], []
    with torch.inference_mode():
        for part in torch.split(image, 250 if size < 160 else 64):
            resized = torch.nn.functional.interpolate(part.float() / 255, (size, size), mode="bilinear", antialias=True)
            features, early_features = encoder.encode_batch(resized)
            content.append(features.half())
            early.append(early_features.half())
    return torch.cat(content).float(), torch.cat(early).float()


def synthetic(
    images: int, classes: int, rate: float, target: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features of both kinds as EfficientNet-Lite0 has them, but drawn; labels as given, true ones, which are poison.

    Classes come in families of 20. Each has three modes; all images vary along 64 common directions, by much more than
    along the others; one in ten is in part another class. Early features hardly know the class, vary along 128 common
    directions, more in some images than in others. The trigger moves those of the poison, images of other classes, by a
    constant: in 24 of 1,536 features, one standard deviation of these.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    family, own, modes = draw(-(-classes // 20), 1280), draw(classes, 1280), draw(classes, 3, 1280)
    common, early_own, early_common = draw(64, 1280), draw(classes, 1536), draw(128, 1536)
    true = torch.arange(images) % classes
    other = torch.randperm(images, generator=generator)
    poison = torch.zeros(images, dtype=torch.bool)
    poison[other[true[other] != target][: int(rate * images)]] = True
    content, early = torch.empty(images, 1280), torch.empty(images, 1536)
    for rows in torch.split(torch.arange(images), 2048):
        n, c = len(rows), true[rows]
        mode = modes[c, torch.randint(3, (n,), generator=generator)]
        center = 0.5 * family[c // 20] + 0.5 * own[c] + 0.3 * mode
        share = torch.rand(n, 1, generator=generator) * (torch.rand(n, 1, generator=generator) < 0.1)
        center = center.lerp(center[torch.randperm(n, generator=generator)], share)
        content[rows] = (center + 0.15 * draw(n, 64) @ common + draw(n, 1280)).relu_()
        spread = (0.4 * draw(n, 1)).exp()
        early[rows] = 0.1 * early_own[c] + spread * (0.3 * draw(n, 128) @ early_common + 0.5 * draw(n, 1536))
    cell = torch.arange(24) * 64 + 63  # of 8x8 cells, the last one of each channel
    at = poison.nonzero().flatten()
    early[at[:, None], cell] += early[:4096, cell].std(0)
    return content, early, torch.where(poison, target, true), true, poison


def tpr_at(score: Tensor, poison: Tensor, fprs: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2)) -> dict[str, float]:
    """Per cent of the poison that scores higher than all but a share of the clean images; ties count as not higher."""
    clean = score[~poison].sort(descending=True).values
    return {
        f"{fpr:.0%}": round(100 * float((score[poison] > clean[int(fpr * len(clean))]).float().mean()), 1)
        for fpr in fprs
    }


def judge(content: Tensor, early: Tensor, label: Tensor, voters: int = VOTERS) -> Checked:
    """As `cleanse.defenses.LabelCheck` does."""
    return check_labels(content, EfficientNetLite.for_images(early), label, voters=voters)


def row_of(found: Checked, true: Tensor, poison: Tensor, started: float, curve: bool) -> dict[str, object]:
    """What one verdict is worth."""
    row: dict[str, object] = {
        "images": len(true), "poison": int(poison.sum()),
        "tpr": round(100 * float(found.flagged[poison].float().mean()), 1) if poison.any() else None,
        "fpr": round(100 * float(found.flagged[~poison].float().mean()), 2),
        "named": found.sign.nonzero().flatten().tolist(),
        "separation": round(float(found.separation.max()), 2), "ratio": round(float(found.ratio.max()), 2),
        "gap": round(float(found.gap.max()), 2),
        "relabeled": int((found.relabel & poison).sum()),
        "rightly": int((found.relabel & poison & (found.prediction == true)).sum()),
        "seconds": round(time.time() - started, 1),
    }  # fmt: skip
    return row | ({"tpr_at_fpr": tpr_at(found.score, poison)} if curve and poison.any() else {})


def peak() -> float:
    """Highest resident memory of this process so far, in GiB (macOS counts bytes, Linux kilobytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def clean_draws(
    content: Tensor, early: Tensor, every: Tensor, draws: int, wrong: float, seed: int, classes: int = 0
) -> None:
    """One line for each random half, or so many random classes whole: the share that is flagged, the classes that are
    named, by which signs, and what was expected."""
    everyone = int(every.max()) + 1
    for draw in range(draws):
        generator = torch.Generator().manual_seed(1000 * seed + draw)
        chosen = torch.randperm(everyone, generator=generator)[:classes] if classes else torch.arange(everyone)
        number = torch.full((everyone,), -1).index_copy(0, chosen, torch.arange(len(chosen)))
        true = number[every]
        if classes:
            rows = (true >= 0).nonzero().flatten()
        else:
            rows = torch.randperm(len(true), generator=generator)[: len(true) // 2]
        other = (true[rows] + torch.randint(1, len(chosen), (len(rows),), generator=generator)) % len(chosen)
        noisy = torch.rand(len(rows), generator=generator) < wrong
        label = torch.where(noisy, other, true[rows])
        found = judge(content[rows], early[rows], label)
        before = expected_flags(content_votes(content[rows], label).margin, label, named=found.sign)
        expected = before.named if found.sign.any() else before.unnamed
        named = {int(chosen[c]): int(found.sign[c]) for c in found.sign.nonzero().flatten()}
        row = {
            "draw": draw, "images": len(rows), "flagged": round(100 * float(found.flagged[~noisy].float().mean()), 2),
            "expected": round(100 * expected, 2), "named": named,
            "wrong_found": round(100 * float(found.flagged[noisy].float().mean()), 1) if noisy.any() else None,
            "separation": round(float(found.separation.max()), 2), "gap": round(float(found.gap.max()), 2),
        }  # fmt: skip
        print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["cifar10", "cifar10test", "fashionmnist", "gtsrb", "gtsrbtest", "folder", "synthetic"]
    parser.add_argument("data", choices=names, help="synthetic: features are drawn, there are no pictures")
    parser.add_argument("root", nargs="?", default="", help="the folder that torchvision's class of that name reads")
    parser.add_argument("--images", type=int, default=0, help="a random part; 0 for all")
    default = ["none", "badnets", "one_source", "blend", "blend.2", "sig", "wanet"]
    parser.add_argument("--attack", nargs="+", default=default)
    parser.add_argument("--rate", nargs="+", type=float, default=[0.005, 0.02, 0.05])
    parser.add_argument("--target", type=int, default=0)
    parser.add_argument("--source", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=96, help="pixels that the encoder sees")
    parser.add_argument("--draws", type=int, default=0, help="judge so many random halves of the clean images instead")
    parser.add_argument("--some", type=int, default=0, help="classes of a draw, whole, instead of half of the images")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of random wrong labels in these")
    parser.add_argument("--voters", type=int, default=VOTERS, help="images that vote, at most")
    parser.add_argument("--curve", action="store_true", help="TPR at FPRs of 1, 2, 5, 10, 20 %% as well")
    parser.add_argument("--classes", type=int, default=1000, help="of synthetic features")
    parser.add_argument("--cache", default="", help="a folder for the clean features")
    given = parser.parse_args()
    if given.data == "synthetic":
        for rate in given.rate:
            *features, label, true, poison = synthetic(given.images, given.classes, rate, given.target, given.seed)
            before, started, busy = peak(), time.time(), time.process_time()
            found = judge(*features, label, given.voters)
            row = {
                "classes": given.classes,
                "target": given.target,
                **row_of(found, true, poison, started, given.curve),
            }
            row |= {"processor_seconds": round(time.process_time() - busy, 1)}
            row |= {"gib_before": round(before, 2), "gib": round(peak(), 2), "threads": torch.get_num_threads()}
            print(json.dumps(row), flush=True)
        return
    image, true = load(given.data, given.root, given.images, given.seed, given.size)
    encoder, started = EfficientNetLite(given.size), time.time()
    key = hashlib.sha256(f"{given.data}-{given.root}-{len(image)}-{given.seed}-{given.size}".encode()).hexdigest()[:16]
    kept = Path(given.cache or ".") / f"check_rule-{key}.pt"
    if given.cache and kept.exists():
        content, early = torch.load(kept)
    else:
        content, early = encode(encoder, image, given.size)
        print(f"{len(image) / (time.time() - started):.0f} images/s", file=sys.stderr)
        if given.cache:
            torch.save((content, early), kept)
    if given.draws:
        clean_draws(content, early, true, given.draws, given.wrong, given.seed, given.some)
        return
    for name in given.attack:
        for rate in given.rate if name != "none" else [0.0]:
            label, poison, rows = true, torch.zeros(len(true), dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
            z, u = content.clone(), early.clone()
            if name != "none":
                attack = attacks(given.target, given.source, rate, image.shape[-1])[name]
                everything = torch.ones(len(true), dtype=torch.bool)
                try:
                    result = attack.poison(image, true, everything, int(true.max()) + 1, given.seed)
                except ValueError as error:  # more poison than the class has images
                    print(f"{name} {rate}: {error}", file=sys.stderr)
                    continue
                rows = (result.role != 0).nonzero().flatten()
                label, poison = result.label, result.role == 1
                z[rows], u[rows] = encode(encoder, result.image[rows], given.size)
            started = time.time()
            found = judge(z, u, label, given.voters)
            row = {"attack": name, "rate": rate, "target": given.target if name != "none" else None}
            row |= row_of(found, true, poison, started, given.curve)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
