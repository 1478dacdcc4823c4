"""Any network of timm that can give its intermediate maps."""

import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cleanse.encoders.frozen import FrozenEncoder

if TYPE_CHECKING:
    from cleanse.views import TrainingView

EARLY_REDUCTION = 4
"""The early map is the first one that is at least this many times smaller than the image."""


class Timm(FrozenEncoder):
    """Features of one of timm's networks (Wightman, https://github.com/huggingface/pytorch-image-models).

    ``vit_small_patch14_dinov2.lvd142m`` (Oquab et al. 2023, arXiv 2304.07193) is the documented better choice where
    weights can be downloaded; how well the check does with it was not measured here, since no hub could be reached.

    A vision transformer takes any size (its position embeddings are resampled), and sees images at the multiple of its
    patch that is nearest to the size asked for: at 98 pixels instead of 96 with patches of 14. Its early map is what
    the first block gives for each patch. A network that takes one size only sees images at that one.

    Args:
        name: timm's name of network and weights, such as ``resnet50.a1_in1k``.
        weights: a file (``.pth`` or ``.safetensors``) with a state dict of that network; position embeddings of another
            size are resampled. None to let timm download the weights by its name, once.
        size: see `FrozenEncoder`.

    Raises:
        ValueError: no such network or weights, weights that cannot be had or do not fit, a network without intermediate
            maps, or a size that the network does not take.
    """

    def __init__(
        self, name: str = "vit_small_patch14_dinov2.lvd142m", weights: str | None = None, size: int | None = None
    ) -> None:
        network = _create(name, weights)
        config: Any = network.pretrained_cfg
        any_size = getattr(network, "dynamic_img_size", not config.get("fixed_input_size"))
        only = None if any_size else int(config["input_size"][-1])
        if only is not None and size not in (None, only):
            raise ValueError(f"timm's {name!r} takes images of {only} pixels only, not {size}: leave size out")
        digest = _state_hash(network)
        super().__init__(network, size or only, tuple(config["mean"]), tuple(config["std"]), f"timm {name} {digest}")
        self.name = name

    def size_for(self, view: "TrainingView") -> int:
        size, patch = super().size_for(view), getattr(self.network, "patch_embed", None)
        if not getattr(self.network, "dynamic_img_size", False) or patch is None:
            return size
        side = int(patch.feat_ratio())
        return side * max(1, round(size / side))

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        last, maps = self.network.forward_intermediates(image)  # type: ignore[operator]
        least = image.shape[-1] // EARLY_REDUCTION
        early = next((one for one in maps if one.shape[-1] <= least), maps[0])
        return self.network.forward_head(last, pre_logits=True), early  # type: ignore[operator]


def _create(name: str, weights: str | None) -> nn.Module:
    path = None if weights is None else os.path.expanduser(weights)
    if path is not None and not os.path.isfile(path):
        raise ValueError(f"weights: there is no file {weights!r}: give a state dict of {name!r}")
    try:
        network = _built(name, weights is None)
    except Exception as error:  # no such name, no network, a torn download: each library raises its own
        raise ValueError(
            f"the weights of timm's {name!r} cannot be had ({_why(error)}): download them on a machine with a network "
            "and give the file (--model.encoder.weights FILE), or use cleanse.encoders.EfficientNetLite, which needs "
            "no download"
        ) from error
    if path is not None:
        _load(network, path, name)
    if not hasattr(network, "forward_intermediates"):
        raise ValueError(f"timm's {name!r} cannot give its intermediate maps: choose another network")
    return network.eval()


def _built(name: str, pretrained: bool) -> nn.Module:
    """timm's network without its classifier; a transformer that can takes images of any size."""
    import timm

    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, dynamic_img_size=True)
    except TypeError:  # all that takes any size as it is, or one size only
        network = timm.create_model(name, pretrained=pretrained, num_classes=0)
    return network


def _load(network: nn.Module, path: str, name: str) -> None:
    """Weights of a file as timm loads what it downloads, which resamples position embeddings of another size."""
    try:
        state: Any = _read(path)
        state = state.get("state_dict", state)
        adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        missing, _ = network.load_state_dict(adapt(state, network) if adapt else state, strict=False)
    except Exception as error:  # a file that is no state dict, or that of another network, fails in any way
        raise ValueError(
            f"weights: {path!r} does not fit timm's {name!r} ({_why(error)}): give a state dict of that network"
        ) from error
    if missing:
        raise ValueError(f"weights: {path!r} lacks {len(missing)} tensors of {name!r}, such as {missing[0]}")


def _read(path: str) -> Any:
    """What is in a file of weights; no code in it is run."""
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _state_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
