"""What modules that look at images share: they normalize inside, and can take the shape of their data from it."""

import logging
from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cleanse.networks.base import Network
from cleanse.networks.normalize import Normalize
from cleanse.utils.checked import Checked
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import ImageView

log = logging.getLogger("cleanse")

NetworkFactory = Callable[[int, int], nn.Module]
"""(channels, classes) to a network; in a config, a class path with init_args."""


LOOKED_AT = 2000
"""Training images that a network which begins from images is shown."""


@runtime_checkable
class BeginsFromImages(Protocol):
    """A network of which a part is computed from training images before it learns (`cleanse.networks.FastNet`)."""

    def initialize(self, image: Tensor) -> None:
        """Compute it from normalized images (n, C, H, W), float; nothing where that was done already."""


class ImageModule(Checked, LightningModule):
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
        if stage == "fit":
            self.initialize(self.network)

    def initialize(self, network: nn.Module) -> None:
        """Show a network that begins from images some of the training set, evenly spaced, without augmentation.

        Without a view of ours, such as with a plain DataLoader, it keeps its random start, and a warning says so.
        """
        if isinstance(network, BeginsFromImages):
            assert self.images is not None  # there are layers
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            view = data.training_view() if hasattr(data, "training_view") else data
            if not isinstance(view, ImageView):
                log.warning("%s begins at random: call its initialize() with images first", type(network).__name__)
                return
            position = torch.linspace(0, len(view) - 1, min(LOOKED_AT, len(view))).long()
            image = view.images(position).float() / 255
            network.initialize(Normalize(self.images.mean, self.images.std)(image))


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
