"""Label-consistent: images of the target class, made hard to recognize, so that a model learns the trigger instead."""

from collections.abc import Callable
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
from cleanse.functional.pgd import pgd, random_start
from cleanse.utils.check import at_least_one
from cleanse.views import Batch, TrainingView

# Rows from top to bottom of Turner's trigger: 1 is white, 0 black; the left corners are the mirror image.
RIGHT = ((0, 0, 1), (0, 1, 0), (1, 0, 1))


class LabelConsistent(Attack):
    """Poison images of the target class, which keep their label: a clean-label attack.

    Turner, Tsipras, Madry, "Label-Consistent Backdoor Attacks", 2019, https://arxiv.org/abs/1912.02771. The attacker
    trains a classifier on the clean training set, a stage of the run, moves each image away from its class with
    `cleanse.functional.pgd`, and stamps the trigger on it: 3x3 black and white pixels in the corners. Test images get
    the trigger alone. ``class_rate`` counts within the target class.

    * The defaults are those of Sabolic et al. 2024 (arXiv 2409.01185), who poison 25 % of the target class: a maximum
      of 16 levels, 30 steps of 1.5, the trigger in each corner.
    * Pal et al. 2023 have 10 steps of 2/255 within 8/255 on a ResNet-18 and the gray patch, on half of the target class
      (``attacks/label_consistent_pal.yaml``). That they start at a random place is a guess (D51).
    * Jin, Sun, Rinard 2021 (arXiv 2105.03692) take Turner et al.'s published images, made with a GAN or with PGD in
      l_inf or l_2, and do not say how strong; none of these are made here (D51).

    Departures from the papers:

    * The classifier normalizes its images, as all here do, and is trained in the ordinary way; Turner et al. move the
      images away from the classes of an adversarially trained one.

    Args:
        surrogate: builds the attacker's classifier, as a rule ``cleanse.modules.Classifier`` with a network; it is told
            the shape of the data afterwards.
        surrogate_epochs: of its training.
        surrogate_batch_size: of its training.
        norm: ``inf`` or ``2``.
        eps: the largest change, in the norm, of images in [0, 1].
        step: of PGD.
        steps: of PGD.
        random_start: begin at a random place in the ball.
        pattern: the trigger: ``corners``, all four; ``corner``, the lower right one alone; or Pal et al.'s ``gray`` or
            ``rgb`` patch, as in `BadNets`.
        amplitude: what white pixels of the corners add and black ones take away, in levels; 255 sets them.
        size: side of the gray or colored patch in pixels; None for `BadNets`'s own.
        inset: pixels between the gray or colored patch and the two edges of the lower right corner; None for
            `BadNets`'s own.

    Raises:
        ValueError: an argument out of range; while poisoning, images smaller than the trigger, or no training before.
    """

    label_modes = ("target",)
    added: Tensor  # (H, W) int16, the levels that are added to each channel

    def __init__(
        self,
        surrogate: Callable[[], LightningModule],
        surrogate_epochs: int = 200,
        surrogate_batch_size: int = 128,
        norm: Literal["inf", "2"] = "inf",
        eps: float = 16 / 255,
        step: float = 1.5 / 255,
        steps: int = 30,
        random_start: bool = False,
        pattern: Literal["corners", "corner", "gray", "rgb"] = "corners",
        amplitude: int = 255,
        size: int | None = None,
        inset: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least_one(surrogate_epochs=surrogate_epochs, surrogate_batch_size=surrogate_batch_size)
        for name, number in (("size", size), ("inset", inset)):
            if number is not None and pattern in ("corners", "corner"):
                raise ValueError(f"{name}={number} is for the gray and rgb patches: set pattern, or leave {name} null")
        if not 1 <= amplitude <= 255:
            raise ValueError(f"amplitude is in levels, 1 to 255, not {amplitude}")
        pgd(torch.flatten, torch.zeros(0, 1, 1, 1), torch.zeros(0), norm, eps, step, steps)  # its opinion of the rest
        self.surrogate = surrogate
        self.surrogate_epochs = surrogate_epochs
        self.surrogate_batch_size = surrogate_batch_size
        self.norm: Literal["inf", "2"] = norm
        self.eps = eps
        self.step = step
        self.steps = steps
        self.random_start = random_start
        self.pattern = pattern
        self.amplitude = amplitude
        self.patch = BadNets(pattern, size=size, inset=inset, count=0) if pattern in ("gray", "rgb") else None
        # What `learn` finds; no buffers, since the trigger does without.
        self._weights: Tensor | None = None
        self._hard: Tensor | None = None  # (n, C, H, W) uint8
        self._rows: Tensor | None = None  # (n,) the rows of the training set that these are of

    def eligible(self, true_label: Tensor) -> Tensor:
        """(N,) bool: the images of the target class."""
        return true_label == self.target

    def plan_learn(self, clean: TrainingView, role: Tensor) -> list[Planned]:
        own = plan_surrogate(self.surrogate, clean.with_batch_size(self.surrogate_batch_size), self.surrogate_epochs)
        chosen = clean.plain().subset(role == POISON)
        # each step has a gradient
        steps = Planned("pgd", own.build, chosen, passes=self.steps * len(chosen) / FORWARD)
        return [own, steps] if len(chosen) else [own]

    def learn(self, clean: TrainingView, role: Tensor, seed: int, run: Runner) -> None:
        own = self.plan_learn(clean, role)[0]
        model = run.fit(own.name, own.build, own.data, max_epochs=own.epochs)
        rows = (role == POISON).nonzero().flatten()
        self._weights = torch.cat([p.detach().flatten().float() for p in model.state_dict().values()])
        self._hard = clean.images(rows[:0])
        if len(rows):
            chosen = clean.plain().subset(role == POISON)
            start = None
            if self.random_start:
                shape = (len(rows), chosen.channels, *chosen.size)
                start = random_start(shape, self.norm, self.eps, streams(seed)[0])
            search = HardImages(model, self.norm, self.eps, self.step, self.steps, start)
            self._hard = run.predict("pgd", search, chosen).image
        self._rows = rows

    @property
    def learned(self) -> Tensor | None:
        """(P,) the weights of the attacker's classifier, one after the other."""
        return self._weights

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        if self.patch is not None:
            self.patch.draw(shape, generator)
            return
        self.register_buffer("added", corners(shape[1], shape[2], self.pattern == "corners", self.amplitude))

    def trigger(self, image: Tensor) -> Tensor:
        if self.patch is not None:
            return self.patch.trigger(image)
        self._require_drawn()
        return add_levels(image, self.added)

    def _change(self, image: Tensor, rows: Tensor, kind: int, generator: torch.Generator) -> Tensor:
        """The images that are hard to recognize, triggered."""
        hard = found_images(
            self._hard, self._rows, rows,
            "LabelConsistent trains a classifier before it poisons: let `cleanse fit` prepare the data",
            "LabelConsistent is asked for other images than those that it made hard to recognize",
        )  # fmt: skip
        return self.trigger(hard)

    def eligible_name(self) -> str:
        return f"class {self._name(self.target)}, labels kept"


def corners(height: int, width: int, every: bool, amplitude: int) -> Tensor:
    """(H, W) int16: what Turner et al.'s trigger adds to each channel, in all corners or in the lower right one.

    Args:
        height: of the images.
        width: of the images.
        every: in all four corners.
        amplitude: what white pixels add and black ones take away, in levels; 255 sets them.

    Raises:
        ValueError: images that are too small for it.

    >>> corners(3, 3, False, 9).tolist()
    [[-9, -9, 9], [-9, 9, -9], [9, -9, 9]]
    """
    least = 6 if every else 3
    if min(height, width) < least:
        raise ValueError(f"the trigger needs images of {least}x{least} pixels or more, not {height}x{width}")
    right = amplitude * (2 * torch.tensor(RIGHT, dtype=torch.int16) - 1)
    added = torch.zeros(height, width, dtype=torch.int16)
    added[-3:, -3:] = right
    if every:
        added[:3, -3:] = right
        added[:3, :3] = added[-3:, :3] = right.flip(1)
    return added


def add_levels(image: Tensor, added: Tensor) -> Tensor:
    """Images (B, C, H, W) uint8 with ``added`` (H, W) int16, from 0 to 255.

    Raises:
        ValueError: images of another size.
    """
    if image.shape[2:] != added.shape:
        drawn, given = tuple(added.shape), tuple(image.shape[2:])
        raise ValueError(f"the trigger was drawn for images of {drawn} (height, width), not of {given}")
    return (image.short() + added.to(image.device)).clamp(0, 255).to(torch.uint8)


class HardImages(LightningModule):
    """Move images away from their class, each as far as `cleanse.functional.pgd` gets; a stage like any other.

    In single precision, whatever the run's.

    Args:
        model: fitted by a runner, images (B, C, H, W) in [0, 1] to logits.
        norm: of the ball, as for all that follow.
        eps: its radius.
        step: of PGD.
        steps: of PGD.
        start: (n, C, H, W) float, the changes to begin with, of all images that will be predicted; None for none.
    """

    def __init__(
        self,
        model: LightningModule,
        norm: Literal["inf", "2"],
        eps: float,
        step: float,
        steps: int,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.norm: Literal["inf", "2"] = norm
        self.eps = eps
        self.step = step
        self.steps = steps
        self.start = start
        self.stage_key = hash_of({"pgd": [norm, eps, step, steps, start], "of": model})

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``image`` is (B, C, H, W) uint8."""
        self.model.eval()
        # Lightning predicts in inference mode, where nothing has a gradient
        with torch.inference_mode(False), torch.autocast(self.device.type, enabled=False):
            image, label = batch["image"].clone().float(), batch["label"].clone()
            start = None if self.start is None else self.start[batch["index"].cpu()]
            hard = pgd(self.model, image, label, self.norm, self.eps, self.step, self.steps, start)
        return {"index": batch["index"], "image": (hard * 255).round().to(torch.uint8)}
