"""What modules that look at images share: they normalize inside, and can take the shape of their data from it."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from cleanse.networks.base import Network
from cleanse.networks.normalize import Normalize

NetworkFactory = Callable[[int, int], nn.Module]
"""(channels, classes) to a network; in a config, a class path with init_args."""


class ImageModule(LightningModule):
    """A module whose layers depend on the data: how many channels and classes it has, and how it is normalized.

    A recipe knows its data and says so in the constructor. Alone (``cleanse fit --config simclr.yaml``) all four are
    left out, and `setup` takes them from the data module. A subclass keeps its arguments as attributes, calls
    `build_layers` at the end of its constructor and makes its layers in `build`.
    """

    built = False

    @abstractmethod
    def build(self, channels: int, num_classes: int) -> None:
        """Make the layers."""

    def build_layers(
        self,
        channels: int | None,
        num_classes: int | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        """Make the layers now if the data is known, otherwise in `setup`.

        Raises:
            ValueError: only some of the four are given.
        """
        given = [value is not None for value in (channels, num_classes, mean, std)]
        if any(given) and not all(given):
            raise ValueError("channels, num_classes, mean and std belong together: give all four of them or none")
        if channels is not None and num_classes is not None and mean is not None and std is not None:
            self.normalize = Normalize(mean, std)
            self.build(channels, num_classes)
            self.built = True

    def take_from(self, view: Any) -> None:
        """What else the module wants to know of its data, a `TrainingView`, before its layers are made."""

    def adapt_to(self, view: Any) -> None:
        """Make the layers for the images of ``view``, a `TrainingView`."""
        self.take_from(view)
        self.build_layers(view.channels, view.num_classes, view.mean, view.std)

    def setup(self, stage: str) -> None:
        if not self.built:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            view = data.training_view() if hasattr(data, "training_view") else data
            self.adapt_to(view)


def split_network(make: NetworkFactory, channels: int, num_classes: int) -> Network:
    """A network whose features and head can be used apart.

    Raises:
        ValueError: the factory makes something else.
    """
    network = make(channels, num_classes)
    if not isinstance(network, Network):
        raise ValueError(
            f"{type(network).__name__} has no features() and head: derive it from cleanse.networks.Network, "
            "so that it can be trained as an encoder"
        )
    return network
