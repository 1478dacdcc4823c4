"""What the README shows works as shown."""

import re
from pathlib import Path
from typing import Any

import torch

from cleanse.attacks import Attack
from cleanse.data import Digits
from cleanse.defenses import Defense, Outcome
from cleanse.engine.runner import Runner
from cleanse.networks import SmallCNN
from cleanse.utils.configs import shipped
from cleanse.verdict import Verdict

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_two_classes_of_the_readme_work(runner: Runner) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict[str, Any] = {
        "Attack": Attack,
        "Defense": Defense,
        "Outcome": Outcome,
        "Verdict": Verdict,
        "torch": torch,
    }
    exec(code, names)
    data = Digits(attack=names["Stripe"](count=10), limit_train=200, limit_test=50, batch_size=32, seed=0)
    defense = names["KeepConfident"](SmallCNN, 1, 0.02, 0.9, 5e-4, (), 0.1)
    outcome = defense.cleanse(data.training_view(), runner)
    assert len(outcome.verdict) == 200 and data.triggered_test() is not None
    assert (data.triggered_test().source.image == 255).all(-1).any(-1).all()  # type: ignore[union-attr]


def test_every_config_that_the_readme_names_is_shipped() -> None:
    assert set(re.findall(r"--config (\S+\.yaml)", README)) <= set(shipped())
    for kind in ("attacks", "data"):
        have = {n.split("/")[1].removesuffix(".yaml") for n in shipped() if n.startswith(kind)}
        assert all(f"`{name}`" in README for name in have), have


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.findall(r"@[A-Z_]+@", README)
