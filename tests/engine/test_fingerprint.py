"""A description changes when the meaning does, and never otherwise."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.engine.fingerprint import Described, describe, hash_of
from cleanse.networks import SmallCNN


class Base(Described):
    def __init__(self, size: int = 1, rate: float = 0.1) -> None:
        """Args:
        size: of the base.
        rate: of the base.
        """


class Derived(Base):
    def __init__(self, shape: str = "L", rate: float = 0.5, **kwargs: Any) -> None:
        """Args:
        shape: its own.
        rate: its own default.
        """
        super().__init__(rate=rate, **kwargs)


class Inheriting(Derived):
    """No constructor of its own."""


@pytest.mark.parametrize("cls", [Derived, Inheriting])
def test_arguments_that_are_passed_on_to_a_base_are_part_of_the_description(cls: type[Derived]) -> None:
    assert cls(size=3).arguments == {"shape": "L", "rate": 0.5, "size": 3}


@pytest.mark.parametrize("changed", [{"shape": "T"}, {"rate": 0.1}, {"size": 2}])
@pytest.mark.parametrize("make", [Derived, partial(partial, Derived)], ids=["instance", "partial"])
def test_every_argument_counts_wherever_it_is_declared(make: Any, changed: dict[str, object]) -> None:
    assert hash_of(make()) != hash_of(make(**changed))


def test_the_command_line_lists_arguments_that_are_passed_on() -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(Derived, "it")
    assert {"it.shape", "it.rate", "it.size"} <= set(parser.get_defaults().as_flat().__dict__)


def test_position_keyword_and_default_mean_the_same() -> None:
    assert describe(partial(SmallCNN, 1, 10)) == describe(partial(SmallCNN, in_channels=1, num_classes=10, width=32))
    assert describe(partial(partial(SmallCNN, width=8), 1, 10)) == describe(partial(SmallCNN, 1, 10, width=8))


def test_a_factory_from_a_config_means_the_same_as_one_from_python() -> None:
    parser = ArgumentParser()
    parser.add_argument("--network", type=Callable[[int, int], nn.Module])
    made = parser.instantiate(parser.parse_args(["--network=cleanse.networks.SmallCNN", "--network.width=8"]))
    assert describe(partial(made.network, 1, 10)) == describe(partial(SmallCNN, 1, 10, width=8))


@pytest.mark.parametrize("changed", [{"target": 1}, {"class_rate": 0.2}, {"pattern": "noise"}, {"size": 2}])
def test_every_argument_of_a_described_object_counts(changed: dict[str, object]) -> None:
    base = {"pattern": "checkerboard", "class_rate": 0.1}
    assert hash_of(BadNets(**base)) == hash_of(BadNets(**base))  # type: ignore[arg-type]
    assert hash_of(BadNets(**base)) != hash_of(BadNets(**{**base, **changed}))  # type: ignore[arg-type]


def test_what_an_augmentation_drew_last_is_no_part_of_its_data() -> None:
    data = Digits(limit_train=50)
    view = data.training_view()
    before = view.spec()
    view.batch(torch.arange(8), augmented=True)
    assert view.spec() == before


def test_tensors_count_by_content_type_and_shape() -> None:
    zeros = torch.zeros(4)
    kinds = [zeros, zeros.double(), zeros.view(2, 2), torch.ones(4), torch.zeros(0)]
    assert len({str(describe(t)) for t in kinds}) == len(kinds)
    assert describe(zeros) == describe(torch.zeros(8)[::2])


def test_what_cannot_be_named_is_refused() -> None:
    with pytest.raises(ValueError, match=r"functools\.partial"):
        describe(lambda: None)
    with pytest.raises(ValueError, match="spec"):
        describe(object())
