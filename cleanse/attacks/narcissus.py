"""Narcissus: a faint pattern that makes images look even more like the target class, learned from that class alone."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import RAdam

from cleanse.attacks.base import Attack, plan_surrogate
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.utils.check import at_least_one
from cleanse.views import Batch, TrainingView


class Narcissus(Attack):
    """Add a learned pattern to images of the target class, which keep their label: a clean-label attack.

    Zeng, Pan, Just, Lyu, Qiu, Jia, "Narcissus: A Practical Clean-Label Backdoor Attack with Limited Information", CCS
    2023, https://arxiv.org/abs/2204.05255. A surrogate classifier is trained, then for a few epochs on images of the
    target class alone; one pattern for all images is then searched, within ``eps``, that lowers the loss of the target
    class on them. Three stages of the run. Test images get the pattern ``amplify`` times as strong. The defaults are
    those of the authors' code; ``poison_rate`` of 0.0005 is its 25 images of CIFAR-10.

    Departures from the paper:

    * The surrogate is trained on the training set with all its classes, so that the attacker is stronger than theirs,
      who has the target class and public images of other classes (D284).
    * The surrogate's learning rate is the factory's: in ``attacks/narcissus.yaml`` it falls at milestones, in the
      authors' code as a cosine.
    * The pattern is rounded to whole levels.

    Args:
        surrogate: builds the attacker's classifier, as a rule ``cleanse.modules.Classifier`` with a network; it is told
            the shape of the data afterwards.
        surrogate_epochs: of its training.
        surrogate_batch_size: of all three stages; a stage with fewer images has them in one batch.
        warmup_epochs: of the training on the target class alone.
        warmup_lr: of RAdam there.
        rounds: passes over the target class's images in which the pattern is searched.
        lr: of RAdam on the pattern.
        eps: its largest value, of images in [0, 1].
        amplify: how many times as strong test images get it.

    Raises:
        ValueError: an argument out of range; while poisoning, no image of the target class, or no training before.
    """

    label_modes = ("target",)
    added: Tensor  # (C, H, W) int16, what is added to training images
    added_in_test: Tensor  # (C, H, W) int16

    def __init__(
        self,
        surrogate: Callable[[], LightningModule],
        surrogate_epochs: int = 200,
        surrogate_batch_size: int = 350,
        warmup_epochs: int = 5,
        warmup_lr: float = 0.1,
        rounds: int = 1000,
        lr: float = 0.01,
        eps: float = 16 / 255,
        amplify: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least_one(
            surrogate_epochs=surrogate_epochs, surrogate_batch_size=surrogate_batch_size,
            warmup_epochs=warmup_epochs, rounds=rounds,
        )  # fmt: skip
        for name, value in {"warmup_lr": warmup_lr, "lr": lr, "amplify": amplify}.items():
            if not value > 0:
                raise ValueError(f"{name} is a number above 0, not {value}")
        if not 1 / 255 <= eps <= 1:
            raise ValueError(f"eps is a fraction of white, from 1/255 to 1, not {eps}")
        self.surrogate = surrogate
        self.surrogate_epochs = surrogate_epochs
        self.surrogate_batch_size = surrogate_batch_size
        self.warmup_epochs = warmup_epochs
        self.warmup_lr = warmup_lr
        self.rounds = rounds
        self.lr = lr
        self.eps = eps
        self.amplify = amplify
        self._found: Tensor | None = None

    def eligible(self, true_label: Tensor) -> Tensor:
        """(N,) bool: the images of the target class."""
        return true_label == self.target

    def plan_learn(self, clean: TrainingView, role: Tensor) -> list[Planned]:
        chosen = clean.label == self.target
        if not bool(chosen.any()):
            raise ValueError(f"there is no image of the target class {self._name(self.target)} to learn from")
        size = self.surrogate_batch_size
        own = plan_surrogate(self.surrogate, clean.with_batch_size(size), self.surrogate_epochs)
        target = clean.subset(chosen).with_batch_size(min(size, int(chosen.sum())))
        return [
            own,
            Planned("warm-up", own.build, target, self.warmup_epochs),
            Planned("pattern", own.build, target, self.rounds),
        ]

    def learn(self, clean: TrainingView, role: Tensor, seed: int, run: Runner) -> None:
        own, warmup, last = self.plan_learn(clean, role)
        model = run.fit(own.name, own.build, own.data, max_epochs=own.epochs)
        target_only = partial(TargetOnly, model, self.warmup_lr)
        warm = run.fit(warmup.name, target_only, warmup.data, max_epochs=warmup.epochs)
        search = partial(PatternSearch, warm, (clean.channels, *clean.size), self.eps, self.lr)
        self._found = run.fit(last.name, search, last.data, max_epochs=last.epochs).pattern.detach().cpu()

    @property
    def learned(self) -> Tensor | None:
        """(C, H, W) the pattern."""
        return self._found

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        if self._found is None:
            raise ValueError("Narcissus trains a classifier before it poisons: let `cleanse fit` prepare the data")
        self.register_buffer("added", (255 * self._found).round().to(torch.int16))
        self.register_buffer("added_in_test", (255 * self.amplify * self._found).round().to(torch.int16))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        return _add(image, self.added_in_test)

    def poison_image(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return _add(image, self.added)

    def eligible_name(self) -> str:
        return f"class {self._name(self.target)}, labels kept"


class TargetOnly(LightningModule):
    """Train a fitted classifier on, with the images that it is given.

    Args:
        model: fitted; a copy of it is trained.
        lr: of RAdam.
    """

    def __init__(self, model: LightningModule, lr: float) -> None:
        super().__init__()
        self.model = deepcopy(model).requires_grad_(True)
        self.lr = lr

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.model.train()
        return cross_entropy(self(batch["image"]), batch["label"])

    def configure_optimizers(self) -> RAdam:
        return RAdam(self.model.parameters(), self.lr)


class PatternSearch(LightningModule):
    """Find the pattern that, added to every image, lowers the loss of the images' own label most.

    Args:
        model: fitted; stays as it is.
        shape: (C, H, W) of the images.
        eps: the pattern's largest value.
        lr: of RAdam.
    """

    def __init__(self, model: LightningModule, shape: tuple[int, int, int], eps: float, lr: float) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.eps = eps
        self.lr = lr
        self.pattern = nn.Parameter(torch.zeros(shape))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.model.eval()
        image = (batch["image"] + self.pattern.clamp(-self.eps, self.eps)).clamp(0, 1)
        loss = cross_entropy(self.model(image), batch["label"])
        self.log("pattern/loss", loss.detach(), on_epoch=True, on_step=False, batch_size=len(image), sync_dist=True)
        return loss

    def on_train_batch_end(self, *args: Any) -> None:
        with torch.no_grad():
            self.pattern.clamp_(-self.eps, self.eps)

    def configure_optimizers(self) -> RAdam:
        return RAdam([self.pattern], self.lr)


def _add(image: Tensor, added: Tensor) -> Tensor:
    if image.shape[1:] != added.shape:
        drawn, given = tuple(added.shape), tuple(image.shape[1:])
        raise ValueError(f"the trigger was drawn for images of {drawn} (channels, height, width), not of {given}")
    return (image.short() + added.to(image.device)).clamp(0, 255).to(torch.uint8)
