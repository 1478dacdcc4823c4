"""Every constructor of ours refuses what names and annotations rule out."""

import copy
import inspect
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from torch import nn

import cleanse.attacks
import cleanse.augment
import cleanse.data
import cleanse.defenses
import cleanse.encoders
import cleanse.modules
import cleanse.networks
from cleanse.attacks import BadNets, TaCT
from cleanse.defenses import ContrastiveFilter, FlowRelabel, NoDefense, SelfTraining
from cleanse.modules import Classifier
from cleanse.networks import FastNet, PreActResNet18, SmallCNN
from cleanse.utils.checked import Checked, check_argument, constructor_signature

PARTS = (
    cleanse.attacks,
    cleanse.augment,
    cleanse.data,
    cleanse.defenses,
    cleanse.encoders,
    cleanse.modules,
    cleanse.networks,
)


def every_class() -> Iterator[type]:
    for part in PARTS:
        for name in part.__all__:
            found = getattr(part, name)
            if inspect.isclass(found) and issubclass(found, Checked):
                yield found


def numbers_of(cls: type) -> Iterator[str]:
    """Arguments that are a number, or none."""
    for name, parameter in constructor_signature(cls).parameters.items():
        if parameter.annotation in (int, float, int | None, float | None):
            yield name


CASES = [(cls, name) for cls in every_class() for name in numbers_of(cls)]


def test_the_house_is_looked_through() -> None:
    assert len({cls for cls, _ in CASES}) > 60
    assert len(CASES) > 600


@pytest.mark.parametrize(("cls", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_no_constructor_takes_what_is_no_number(cls: type, name: str) -> None:
    others = {
        k: stands_for(p.annotation) for k, p in constructor_signature(cls).parameters.items() if p.default is p.empty
    }
    for value in ("x", math.nan, [1], True):
        with pytest.raises(ValueError, match=f"^{name} is .*, not "):
            cls(**{**others, name: value})


def stands_for(hint: object) -> Any:
    """Something of the type."""
    return {int: 3, float: 0.5, str: "a"}.get(hint, SmallCNN if "Callable" in str(hint) else None)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NoDefense(lr=-1), "lr is at least 0, not -1"),
        (lambda: NoDefense(momentum=1.0), "momentum is at least 0 and below 1, not 1.0"),
        (lambda: NoDefense(epochs=2.5), "epochs is a whole number, not 2.5"),
        (lambda: NoDefense(network=3), "network is a class or a function, not 3"),
        (lambda: NoDefense(milestones=[-1]), "milestones are epochs from 1 on, each later than the one before"),
        (lambda: NoDefense(milestones=(20, 10)), "milestones are epochs from 1 on"),
        (lambda: NoDefense(milestones=["a"]), "milestones is a list of whole numbers, not ['a']"),
        (lambda: NoDefense(milestones=3), "milestones is a list of whole numbers, not 3"),
        (lambda: NoDefense(schedule="cosine"), "schedule is one of steps, one_cycle, not 'cosine'"),
        (lambda: FlowRelabel(far_below=1.5), "far_below is a share, between 0 and 1, not 1.5"),
        (lambda: FlowRelabel(lower_by=0), "lower_by is a number above 0, not 0"),
        (lambda: ContrastiveFilter(supcon_temperature=0.0), "supcon_temperature is a number above 0, not 0.0"),
        (lambda: BadNets(target=-1, poison_rate=0.1), "target is at least 0, not -1"),
        (lambda: BadNets(source=-1, poison_rate=0.1), "source is at least 0, not -1"),
        (lambda: TaCT(poison_rate=0.1, cover_classes=(-1,)), "cover_classes is at least 0, not -1"),
        (lambda: cleanse.data.Digits(seed=-1), "seed is at least 0, not -1"),
        (lambda: SmallCNN(1, 10, width=0), "width is at least 1, not 0"),
        (lambda: PreActResNet18(3, 10, width=-4), "width is at least 1, not -4"),
        (lambda: FastNet(3, 10, widths=(8, 0, 8)), "widths is at least 1, not 0"),
        (lambda: FastNet(3, 10, widths=(8, 8)), "widths is a list of 3 whole numbers, not (8, 8)"),
        (lambda: Classifier(SmallCNN, lr=-0.1), "lr is at least 0, not -0.1"),
    ],
)  # fmt: skip
def test_python_is_told_what_a_config_is_told(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (int, [3, np.int64(3), -1], [3.0, "3", None, True]),
        (float, [3, 0.5, np.float32(0.5)], ["0.5", None, [0.5]]),
        (bool, [True, False], ["yes", 2, None, []]),
        (str, ["a", Path("a")], [3, None]),
        (int | None, [None, 3], ["3", 0.5]),
        (int | list[str] | None, [None, 3, ["a"]], [0.5, [3], "a"]),
        (Literal["a", "b"], ["a"], ["c", 3, []]),
        (Callable[[int], int], [abs, int], [3, "abs", None]),
        (Sequence[int], [(), [3], (3, 4)], [3, "34", ["a"], {3: 4}]),
        (tuple[int, int] | None, [None, (3, 4), [3, 4]], [3, ("a", 4), (3,), (3, 4, 5), (3, "a"), ()]),
        (tuple[int, str], [(3, "a")], [("a", 3), (3,)]),
        (tuple[int, ...], [(), (3,), (3, 4, 5)], [3, (3, "a")]),
        (tuple[float, ...], [(0.5,)], [0.5, "0.5"]),
        (nn.Module, [3, None], []),  # not looked into: jsonargparse and the constructor do
        (inspect.Parameter.empty, [3, None], []),
    ],
)
def test_types(hint: object, right: list[object], wrong: list[object]) -> None:
    for value in right:
        check_argument("it", value, hint)
    for value in wrong:
        with pytest.raises(ValueError, match=r"^it is "):
            check_argument("it", value, hint)


class Own(SelfTraining):
    """A stranger's recipe, with an argument that is called like one of ours and means something else."""

    def __init__(self, lr: str = "fast", k: Any = 3, weight_decay: float = 0.1, **kwargs: Any) -> None:
        super().__init__(weight_decay=weight_decay, **kwargs)
        self.speed, self.k = lr, k


def test_a_strangers_own_argument_is_his() -> None:
    assert Own(lr="slow").speed == "slow"
    assert Own(k="many").k == "many"
    with pytest.raises(ValueError, match="lr is a text, not 3"):
        Own(lr=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="epochs is at least 1, not 0"):
        Own(epochs=0)
    with pytest.raises(ValueError, match="weight_decay is at least 0, not -1"):
        Own(weight_decay=-1)
    with pytest.raises(ValueError, match="momentum is at least 0"):
        Own(momentum=-1)


def test_copies_and_pickles_are_made_without_arguments() -> None:
    network = SmallCNN(1, 10, width=4)
    assert copy.deepcopy(network).head.in_features == pickle.loads(pickle.dumps(network)).head.in_features == 64
