"""Recipes that choose their rows anew in every epoch: two processes agree on them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FEW = (
    "--config", "quick.yaml", "--config", "attacks/badnets.yaml", "--data.limit_train", "120",
    "--data.limit_test", "30", "--model.epochs", "1", "--model.mixmatch_epochs", "2", "--model.iterations", "2",
    "--model.mixmatch_batch_size", "8",
    "--compare", "[]", "--report", "false", "--trainer.accelerator", "cpu", "--trainer.devices", "2",
)  # fmt: skip
RECIPES = {
    "dbd": ("--model.pretrain_epochs", "1", "--model.pretrain_batch_size", "40", "--model.head_epochs", "1"),
    "asd": ("--data.reserve_clean", "2", "--model.by_class_epochs", "1", "--model.meta_from", "1"),
}
# half of 120 images; for ASD, up to 20 of those that are kept were set aside
KEPT = {"dbd": range(60, 61), "asd": range(40, 61)}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_judge_every_image_once_and_keep_half(recipe: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cleanse", "fit", "--config", f"{recipe}.yaml", *FEW, *RECIPES[recipe]],
        cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / done.stdout.strip().splitlines()[-1] / "results.json").read_text())
    assert results["kept"] + results["dropped"] == results["train_images"]
    assert results["kept"] in KEPT[recipe]
