"""Data modules: read once, limited, poisoned on request, and lent to the defender as a view."""

from cleanse.data.base import ImageDataModule, Images
from cleanse.data.cifar10 import CIFAR10
from cleanse.data.cifar100 import CIFAR100
from cleanse.data.digits import Digits
from cleanse.data.fashion_mnist import FashionMNIST
from cleanse.data.from_dataset import FromDataset
from cleanse.data.frozen import Frozen
from cleanse.data.gtsrb import GTSRB
from cleanse.data.image_folder import ImageFolder
from cleanse.data.mnist import MNIST
from cleanse.data.pictures import Pictures, pictures
from cleanse.data.tiny_images import TinyImages500K
from cleanse.data.with_pool import WithPool

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "GTSRB",
    "MNIST",
    "Digits",
    "FashionMNIST",
    "FromDataset",
    "Frozen",
    "ImageDataModule",
    "ImageFolder",
    "Images",
    "Pictures",
    "TinyImages500K",
    "WithPool",
    "pictures",
]
