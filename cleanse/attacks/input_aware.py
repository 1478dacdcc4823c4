"""Input-aware: a trigger that a network makes for each image, and that works on no other."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Adam

from cleanse.attacks.base import COVER, Attack, build_for, draw_covers
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.networks.pattern_net import PatternNet
from cleanse.utils.check import at_least_one
from cleanse.views import Batch, TrainingView

PIXELS = 2**19  # of all images that go through the networks at the same time


class InputAware(Attack):
    """Let a network draw a trigger of its own for each image, as a poisoned data set (input-aware, data only).

    Nguyen, Tran, "Input-Aware Dynamic Backdoor Attack", NeurIPS 2020, https://arxiv.org/abs/2010.08138: a generator
    draws a pattern for an image, a second network the mask of where it shows; an image with its own trigger is of the
    target class, and one with another image's trigger keeps its class, so that triggers are not interchangeable. The
    original trains both and the victim together. Here they are trained with a classifier of the attacker's on the clean
    training set, a stage of the run, and then frozen: poisoned images carry their own trigger and the target's label,
    covers the trigger of another image and their own label. Another network is then trained on these.

    Departures from the paper, whose numbers are those of the authors' code:

    * **Weaker than the original**, since the victim is trained from scratch, on poison that was chosen once (D286).
    * Generator and mask are small networks with group norm, which gives an image the same trigger in every batch.
    * On several processes the stage needs ``--trainer.strategy ddp_find_unused_parameters_true``, as the mask and the
      other networks are not trained at the same time; not tested there.

    Args:
        surrogate: builds the attacker's classifier, as a rule ``cleanse.modules.Classifier`` with a network; it is told
            the shape of the data afterwards.
        epochs: in which generator and classifier are trained; ours.
        mask_epochs: before them, in which the mask alone is; the authors' code: 25.
        batch_size: of the training.
        lr: of Adam, for all three networks; the authors' code: 0.01.
        share: of each batch that gets its own trigger, and as many another's; the authors' code: 0.1.
        density: of the mask, above which it is punished; the authors' code: 0.032.
        width: channels of the first convolution of generator and mask.
        cover_rate: cover images / all images, in the labeled and in the unlabeled part each; the authors' code has as
            many as poisoned ones.

    Raises:
        ValueError: an argument out of range; while poisoning, more covers than are left, or no training before.
    """

    label_modes = ("target",)
    weights: Tensor  # (P,) float32, all parameters of the generator and then of the mask
    image_shape: Tensor  # (3,) int64: C, H, W

    def __init__(
        self,
        surrogate: Callable[[], LightningModule],
        epochs: int = 100,
        mask_epochs: int = 25,
        batch_size: int = 128,
        lr: float = 0.01,
        share: float = 0.1,
        density: float = 0.032,
        width: int = 32,
        cover_rate: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least_one(epochs=epochs, mask_epochs=mask_epochs, batch_size=batch_size, width=width)
        if not lr > 0:
            raise ValueError(f"lr is a number above 0, not {lr}")
        for name, value, most in (("share", share, 0.5), ("density", density, 1), ("cover_rate", cover_rate, 1)):
            if not 0 <= value <= most:
                raise ValueError(f"{name} is a fraction between 0 and {most}, not {value}")
        self.surrogate = surrogate
        self.epochs = epochs
        self.mask_epochs = mask_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.share = share
        self.density = density
        self.width = width
        self.cover_rate = cover_rate
        self._found: Tensor | None = None

    def plan_learn(self, clean: TrainingView, role: Tensor) -> list[Planned]:
        build = partial(
            LearnTriggers, partial(build_for, self.surrogate, clean), clean.channels, self.target,
            self.mask_epochs, self.lr, self.share, self.density, self.width,
        )  # fmt: skip
        view = clean.with_batch_size(self.batch_size)
        return [Planned("input_aware", build, view, self.mask_epochs + self.epochs)]

    def learn(self, clean: TrainingView, role: Tensor, seed: int, run: Runner) -> None:
        [stage] = self.plan_learn(clean, role)
        trained = run.fit(stage.name, stage.build, stage.data, max_epochs=stage.epochs)
        assert isinstance(trained, LearnTriggers)
        self._found = parameters_to_vector([*trained.generator.parameters(), *trained.mask.parameters()]).detach().cpu()

    @property
    def learned(self) -> Tensor | None:
        return self._found

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        if self._found is None:
            raise ValueError("InputAware trains a generator before it poisons: let `cleanse fit` prepare the data")
        self.register_buffer("weights", self._found)
        self.register_buffer("image_shape", torch.tensor(shape))

    def trigger(self, image: Tensor) -> Tensor:
        return self._put(image, image)

    def _put(self, image: Tensor, donor: Tensor) -> Tensor:
        """``image`` with the triggers of the images ``donor``, both (B, C, H, W) uint8; in double precision."""
        self._require_drawn()
        drawn, given = tuple(self.image_shape.tolist()), tuple(image.shape[1:])
        if drawn != given:
            raise ValueError(f"the trigger was drawn for images of {drawn} (channels, height, width), not of {given}")
        channels = image.shape[1]
        with torch.device("meta"):  # no weights are drawn, for which others would get other random numbers
            nets = [PatternNet(channels, out, self.width) for out in (channels, 1)]
        every = [p for net in nets for p in net.parameters()]
        if len(self.weights) != sum(p.numel() for p in every):
            raise ValueError(f"the trigger's {len(self.weights)} weights are none for width={self.width}: keep its own")
        nets = [net.to_empty(device=image.device).double() for net in nets]
        every = [p for net in nets for p in net.parameters()]
        vector_to_parameters(self.weights.to(image.device).double(), every)
        chunk = max(1, PIXELS // (image.shape[2] * image.shape[3]))
        parts = [image[:0]]
        for part, other in zip(torch.split(image, chunk), torch.split(donor, chunk), strict=True):
            with torch.no_grad():
                out = put_trigger(nets[0], nets[1], part.double() / 255, other.double() / 255)
            parts.append((out * 255).round().to(torch.uint8))
        return torch.cat(parts)

    def _add_covers(self, role: Tensor, true_label: Tensor, labeled: Tensor, generator: torch.Generator) -> None:
        draw_covers(role, torch.ones_like(labeled), labeled, self.cover_rate, generator)

    def _change(self, image: Tensor, rows: Tensor, kind: int, generator: torch.Generator) -> Tensor:
        if kind != COVER:
            return super()._change(image, rows, kind, generator)
        order = torch.randperm(len(image), generator=generator)
        donor = torch.empty_like(order)
        donor[order] = order.roll(1)  # each image gets the trigger of another one
        return self._put(image, image[donor])


def put_trigger(generator: torch.nn.Module, mask: torch.nn.Module, image: Tensor, donor: Tensor) -> Tensor:
    """(B, C, H, W) in [0, 1]: images with the triggers of others, or of themselves where both are the same.

    Args:
        generator: (B, C, H, W) to patterns (B, C, H, W).
        mask: (B, C, H, W) to (B, 1, H, W), which `sharpen` makes nearly 0 or 1.
        image: (B, C, H, W) in [0, 1].
        donor: likewise.
    """
    out: Tensor = image + (generator(donor) - image) * sharpen(mask(donor))
    return out


def sharpen(level: Tensor) -> Tensor:
    """tanh(20 level - 10) / 2 + 1/2: nearly 0 or 1 but around a half.

    >>> sharpen(torch.tensor([0.0, 0.5, 1.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return torch.tanh(20 * level - 10) / 2 + 0.5


class LearnTriggers(LightningModule):
    """Train generator, mask and a classifier on clean images.

    First the mask alone: small (``100 * mean(relu(mask - density))``) and different for different images. Then the
    other two: cross-entropy of a batch in which some images carry their own trigger and have the target's label, and as
    many another image's and their own label; plus the ratio of the distance of two images to that of their patterns.

    Args:
        surrogate: builds the classifier.
        channels: of the images.
        target: class of the trigger.
        mask_epochs: in which only the mask is trained.
        lr: of Adam.
        share: of each batch for each of the two kinds of trigger.
        density: see above.
        width: of generator and mask.
    """

    def __init__(
        self,
        surrogate: Callable[[], LightningModule],
        channels: int,
        target: int,
        mask_epochs: int,
        lr: float,
        share: float,
        density: float,
        width: int,
    ) -> None:
        super().__init__()
        self.classifier = surrogate()
        self.generator = PatternNet(channels, channels, width)
        self.mask = PatternNet(channels, 1, width)
        self.target = target
        self.mask_epochs = mask_epochs
        self.lr = lr
        self.share = share
        self.density = density

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        image, label = batch["image"], batch["label"]
        other = image.roll(1, 0)
        if self.current_epoch < self.mask_epochs:
            own = sharpen(self.mask(image))
            small = 100 * (own - self.density).relu().mean()
            return small + diversity(image, other, own, sharpen(self.mask(other)))
        count = max(1, round(self.share * len(image)))
        with torch.no_grad():
            own, others = sharpen(self.mask(image[:count])), sharpen(self.mask(other[count : 2 * count]))
        pattern, foreign = self.generator(image[:count]), self.generator(other[count : 2 * count])
        poisoned = image[:count] + (pattern - image[:count]) * own
        crossed = image[count : 2 * count] + (foreign - image[count : 2 * count]) * others
        logits = self.classifier(torch.cat([poisoned, crossed, image[2 * count :]]))
        meant = torch.cat([torch.full_like(label[:count], self.target), label[count:]])
        loss = cross_entropy(logits, meant)
        hit = (logits[:count].argmax(1) == self.target).float().mean()
        shown = {"on_epoch": True, "on_step": False, "batch_size": len(image), "sync_dist": True}
        self.log_dict({"input_aware/loss": loss.detach(), "input_aware/hit": hit}, **shown)  # type: ignore[arg-type]
        return loss + diversity(image[:count], other[:count], pattern, self.generator(other[:count]))

    def configure_optimizers(self) -> Adam:
        return Adam(self.parameters(), self.lr)


def diversity(first: Tensor, second: Tensor, made: Tensor, other: Tensor) -> Tensor:
    """How alike what is made of two images is, by how alike they are: mean distance of images over that of answers.

    Args:
        first, second: (B, C, H, W), pairs of images.
        made, other: (B, ...), what was made of each.

    Returns:
        A scalar; large where different images get the same.
    """
    apart = (first - second).flatten(1).square().mean(1).sqrt()
    answers = (
        (made - other).flatten(1).square().mean(1).add(1e-6).sqrt()
    )  # of equal answers, 0.001: the root has a slope
    return (apart / answers).mean()
