"""Two processes and more: every row once, one writer, whoever starts them (each in a process of its own)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FIT = (
    "fit", "--config", "ispl.yaml", "--config", "quick.yaml", "--data.limit_train", "101", "--data.limit_test", "37",
    "--data.batch_size", "16", "--model.passes", "1", "--model.rounds", "2", "--model.self_training_epochs", "1",
    "--model.epochs", "2", "--compare", "[none]", "--trainer.accelerator", "cpu", "--trainer.devices", "2",
    "--trainer.strategy", "ddp",
)  # fmt: skip
LAUNCHERS = {
    "lightning": [sys.executable, "-m", "cleanse"],
    "torchrun": [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "cleanse",
    ],
}


def run(launcher: str, where: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [*LAUNCHERS[launcher], *FIT, *more],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module", params=list(LAUNCHERS))
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    where = tmp_path_factory.mktemp(request.param)
    done = run(request.param, where)
    return request.param, where, where / done.stdout.strip().splitlines()[-1]


def test_two_processes_end_with_one_table_and_one_run(two: tuple[str, Path, Path]) -> None:
    _, where, directory = two
    results = json.loads((directory / "results.json").read_text())
    assert results["kept"] + results["dropped"] == 101
    assert 0 <= results["sa"] <= 1
    assert not list((where / "runs").glob("*.part"))
    assert not list((where / "runs").glob(".*.lock"))
    assert len([p for p in (where / "runs").iterdir() if (p / "results.json").exists()]) == 1


def test_every_row_is_in_every_table_once(two: tuple[str, Path, Path]) -> None:
    """101 and 37 are odd: a sampler that pads would show."""
    _, where, _ = two
    sizes = set()
    for table in (where / "runs").glob("*/table.pt"):
        index = torch.load(table, weights_only=True)["index"]
        assert torch.equal(index, torch.arange(len(index))), table
        sizes.add(len(index))
    assert {101, 37} <= sizes


def test_the_round_measured_every_active_row_over_both_processes(two: tuple[str, Path, Path]) -> None:
    _, where, _ = two
    (first,) = (where / "runs").glob("round-1.1-*/model.ckpt")
    found = torch.load(first, weights_only=True)["state_dict"]
    assert (found["loss"] > 0).all()


def test_a_second_run_on_other_devices_reads_everything_back(two: tuple[str, Path, Path]) -> None:
    """The number of devices is not part of a key."""
    _, where, directory = two
    again = subprocess.run(
        [*LAUNCHERS["lightning"], *FIT[:-4], "--trainer.devices", "1"],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip().splitlines()[-1] == f"runs/{directory.name}"
    count = len(list((directory / "stages").iterdir()))
    assert f"{count} of {count} stages were on disk already" in again.stderr


@pytest.mark.slow
def test_two_processes_contrast_with_the_images_of_both(tmp_path: Path) -> None:
    """SimCLR and SupCon gather the embeddings of all processes; a batch that cannot be shared is refused."""
    recipe = (
        "--config", "knn.yaml", "--config", "quick.yaml", "--data.limit_train", "101", "--data.limit_test", "37",
        "--model.pretrain_epochs", "2", "--model.epochs", "2", "--model.probe_epochs", "1",
        "--compare", "[]", "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp",
    )  # fmt: skip
    command = [*LAUNCHERS["lightning"], "fit", *recipe]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def fit(size: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, "--model.pretrain_batch_size", size], cwd=tmp_path, env=environment, capture_output=True,
            text=True, timeout=400,
        )  # fmt: skip

    done = fit("40")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / done.stdout.strip().splitlines()[-1] / "results.json").read_text())
    assert results["kept"] + results["relabelled"] + results["dropped"] == 101
    refused = fit("25")
    assert refused.returncode != 0
    assert "cannot be shared equally by 2 processes" in refused.stderr


@pytest.mark.parametrize(
    ("network", "images", "epochs"),
    [("SmallCNN", "200", "2"), ("SmallResNet", "80", "1")],
    ids=["uneven shards", "and batch norm"],
)
def test_three_processes_train_the_weights_that_one_does(
    network: str, images: str, epochs: str, tmp_path: Path
) -> None:
    """Eight rows are three, three and two for three processes.

    With batch norm, ten steps: after fifty, one ReLU of a blank pixel has gone the other way by rounding alone.
    """
    weights = []
    for devices in ("1", "3"):
        recipe = (
            "fit", "--config", "none.yaml", "--config", "quick.yaml", "--data.limit_train", images,
            "--data.limit_test", "37", "--data.batch_size", "8", "--model.epochs", epochs, "--model.network", network,
            "--compare", "[]", "--trainer.accelerator", "cpu", "--trainer.devices", devices, "--report", "false",
            "--root", f"runs-{devices}",
        )  # fmt: skip
        done = subprocess.run(
            [*LAUNCHERS["lightning"], *recipe], cwd=tmp_path, capture_output=True, text=True, timeout=400,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (stage,) = (tmp_path / f"runs-{devices}").glob("classifier-*/model.ckpt")
        found = torch.load(stage, weights_only=True)["state_dict"]
        weights.append(torch.cat([v.double().flatten() for v in found.values()]))
        assert any(name.endswith("running_var") for name in found) is (network == "SmallResNet")
    one, three = weights
    assert float((one - three).norm() / one.norm()) < 1e-4
