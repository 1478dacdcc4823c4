"""ASD's training: MixMatch, with a split that is made in one of three ways, depending on the epoch."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

from cleanse.engine.shards import shard_weight
from cleanse.functional import lowest_of_class
from cleanse.modules.base import NetworkFactory
from cleanse.modules.mixmatch import MixMatch
from cleanse.utils.check import at_least_one
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import EpochBatches


class AdaptiveSplit(MixMatch):
    """Begin with a few images that are known to be clean, and trust more and more of the others.

    Gao et al. 2023, "Backdoor Defense via Adaptively Splitting Poisoned Dataset" (arXiv 2303.12993), with the numbers
    of its published code. Which images keep their label:

    * in the first ``by_class_epochs``, the seeds, and of every class those of lowest symmetric cross-entropy: none at
      first, ``grow_by`` more every ``grow_every`` epochs;
    * until ``meta_from``, ``fraction`` of all images, those of lowest loss;
    * then ``fraction`` of all images, those whose loss falls least while a copy of the network learns from all images
      and labels for an epoch. The labels of poisoned images are learned first, those of hard clean ones last. The copy
      is thrown away.

    Seeds have no privilege after the first epochs (D268).

    Args:
        network: builds the network from (in_channels, num_classes).
        images: what the images are like.
        num_rows: N, of the view, seeds included.
        seeds: (s,) int64, rows that are known to be clean.
        virtual_layers: how the names of those parameters of the network begin that the copy learns.
        by_class_epochs: see above.
        grow_every: see above.
        grow_by: see above.
        meta_from: the first epoch of the third kind.
        virtual_lr: of the copy's Adam, made anew every time.
        virtual_batch_size: of its epoch, over all processes.
        ramp_epochs: after which the unlabeled weight is reached.
        **kwargs: the other arguments of `MixMatch`.

    Raises:
        ValueError: an argument out of range, no seed, or no parameter whose name begins with one of ``virtual_layers``.
    """

    is_seed: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        images: ImageSpec,
        num_rows: int,
        seeds: Tensor,
        virtual_layers: Sequence[str] = ("body.layer3", "body.layer4", "head"),
        by_class_epochs: int = 60,
        grow_every: int = 5,
        grow_by: int = 10,
        meta_from: int = 90,
        virtual_lr: float = 0.015,
        virtual_batch_size: int = 128,
        ramp_epochs: int = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(network, images, num_rows, ramp_epochs=ramp_epochs, **kwargs)
        at_least_one(grow_every=grow_every, virtual_batch_size=virtual_batch_size)
        if not 0 <= by_class_epochs <= meta_from:
            raise ValueError(
                f"by_class_epochs is a number of epochs, 0 to meta_from ({meta_from}), not {by_class_epochs}"
            )
        if not len(seeds):
            raise ValueError("seeds is empty: the first epochs learn from images that are known to be clean")
        self.virtual_layers = tuple(virtual_layers)
        self.by_class_epochs = by_class_epochs
        self.grow_every = grow_every
        self.grow_by = grow_by
        self.meta_from = meta_from
        self.virtual_lr = virtual_lr
        self.virtual_batch_size = virtual_batch_size
        self.learned_virtually(self.network)
        is_seed = torch.zeros(num_rows, dtype=torch.bool)
        is_seed[seeds] = True
        self.register_buffer("is_seed", is_seed)

    def split(self, epoch: int, loss: Tensor) -> tuple[Tensor, Tensor]:
        if epoch < self.by_class_epochs:
            count = self.grow_by * (epoch // self.grow_every)
            others = self._data.label.to(self.device).masked_fill(self.is_seed, -1)
            return loss, self.is_seed | lowest_of_class(loss, others, count)
        if epoch < self.meta_from:
            return super().split(epoch, loss)
        given = self.given
        fall = torch.where(given, loss - self.losses(self.learn_virtually(epoch)), torch.inf)
        return super().split(epoch, fall)

    def learned_virtually(self, network: nn.Module) -> list[nn.Parameter]:
        """The parameters that a copy learns.

        Raises:
            ValueError: one of ``virtual_layers`` begins no name.
        """
        names = [name for name, _ in network.named_parameters()]
        for layer in self.virtual_layers:
            if not any(_within(name, layer) for name in names):
                parts = sorted({".".join(name.split(".")[:2]) for name in names})
                raise ValueError(
                    f"virtual_layers names {layer!r}, which {type(network).__name__} does not have: name some of "
                    f"{', '.join(parts)}"
                )
        return [p for name, p in network.named_parameters() if any(_within(name, part) for part in self.virtual_layers)]

    def learn_virtually(self, epoch: int) -> nn.Module:
        """A copy of the network after one epoch of cross-entropy on all images and labels, in training mode."""
        copy, data, trainer = deepcopy(self.network), self._data, self.trainer
        copy.requires_grad_(False)
        learned = self.learned_virtually(copy)
        for parameter in learned:
            parameter.requires_grad_(True)
        optimizer = Adam(learned, self.virtual_lr)
        rows = self.given.cpu().nonzero().flatten()
        copy.train()
        for position in EpochBatches(
            rows, self.virtual_batch_size, data.seed + 1, False, trainer.global_rank, trainer.world_size, epoch
        ):
            batch = data.batch(position.to(self.device), augmented=True)
            with torch.enable_grad():
                with trainer.precision_plugin.forward_context():
                    logits = copy(self.normalize(batch["image"]))
                loss = cross_entropy(logits.float(), batch["label"])
                if trainer.world_size > 1:
                    loss = loss * shard_weight(len(position), self.device)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            if trainer.world_size > 1:
                for parameter in learned:
                    if parameter.grad is not None:
                        dist.all_reduce(parameter.grad)
                        parameter.grad.div_(trainer.world_size)
            optimizer.step()
        return copy


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")
