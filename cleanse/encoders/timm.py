"""Any network of timm that can give its intermediate maps."""

import hashlib
import os
from typing import Any

import torch
from torch import Tensor, nn

from cleanse.encoders.frozen import FrozenEncoder

EARLY_REDUCTION = 4
"""The early map is the first one that is at least this many times smaller than the image."""


class Timm(FrozenEncoder):
    """Features of one of timm's networks (Wightman, https://github.com/huggingface/pytorch-image-models).

    ``vit_small_patch14_dinov2.lvd142m`` (Oquab et al. 2023, arXiv 2304.07193) is the documented better choice where
    weights can be downloaded.

    Args:
        name: timm's name of network and weights, such as ``resnet50.a1_in1k``.
        weights: a file with a state dict of that network; None to let timm download the weights by its name, once.
        size: see `FrozenEncoder`.

    Raises:
        ValueError: no such network or weights, weights that cannot be had, or a network without intermediate maps.
    """

    def __init__(
        self, name: str = "vit_small_patch14_dinov2.lvd142m", weights: str | None = None, size: int | None = None
    ) -> None:
        network = _create(name, weights, size)
        config: Any = network.pretrained_cfg
        digest = _state_hash(network)
        super().__init__(network, size, tuple(config["mean"]), tuple(config["std"]), f"timm {name} {digest}")
        self.name = name

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        last, maps = self.network.forward_intermediates(image)  # type: ignore[operator]
        least = image.shape[-1] // EARLY_REDUCTION
        early = next((one for one in maps if one.shape[-1] <= least), maps[0])
        return self.network.forward_head(last, pre_logits=True), early  # type: ignore[operator]


def _create(name: str, weights: str | None, size: int | None) -> nn.Module:
    import timm

    extra: dict[str, Any] = {"img_size": size or 224} if "vit" in name else {}
    try:
        if weights is None:
            network: nn.Module = timm.create_model(name, pretrained=True, num_classes=0, **extra)
        else:
            path = os.path.expanduser(weights)
            if not os.path.isfile(path):
                raise ValueError(f"weights: there is no file {weights!r}: give a state dict of {name!r}")
            network = timm.create_model(name, pretrained=False, num_classes=0, **extra)
            state = torch.load(path, map_location="cpu", weights_only=True)
            missing, _ = network.load_state_dict(state.get("state_dict", state), strict=False)
            if missing:
                raise ValueError(f"weights: {weights!r} lacks {len(missing)} tensors of {name!r}, such as {missing[0]}")
    except ValueError:
        raise
    except Exception as error:  # no such name, no network, a torn download: each library raises its own
        why = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the weights of timm's {name!r} cannot be had ({why}): download them on a machine with a network and give "
            "the file (--model.encoder.weights FILE), or use cleanse.encoders.EfficientNetLite, which needs no download"
        ) from error
    if not hasattr(network, "forward_intermediates"):
        raise ValueError(f"timm's {name!r} cannot give its intermediate maps: choose another network")
    return network.eval()


def _state_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
