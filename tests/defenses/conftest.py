"""A runner that trains nothing: it answers a recipe's calls from a script and writes down what reached it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.engine.fingerprint import describe
from cleanse.engine.runner import Table
from cleanse.views import TrainingView


class Stub(LightningModule):
    """A fitted module, of which only its stage is known, and what the script gives it."""

    def __init__(self, stage_key: str, **given: Any) -> None:
        super().__init__()
        self.stage_key = stage_key
        for name, value in given.items():
            setattr(self, name, value)


@dataclass(frozen=True)
class Call:
    """One call of ``fit`` or ``predict``.

    Attributes:
        name: of the stage.
        view: what it was given.
        build: of a fit; None for a table.
        module: what the fit gave back, or what a table is made with.
        trainer: arguments of a fit's Trainer.
    """

    name: str
    view: TrainingView
    build: "partial[Any] | None" = None
    module: Any = None
    trainer: dict[str, Any] = field(default_factory=dict)

    @property
    def built(self) -> dict[str, Any]:
        """The arguments of what is built, by name, defaults included."""
        arguments: dict[str, Any] = describe(self.build)["with"]
        return arguments

    @property
    def data(self) -> TrainingView:
        """The view, by the runner's own name for it."""
        return self.view

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of the Trainer."""
        return self.trainer


class ScriptedRunner:
    """Give a recipe modules and tables without training, and remember every call in order.

    Args:
        modules: what a stub that stands for a fitted module has as attributes, from the call of ``fit``; None to build
            the real module, untrained.
        tables: the columns of a table, from the call of ``predict``; None for those that are planted.
        planted: the columns of a table by the name of its stage.
    """

    def __init__(
        self,
        modules: Callable[[Call], Mapping[str, Any]] | None = None,
        tables: Callable[[Call], Mapping[str, Tensor]] | None = None,
        **planted: Mapping[str, Tensor],
    ) -> None:
        self.modules = modules
        self.tables = (lambda call: planted[call.name]) if tables is None else tables
        self.calls: list[Call] = []
        self.seed = 0

    def fit(self, name: str, build: "partial[Any]", data: TrainingView, **trainer: Any) -> Any:
        module: Any
        if self.modules is None:
            torch.manual_seed(0)
            module = build()
            module.stage_key = name
            module.eval()
        else:
            given = self.modules(Call(name, data, build, None, trainer))
            module = Stub(f"{name} is call {len(self.calls) + 1}", **given)
        self.calls.append(Call(name, data, build, module, trainer))
        return module

    def predict(self, name: str, module: Any, data: TrainingView) -> Table:
        self.calls.append(call := Call(name, data, None, module))
        return Table(self.tables(call))

    def generator(self, name: str, data: TrainingView) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def __getitem__(self, name: str) -> Call:
        """The last call of this name."""
        return [call for call in self.calls if call.name == name][-1]

    @property
    def names(self) -> list[str]:
        return [call.name for call in self.calls]

    def fits(self, start: str) -> list[Call]:
        """The calls of ``fit`` whose name begins so."""
        return [call for call in self.calls if call.build is not None and call.name.startswith(start)]

    def predicts(self, start: str) -> list[Call]:
        """The calls of ``predict`` whose name begins so."""
        return [call for call in self.calls if call.build is None and call.name.startswith(start)]


@pytest.fixture
def scripted() -> type[ScriptedRunner]:
    return ScriptedRunner


@pytest.fixture
def recording() -> type[ScriptedRunner]:
    """The same, for tests that plant tables and look at real modules."""
    return ScriptedRunner
