"""A runner that trains nothing: it answers a recipe's calls from a script and writes down what reached it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
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
class Fit:
    """One call of ``fit``."""

    name: str
    build: "partial[Any]"
    view: TrainingView
    trainer: dict[str, Any]

    @property
    def built(self) -> dict[str, Any]:
        """The arguments of what is built, by name, defaults included."""
        arguments: dict[str, Any] = describe(self.build)["with"]
        return arguments


@dataclass(frozen=True)
class Predict:
    """One call of ``predict``."""

    name: str
    module: Any
    view: TrainingView


@dataclass
class ScriptedRunner:
    """Give a recipe modules and tables without training, and remember every call in order.

    Args:
        modules: what a fitted module has as attributes, from the call of ``fit``.
        tables: the columns of a table, from the call of ``predict``.
    """

    modules: Callable[[Fit], Mapping[str, Any]] = field(default=lambda fit: {})
    tables: Callable[[Predict], Mapping[str, Tensor]] = field(default=lambda predict: {})
    calls: list[Fit | Predict] = field(default_factory=list)

    def fit(self, name: str, build: "partial[Any]", data: TrainingView, **trainer: Any) -> Stub:
        self.calls.append(call := Fit(name, build, data, trainer))
        return Stub(f"{name} is call {len(self.calls)}", **self.modules(call))

    def predict(self, name: str, module: Any, data: TrainingView) -> Table:
        self.calls.append(call := Predict(name, module, data))
        return Table(self.tables(call))

    def generator(self, name: str, data: TrainingView) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    @property
    def names(self) -> list[str]:
        return [call.name for call in self.calls]

    def fits(self, start: str) -> list[Fit]:
        """The calls of ``fit`` whose name begins so."""
        return [call for call in self.calls if isinstance(call, Fit) and call.name.startswith(start)]

    def predicts(self, start: str) -> list[Predict]:
        """The calls of ``predict`` whose name begins so."""
        return [call for call in self.calls if isinstance(call, Predict) and call.name.startswith(start)]


@pytest.fixture
def scripted() -> type[ScriptedRunner]:
    return ScriptedRunner


@dataclass
class Stage:
    """One call of ``run.fit`` or ``run.predict``."""

    name: str
    module: LightningModule
    data: Any
    arguments: dict[str, Any]


class RecordingRunner:
    """Like `ScriptedRunner`, but ``fit`` builds the real module, and ``predict`` gives a table planted beforehand.

    Args:
        tables: the columns of a table by the name of its stage.
    """

    def __init__(self, **tables: dict[str, Tensor]) -> None:
        self.tables = tables
        self.stages: list[Stage] = []
        self.seed = 0

    def fit(
        self, name: str, build: Callable[[], LightningModule], data: LightningDataModule, **arguments: Any
    ) -> LightningModule:
        torch.manual_seed(0)
        module = build()
        module.stage_key = name  # type: ignore[assignment]
        self.stages.append(Stage(name, module, data, arguments))
        return module.eval()

    def predict(self, name: str, module: LightningModule, data: LightningDataModule) -> Table:
        self.stages.append(Stage(name, module, data, {}))
        return Table(self.tables[name])

    def __getitem__(self, name: str) -> Stage:
        """The last stage of this name."""
        return [stage for stage in self.stages if stage.name == name][-1]

    @property
    def names(self) -> list[str]:
        return [stage.name for stage in self.stages]


@pytest.fixture
def recording() -> type[RecordingRunner]:
    return RecordingRunner
