"""Networks: plain ``nn.Module`` classifiers, each ``Net(in_channels, num_classes, <options>)``."""

from cleanse.networks.base import Network
from cleanse.networks.decoder import Decoder
from cleanse.networks.densenet121 import DenseNet121
from cleanse.networks.fast_net import FastNet
from cleanse.networks.flow import ClassFlows
from cleanse.networks.micronnet import MicronNet
from cleanse.networks.pre_act_resnet18 import PreActResNet18
from cleanse.networks.resnet18 import ResNet18
from cleanse.networks.secret_decoder import SecretDecoder
from cleanse.networks.secret_encoder import SecretEncoder
from cleanse.networks.small_cnn import SmallCNN
from cleanse.networks.small_resnet import SmallResNet
from cleanse.networks.vgg16_bn import VGG16BN

__all__ = [
    "VGG16BN",
    "ClassFlows",
    "Decoder",
    "DenseNet121",
    "FastNet",
    "MicronNet",
    "Network",
    "PreActResNet18",
    "ResNet18",
    "SecretDecoder",
    "SecretEncoder",
    "SmallCNN",
    "SmallResNet",
]
