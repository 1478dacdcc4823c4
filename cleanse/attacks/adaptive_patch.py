"""A patch that is optimized against a contrastive encoder, so that patched images lie where the target class does."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import Adam

from cleanse.attacks.base import Attack, plan_surrogate, stamp
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.utils.check import at_least_one
from cleanse.views import Batch, TrainingView


class AdaptivePatch(Attack):
    """The adaptive attack of Wang et al. 2022 (arXiv 2210.10272, appendix E): it knows the defense.

    A surrogate encoder is trained on the clean training set, which the attacker owns; the patch in the top left corner
    is then optimized so that the embeddings of patched images come close to the mean embedding of the target class
    (Eq. 7 and 8). Both are stages of the run. The defender trains another encoder.

    The paper says neither how many images are poisoned nor how the patch is optimized: Adam through a sigmoid, rounded
    to whole levels at the end, is our choice (D54).

    Args:
        surrogate: builds the encoder, as a rule ``cleanse.modules.SimCLR`` with a network; it is told the shape of the
            data afterwards.
        surrogate_epochs: of its training; what the paper has for the defender's encoder.
        surrogate_batch_size: of its training; ours.
        size: side of the patch in pixels; paper: 3, 7 and 11.
        epochs: of the optimization of the patch; ours, as the next two.
        batch_size: of the optimization of the patch.
        lr: of Adam on the patch.

    Raises:
        ValueError: an argument out of range; while poisoning, a patch larger than the image, or no training before.
    """

    label_modes = ("target",)
    patch: Tensor  # (C, size, size) uint8

    def __init__(
        self,
        surrogate: Callable[[], LightningModule],
        surrogate_epochs: int = 1000,
        surrogate_batch_size: int = 1024,
        size: int = 7,
        epochs: int = 10,
        batch_size: int = 256,
        lr: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least_one(
            surrogate_epochs=surrogate_epochs, surrogate_batch_size=surrogate_batch_size, size=size,
            epochs=epochs, batch_size=batch_size,
        )  # fmt: skip
        self.surrogate = surrogate
        self.surrogate_epochs = surrogate_epochs
        self.surrogate_batch_size = surrogate_batch_size
        self.size = size
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self._found: Tensor | None = None

    def plan_learn(self, clean: TrainingView, role: Tensor) -> list[Planned]:
        self._fits(clean.size)
        view = clean.plain().with_batch_size(self.surrogate_batch_size)
        own = plan_surrogate(self.surrogate, view, self.surrogate_epochs)
        others = clean.plain().subset(clean.label != self.target).with_batch_size(self.batch_size)
        return [own, Planned("patch", own.build, others, self.epochs)]

    def learn(self, clean: TrainingView, role: Tensor, seed: int, run: Runner) -> None:
        own, last = self.plan_learn(clean, role)
        encoder = run.fit(own.name, own.build, own.data, max_epochs=own.epochs)
        goal = _mean_embedding(encoder, clean.subset(clean.label == self.target))
        search = partial(PatchSearch, encoder, goal, clean.channels, self.size, self.lr)
        self._found = run.fit(last.name, search, last.data, max_epochs=last.epochs).rounded()

    @property
    def learned(self) -> Tensor | None:
        return self._found

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        self._fits(shape[1:])
        if self._found is None:
            raise ValueError("AdaptivePatch trains an encoder before it poisons: let `cleanse fit` prepare the data")
        self.register_buffer("patch", self._found)

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        self._fits((image.shape[2], image.shape[3]))
        pattern = image.new_zeros(image.shape[1:])
        covered = torch.zeros(image.shape[2:], dtype=torch.bool)
        side = self.patch.shape[1]
        pattern[:, :side, :side] = self.patch
        covered[:side, :side] = True
        return stamp(image, pattern, covered)

    def _fits(self, size: tuple[int, ...]) -> None:
        if self.size > min(size):
            raise ValueError(f"size={self.size} is larger than the image, {size[0]}x{size[1]} pixels")


class PatchSearch(LightningModule):
    """Find the patch that brings images closest to a goal in the embedding (Wang et al. 2022, Eq. 7).

    Args:
        encoder: fitted; gives embeddings (B, d) of images in [0, 1].
        goal: (d,), the mean embedding of the target class, not of length one (Eq. 8).
        channels: of the images.
        size: side of the patch.
        lr: of Adam.
    """

    def __init__(self, encoder: LightningModule, goal: Tensor, channels: int, size: int, lr: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.register_buffer("goal", goal)
        self.goal: Tensor
        self.size = size
        self.lr = lr
        self.logit = nn.Parameter(torch.zeros(channels, size, size))

    def patched(self, image: Tensor) -> Tensor:
        """(B, C, H, W) images in [0, 1] with the patch as it is now."""
        patch: Tensor = nn.functional.pad(
            self.logit.sigmoid(), (0, image.shape[3] - self.size, 0, image.shape[2] - self.size)
        )
        covered = torch.zeros(image.shape[2:], dtype=torch.bool, device=image.device)
        covered[: self.size, : self.size] = True
        return torch.where(covered, patch.to(image.dtype), image)

    def rounded(self) -> Tensor:
        """The patch, (C, size, size) uint8."""
        return (self.logit.detach().sigmoid() * 255).round().to(torch.uint8).cpu()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.encoder.eval()
        embedding = normalize(self.encoder(self.patched(batch["image"])).float(), dim=1)
        distance: Tensor = (embedding - self.goal).norm(dim=1).mean()
        shown = {"on_epoch": True, "on_step": False, "batch_size": len(embedding), "sync_dist": True}
        self.log("patch/distance", distance.detach(), **shown)  # type: ignore[arg-type]
        return distance

    def configure_optimizers(self) -> Adam:
        return Adam([self.logit], self.lr)


@torch.no_grad()
def _mean_embedding(encoder: LightningModule, view: TrainingView) -> Tensor:
    """(d,) mean of the embeddings of length one of all images of ``view``."""
    total, rows = torch.zeros(()), torch.arange(len(view))
    for part in rows.split(512):  # type: ignore[no-untyped-call]
        image = view.batch(part, augmented=False)["image"]
        total = total + normalize(encoder(image).float(), dim=1).sum(0)
    return total / len(rows)
