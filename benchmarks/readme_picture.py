"""The picture of the README: the most suspicious images of a run on the digits, and SA and ASR before and after.

cleanse fit --config knn.yaml --config quick.yaml --config attacks/badnets.yaml
python benchmarks/readme_picture.py runs/knn-digits-badnets-... --out docs/img/readme.png
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
import yaml

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.verdict import Verdict

SHOWN = 12
BLUE, RED = "#3b6ea5", "#c0504d"


def main() -> None:
    """Read a run with the data that its config names, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    verdict = Verdict.load(arguments.run)
    results = json.loads((arguments.run / "results.json").read_text())
    made = yaml.safe_load((arguments.run / "config.yaml").read_text())["data"]["init_args"]["attack"]["init_args"]
    data = Digits(attack=BadNets(**{k: v for k, v in made.items() if v is not None}), seed=results["seed"])
    view = data.training_view()
    worst = verdict.score.argsort(descending=True)[:SHOWN]
    figure = plt.figure(figsize=(9, 2.3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
    for axis, row in zip(left.subplots(2, SHOWN // 2).flat, worst.tolist(), strict=True):
        axis.imshow(view.images(torch.tensor([row]))[0, 0], cmap="gray", vmin=0, vmax=255)
        what = ("keep", "relabel", "drop")[int(verdict.action[row])]
        axis.set_title(f"labeled {int(verdict.label[row])}: {what}", fontsize=7)
        axis.axis("off")
    left.suptitle("Most suspicious images", fontsize=9)
    axis = right.subplots()
    for shift, key, color, name in ((-0.2, "none_", RED, "no defense"), (0.2, "", BLUE, "cleansed")):
        values = [100 * results[f"{key}{figure_}"] for figure_ in ("sa", "asr")]
        bars = axis.bar([shift, 1 + shift], values, 0.38, color=color, label=name)
        axis.bar_label(bars, fmt="%.0f", fontsize=8)
    axis.set_xticks([0, 1], ["SA (clean images)", "ASR (triggered images)"], fontsize=8)
    axis.set_ylim(0, 119)
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.legend(fontsize=7, frameon=False, loc="upper right", ncols=2)
    right.suptitle("Per cent, before and after", fontsize=9)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out, dpi=150)


if __name__ == "__main__":
    main()
