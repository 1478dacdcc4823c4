"""Adversarial embedding: poisoned images that lie among the target class's in an encoder of the attacker's."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.attacks.badnets import BadNets
from cleanse.attacks.base import POISON, Attack, plan_surrogate, streams
from cleanse.attacks.found_images import found_images
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.plan import FORWARD, Planned
from cleanse.engine.runner import Runner
from cleanse.functional.pgd_toward import pgd_toward
from cleanse.networks.base import Network
from cleanse.utils.check import at_least_one
from cleanse.views import Batch, TrainingView


class AdversarialEmbedding(Attack):
    """Stamp a patch on images, and move them to where an encoder sees images of the target class.

    Jin, Sun, Rinard 2021 (arXiv 2105.03692, section 6.3) report a third party's trial of the adversarial embedding
    attack of Tan and Shokri 2020 ("Bypassing Backdoor Detection Algorithms in Deep Learning", arXiv 1905.13409), which
    "minimizes the difference in the latent representations of clean and poisoned data". Theirs controls the victim's
    training. Here the attacker has the data alone: an encoder is trained on the clean training set, as a stage of the
    run; each image that will be poisoned, with the patch on it, is moved within ``eps`` of every pixel toward the
    features of an image of the target class (`cleanse.functional.pgd_toward`); it is given the target's label. The
    patch stays as it is, and test images get the patch alone. **Not a reproduction of the column in their table**: the
    protocol of that trial is not published (D282).

    Args:
        surrogate: builds the attacker's encoder, as a rule ``cleanse.modules.Classifier`` or ``SimCLR`` with a network,
            whose features are used; it is told the shape of the data afterwards.
        surrogate_epochs: of its training; this and all that follows is ours.
        surrogate_batch_size: of its training.
        eps: the largest change of a pixel outside of the patch, of images in [0, 1].
        step: of the descent.
        steps: of the descent.
        pattern: the patch, as in `BadNets`.
        size: side of the patch in pixels; None for `BadNets`'s own.

    Raises:
        ValueError: an argument out of range; while poisoning, a patch larger than the image, no image of the target
            class, or no training before.
    """

    label_modes = ("target",)

    def __init__(
        self,
        surrogate: Callable[[], LightningModule],
        surrogate_epochs: int = 200,
        surrogate_batch_size: int = 128,
        eps: float = 16 / 255,
        step: float = 2 / 255,
        steps: int = 40,
        pattern: Literal["checkerboard", "gray", "rgb", "colors", "noise"] = "checkerboard",
        size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least_one(surrogate_epochs=surrogate_epochs, surrogate_batch_size=surrogate_batch_size)
        none = torch.zeros(0, 1, 1, 1)
        pgd_toward(
            torch.flatten, none, none.flatten(1), torch.zeros(1, 1).bool(), eps, step, steps
        )  # its opinion of the rest
        self.surrogate = surrogate
        self.surrogate_epochs = surrogate_epochs
        self.surrogate_batch_size = surrogate_batch_size
        self.eps = eps
        self.step = step
        self.steps = steps
        self.patch = BadNets(pattern, size=size, count=0)
        # What `learn` finds; no buffers, since the trigger does without.
        self._weights: Tensor | None = None
        self._near: Tensor | None = None  # (n, C, H, W) uint8
        self._rows: Tensor | None = None  # (n,) the rows of the training set that these are of

    def plan_learn(self, clean: TrainingView, role: Tensor) -> list[Planned]:
        if not bool((clean.label == self.target).any()):
            raise ValueError(f"there is no image of the target class {self._name(self.target)} to come near to")
        own = plan_surrogate(self.surrogate, clean.with_batch_size(self.surrogate_batch_size), self.surrogate_epochs)
        chosen = clean.plain().subset(role == POISON)
        # each step has a gradient
        steps = Planned("embedding", own.build, chosen, passes=self.steps * len(chosen) / FORWARD)
        return [own, steps] if len(chosen) else [own]

    def learn(self, clean: TrainingView, role: Tensor, seed: int, run: Runner) -> None:
        own = self.plan_learn(clean, role)[0]
        model = run.fit(own.name, own.build, own.data, max_epochs=own.epochs)
        rows = (role == POISON).nonzero().flatten()
        targets = (clean.label == self.target).nonzero().flatten()
        generator = streams(seed)[0]
        self.patch.draw((clean.channels, *clean.size), generator)
        self._weights = torch.cat([p.detach().flatten().float() for p in model.state_dict().values()])
        self._near = clean.images(rows[:0])
        if len(rows):
            chosen = clean.plain().subset(role == POISON)
            pairs = targets[torch.randint(len(targets), (len(rows),), generator=generator)]
            search = NearImages(model, clean.images(pairs), self.patch, self.eps, self.step, self.steps)
            self._near = run.predict("embedding", search, chosen).image
        self._rows = rows

    @property
    def learned(self) -> Tensor | None:
        """(P,) the weights of the attacker's encoder, one after the other."""
        return self._weights

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        self.patch.draw(shape, generator)

    def trigger(self, image: Tensor) -> Tensor:
        return self.patch.trigger(image)

    def _change(self, image: Tensor, rows: Tensor, kind: int, generator: torch.Generator) -> Tensor:
        """The images that lie near the target class, with the patch."""
        return found_images(
            self._near, self._rows, rows,
            "AdversarialEmbedding trains an encoder before it poisons: let `cleanse fit` prepare the data",
            "AdversarialEmbedding is asked for other images than those that it moved",
        )  # fmt: skip


class NearImages(LightningModule):
    """Move images, with a patch on them, to where an encoder sees others; a stage like any other.

    In single precision, whatever the run's.

    Args:
        model: fitted by a runner.
        other: (n, C, H, W) uint8, for each image that will be predicted the one that it comes near to.
        patch: with its trigger drawn.
        eps: the largest change of a pixel.
        step: of the descent.
        steps: of the descent.
    """

    def __init__(
        self, model: LightningModule, other: Tensor, patch: BadNets, eps: float, step: float, steps: int
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.other = other
        self.patch = patch
        self.eps = eps
        self.step = step
        self.steps = steps
        drawn = [patch.trigger_image, patch.trigger_mask]
        self.stage_key = hash_of({"embedding": [other, drawn, eps, step, steps], "of": model})

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``image`` is (B, C, H, W) uint8."""
        self.model.eval()
        # Lightning predicts in inference mode, where nothing has a gradient
        with torch.inference_mode(False), torch.autocast(self.device.type, enabled=False):
            index = batch["index"].clone()
            image = (batch["image"].clone().float() * 255).round().to(torch.uint8)
            stamped = self.patch.trigger(image).float() / 255
            see = partial(encoded, self.model)
            with torch.no_grad():
                goal = see(self.other[index.cpu()].to(self.device).float() / 255)
            fixed = self.patch.trigger_mask.to(self.device)
            near = pgd_toward(see, stamped, goal, fixed, self.eps, self.step, self.steps)
        return {"index": batch["index"], "image": (near * 255).round().to(torch.uint8)}


def encoded(model: LightningModule, image: Tensor) -> Tensor:
    """(B, D) float: the features of a module's network before its head, or else what the module gives.

    Args:
        model: with a `cleanse.networks.Network` as ``network``, or any other that takes images.
        image: (B, C, H, W) float in [0, 1].
    """
    network, normalize = getattr(model, "network", None), getattr(model, "normalize", None)
    if isinstance(network, Network) and callable(normalize):
        return network.features(normalize(image)).float()
    embedding: Tensor = model(image)
    return embedding.flatten(1).float()
