"""What modules that look at images share: they normalize inside, and can take the shape of their data from it."""

from abc import abstractmethod
from collections.abc import Callable

from lightning.pytorch import LightningModule
from torch import nn

from cleanse.networks.base import Network
from cleanse.networks.normalize import Normalize
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import ImageView

NetworkFactory = Callable[[int, int], nn.Module]
"""(channels, classes) to a network; in a config, a class path with init_args."""


class ImageModule(LightningModule):
    """A module whose layers depend on the images: how many channels and classes they have, how they are normalized.

    A recipe knows its images and says so in the constructor. Alone (``cleanse fit --config simclr.yaml``) ``images`` is
    left out, and `setup` takes it from the data module. A subclass hands both arguments to this constructor, keeps its
    own as attributes, ends its constructor with ``self.make_layers()`` and makes its layers in `build`.

    Args:
        network: builds the network from (in_channels, num_classes).
        images: what the images are like; None for those of the data that it is fitted on.
    """

    network: nn.Module
    built = False

    def __init__(self, network: NetworkFactory, images: ImageSpec | None = None) -> None:
        super().__init__()
        self.make_network = network
        self.images = images

    @abstractmethod
    def build(self, images: ImageSpec) -> None:
        """Make the layers."""

    def make_layers(self) -> None:
        """Make the layers now if the images are known, otherwise in `setup`."""
        if self.images is not None:
            self.normalize = Normalize(self.images.mean, self.images.std)
            self.build(self.images)
            self.built = True

    def adapt_to(self, view: ImageView) -> None:
        """Make the layers for the images of ``view``; a module that wants to know more of them extends this."""
        self.images = view.image_spec
        self.make_layers()

    def setup(self, stage: str) -> None:
        if not self.built:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self.adapt_to(data.training_view() if hasattr(data, "training_view") else data)


def split_network(make: NetworkFactory, images: ImageSpec) -> Network:
    """A network whose features and head can be used apart.

    Raises:
        ValueError: the factory makes something else.
    """
    network = make(images.channels, images.num_classes)
    if not isinstance(network, Network):
        raise ValueError(
            f"{type(network).__name__} has no features() and head: derive it from cleanse.networks.Network, "
            "so that it can be trained as an encoder"
        )
    return network
