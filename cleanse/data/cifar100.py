"""CIFAR-100."""

from typing import Any

from cleanse.data.cifar10 import CIFAR10

NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


class CIFAR100(CIFAR10):
    """Color photographs of 32x32 pixels, 100 classes: 50000 training and 10000 test images.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html. The files are the Python version, as torchvision keeps them, in
    ``<root>/cifar-100-python``; only files with the published checksums are opened (they are pickles).

    Args:
        root: folder that has, or gets, ``cifar-100-python``.
        download: fetch the files (169 MB) when they are missing or damaged.
        kwargs: see `ImageDataModule`; without ``augment``, a crop after padding by 4, then a horizontal flip.

    Shapes:
        images (N, 3, 32, 32).

    Raises:
        ValueError: an argument out of range; in `load`, files that are missing or damaged.
    """

    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    names = tuple(NAMES.split())
    title, archive, folder = "CIFAR-100", "cifar-100-python.tar.gz", "cifar-100-python"

    def reader(self) -> Any:
        """torchvision's class for these files."""
        from torchvision import datasets

        return datasets.CIFAR100
