"""SimCLR: an encoder that learns from images alone, by telling two views of one image from all other images."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cleanse.functional import knn_vote
from cleanse.modules.base import ImageModule, NetworkFactory, split_network
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import Batch, ImageView


class SimCLR(ImageModule):
    """Encoder and projector, trained with NT-Xent on two augmented views of every image.

    Chen et al. 2020, arXiv 2002.05709, with the settings of the SupContrast repository
    (https://github.com/HobbitLong/SupContrast; D70). The network's head is replaced by the projector, so that
    ``forward`` gives the embedding (B, dimension), not yet of length one. No label is used for training; where the data
    has labels as given, the share of images whose nearest neighbors in the batch agree with theirs is shown as progress
    (``simclr/knn``).

    Departures from the repository: the cosine is stepped by batch, not by epoch.

    Args:
        network: builds the encoder from (in_channels, num_classes); a `cleanse.networks.Network`.
        images: what the images are like; None for those of the data that it is fitted on.
        augment: makes a view from a batch of images in [0, 1]; None for the data set's own.
        projector: ``mlp``: two layers with a ReLU; ``linear``: one.
        dimension: of the embedding.
        projector_bias: whether the projector's layers have one.
        temperature: tau.
        base_temperature: the loss is multiplied by tau / base_temperature, as in SupContrast, whose learning rate is
            meant for it (D71); None leaves the loss as it is.
        optimizer: ``sgd`` or ``adam`` with betas (0.9, 0.99).
        lr: its learning rate.
        momentum: of SGD.
        weight_decay: of either.
        schedule: ``cosine`` to a thousandth of the learning rate, or ``constant``.
        warmup_epochs: the learning rate rises linearly from ``warmup_lr``; at most a tenth of all epochs.
        warmup_lr: where it starts.

    Raises:
        ValueError: an argument out of range, a network without features, or (when trained) a batch of one image.
    """

    name = "simclr"

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec | None = None,
        augment: nn.Module | None = None,
        projector: Literal["mlp", "linear"] = "mlp",
        dimension: int = 128,
        projector_bias: bool = True,
        temperature: float = 0.5,
        base_temperature: float | None = 0.07,
        optimizer: Literal["sgd", "adam"] = "sgd",
        lr: float = 0.5,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        schedule: Literal["cosine", "constant"] = "cosine",
        warmup_epochs: int = 10,
        warmup_lr: float = 0.01,
    ) -> None:
        super().__init__(network, images)
        if not lr > 0:
            raise ValueError(f"lr is above 0, not {lr}")
        self.augment = augment
        self.projector = projector
        self.dimension = dimension
        self.projector_bias = projector_bias
        self.temperature = temperature
        self.base_temperature = base_temperature
        self.optimizer = optimizer
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup_epochs = warmup_epochs
        self.warmup_lr = warmup_lr
        self.make_layers()

    def adapt_to(self, view: ImageView) -> None:
        if self.augment is None:
            self.augment = view.contrastive_augment
        super().adapt_to(view)

    def build(self, images: ImageSpec) -> None:
        network = split_network(self.make_network, images)
        width, bias = network.num_features, self.projector_bias
        last = nn.Linear(width, self.dimension, bias=bias)
        hidden = [nn.Linear(width, width, bias=bias), nn.ReLU()] if self.projector == "mlp" else []
        network.head = nn.Sequential(*hidden, last)
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float images in [0, 1] to their embedding (B, dimension)."""
        return self.network(self.normalize(image))  # type: ignore[no-any-return]

    def on_fit_start(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        world, size = self.trainer.world_size, data.batch_size
        if size % world:
            raise ValueError(f"batch_size={size} cannot be shared equally by {world} processes: use a multiple")
        rows = len(getattr(data, "training_view", lambda: data)())  # fitted alone, it gets a whole data set
        if rows < size and rows % world:  # the only batch is smaller
            raise ValueError(
                f"{rows} images in one batch cannot be shared equally by {world} processes: "
                f"lower batch_size below {rows}"
            )
        if self.augment is None:
            raise ValueError(f"{type(self).__name__} needs an augmentation that makes two views of an image")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        image, label = batch["image"], batch["label"]
        if len(image) * self.trainer.world_size < 2:
            raise ValueError("a contrast needs at least two images in a batch: raise batch_size, or use more images")
        assert self.augment is not None
        views = self(self.augment(torch.cat([image, image]))).float()
        first, second = views.chunk(2)
        loss = self.contrast(first, second, label)
        if self.base_temperature is not None:
            loss = loss * (self.temperature / self.base_temperature)
        shown = {"on_epoch": True, "on_step": False, "batch_size": len(image), "sync_dist": True}
        self.log(f"{self.name}/loss", loss.detach(), **shown)  # type: ignore[arg-type]
        if (agreement := _neighbors_agree(first.detach(), label)) is not None:
            self.log(f"{self.name}/knn", agreement, **shown)  # type: ignore[arg-type]
        return loss

    def contrast(self, first: Tensor, second: Tensor, label: Tensor) -> Tensor:
        """NT-Xent of two views (B, dimension) each, against the images of all processes."""
        from lightly.loss import NTXentLoss  # takes seconds to import

        loss: Tensor = NTXentLoss(self.temperature, gather_distributed=self.trainer.world_size > 1)(first, second)
        return loss

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        trained = [p for p in self.parameters() if p.requires_grad]
        optimizer: Optimizer
        if self.optimizer == "sgd":
            optimizer = SGD(trained, self.lr, self.momentum, weight_decay=self.weight_decay)
        else:
            optimizer = Adam(trained, self.lr, (0.9, 0.99), weight_decay=self.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        epochs = max(1, self.trainer.max_epochs or 1)
        warmup = min(self.warmup_epochs, epochs // 10) * steps // epochs
        start, cosine = self.warmup_lr / self.lr, self.schedule == "cosine"

        def factor(step: int) -> float:
            return learning_rate_factor(step, steps, warmup, min(1.0, start), cosine)

        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
        }


def learning_rate_factor(step: int, steps: int, warmup: int, start: float, cosine: bool) -> float:
    """What the learning rate is multiplied by: linear from ``start``, then cosine to 0.001, or constant.

    Args:
        step: batches so far.
        steps: of the whole training.
        warmup: of these, with a rising learning rate; it reaches the cosine's value at its end.
        start: the first factor.
        cosine: False keeps 1 after the warm-up.

    >>> [round(learning_rate_factor(s, 100, 10, 0.02, cosine=True), 3) for s in (0, 5, 10, 50, 100)]
    [0.02, 0.498, 0.976, 0.5, 0.001]
    """

    def after(at: int) -> float:
        return 0.001 + 0.999 * (1 + math.cos(math.pi * min(1.0, at / max(1, steps)))) / 2 if cosine else 1.0

    return after(step) if step >= warmup else start + (after(warmup) - start) * step / warmup


def _neighbors_agree(embedding: Tensor, label: Tensor) -> Tensor | None:
    """The share of images whose nearest others in the batch vote for their given label; None without labels."""
    given = label >= 0
    embedding, label = embedding[given], label[given]
    if len(label) < 2 or not embedding.isfinite().all() or not embedding.any(1).all():
        return None
    return (knn_vote(embedding, label)[0] == label).float().mean()
