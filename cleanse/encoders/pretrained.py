"""Encoders that somebody else has trained, frozen: torchvision's and OpenCLIP's."""

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from cleanse.encoders.frozen import OnePass
from cleanse.networks.normalize import Normalize
from cleanse.utils.batch import Batch

if TYPE_CHECKING:
    from cleanse.views import TrainingView

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Pretrained(OnePass):
    """Features of a network that is not trained here, for `Runner.predict` (an ablation of Sabolic et al. 2024).

    Images in [0, 1] are resized (bilinear, antialiased), gray ones repeated to three channels, and normalized as the
    weights ask. Nothing is downloaded: weights are on the disk before a run begins. As a recipe's ``encoder`` it sees
    a folder's files read at its size; as its ``pretrained``, as in the paper, the training images scaled to it. It has
    no early features, which a check needs: `Timm` takes weights of these networks, too.

    Args:
        name: of torchvision's network (``resnet50``) or of OpenCLIP's (``ViT-B-32``).
        weights: a file with a state dict; or a name of torchvision's weights (``IMAGENET1K_V2``) that are in the cache
            of ``torch.hub`` already.
        library: whose network it is; ``open_clip`` needs ``pip install cleanse[clip]`` and a file.
        size: side in pixels that the weights want.
        mean, std: that the weights want; None for ImageNet's with ``torchvision``, CLIP's with ``open_clip``.

    Shapes:
        images (B, 1 or 3, H, W) float in [0, 1] to features (B, D).

    Raises:
        ValueError: no such network, weights that are missing or do not fit it, or a library that is not installed.
    """

    def __init__(
        self,
        name: str = "resnet50",
        weights: str = "IMAGENET1K_V2",
        library: Literal["torchvision", "open_clip"] = "torchvision",
        size: int = 224,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
    ) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size is the side of the images in pixels, at least 1, not {size}")
        usual_mean, usual_std = IMAGENET if library == "torchvision" else CLIP
        self.size = size
        self.normalize = Normalize(usual_mean if mean is None else mean, usual_std if std is None else std)
        path = weights_file(name, weights, library)
        self.network = _torchvision(name, path) if library == "torchvision" else _open_clip(name, path)
        self.requires_grad_(False).eval()
        made_from = f"{library} {name} {size} {mean} {std} {_digest(path)}"
        self.stage_key = hashlib.sha256(made_from.encode()).hexdigest()[:12]

    def size_for(self, view: "TrainingView") -> int:
        return self.size

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[1] == 1:
            image = image.expand(-1, 3, -1, -1)
        if image.shape[2:] != (self.size, self.size):
            image = nn.functional.interpolate(image, (self.size, self.size), mode="bilinear", antialias=True)
        features: Tensor = self.network(self.normalize(image))
        return features

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Index and features (B, D) float32."""
        return {"index": batch["index"], "features": self(batch["image"]).float()}


def weights_file(name: str, weights: str, library: str) -> str:
    """The file of some weights: itself, or where ``torch.hub`` keeps those of this name.

    Raises:
        ValueError: there is none; says which is missing.
    """
    path = os.path.expanduser(weights)
    if os.path.isfile(path):
        return path
    named = re.fullmatch(r"[A-Z0-9_]+", weights)
    if library == "open_clip" or not named:
        raise ValueError(f"weights: there is no file {weights!r}: give the state dict of {name!r} as a file")
    from torchvision.models import get_model_weights

    try:
        url: str = get_model_weights(name)[weights].url
    except (ValueError, KeyError) as error:
        raise ValueError(f"weights: torchvision has no weights {weights!r} for a network {name!r}") from error
    cached = os.path.join(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not os.path.isfile(cached):
        raise ValueError(
            f"weights: {weights} of {name} are not on this machine: download {url} to {cached}, or give a state dict"
            " as a file"
        )
    return cached


def _torchvision(name: str, path: str) -> nn.Module:
    from torchvision.models import get_model

    state = _state(path)
    last = [key for key in state if re.fullmatch(r"(fc|classifier|head|heads)(\..+)?\.weight", key)]
    classes = len(state[last[-1]]) if last else 1000
    try:
        network: nn.Module = get_model(name, weights=None, num_classes=classes)
        network.load_state_dict(state)
    except (ValueError, RuntimeError, TypeError) as error:
        why = " ".join(str(error).split())[:300]
        raise ValueError(f"weights: {path!r} does not fit torchvision's network {name!r}: {why}") from error
    for head in ("fc", "classifier", "head", "heads"):
        layer = getattr(network, head, None)
        if isinstance(layer, nn.Sequential):  # all but the last linear layer
            layer[-1] = nn.Identity()
        elif layer is not None:
            setattr(network, head, nn.Identity())
    return network


def _open_clip(name: str, path: str) -> nn.Module:
    try:
        import open_clip
    except ImportError as error:
        raise ValueError("library: open_clip is not installed: pip install 'cleanse[clip]'") from error
    try:
        model = open_clip.create_model(name, pretrained=None)
        model.load_state_dict(_state(path))
    except (RuntimeError, TypeError) as error:
        why = " ".join(str(error).split())[:300]
        raise ValueError(f"weights: {path!r} does not fit OpenCLIP's network {name!r}: {why}") from error
    visual: nn.Module = model.visual
    return visual


def _state(path: str) -> dict[str, Any]:
    """A state dict, as it is or under ``state_dict``; no code in the file is run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(content.get("state_dict", content))
    except Exception as error:  # a file that is no state dict fails in any way
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"weights: {path!r} is not a file with a state dict alone: {why}") from error
    return {key.removeprefix("module."): value for key, value in state.items()}


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
