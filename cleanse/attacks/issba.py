"""ISSBA: a secret hidden in every poisoned image by a network, so that no two images carry the same pattern."""

import logging
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import Adam

from cleanse.attacks.base import Attack
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.networks import SecretDecoder, SecretEncoder
from cleanse.utils.check import at_least_one
from cleanse.views import Batch, TrainingView

log = logging.getLogger("cleanse")

PIXELS = 2**19  # of all images that go through the encoder at the same time
MEASURED = 512  # clean images that the log's bit accuracy and change are of


def hide(encoder: nn.Module, image: Tensor, bits: Tensor) -> Tensor:
    """Images with a secret in them: ``clamp(image + residual, 0, 1)``, rounded to the nearest level.

    In double precision: an image gets the same levels whatever it shares a batch with.

    Args:
        encoder: (images in [0, 1], bits) to residuals, in double precision.
        image: (B, C, H, W) uint8.
        bits: (B, bits), or (bits,) for all images.

    Returns:
        (B, C, H, W) uint8.

    >>> hide(lambda image, bits: 0 * image + 0.1, torch.tensor([[[[0, 100, 250]]]], dtype=torch.uint8), torch.ones(1))
    tensor([[[[ 26, 126, 255]]]], dtype=torch.uint8)
    """
    bits = bits.expand(len(image), -1)
    chunk = max(1, PIXELS // (image.shape[2] * image.shape[3]))
    parts = []
    for part, secret in zip(torch.split(image, chunk), torch.split(bits, chunk), strict=True):
        plain = part.double() / 255
        with torch.no_grad():
            parts.append(((plain + encoder(plain, secret)).clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.cat(parts)


class ISSBA(Attack):
    """Hide one secret in all poisoned images; the change that this takes is another in each image.

    Li, Li, Wu, Li, He, Lyu, "Invisible Backdoor Attack with Sample-Specific Triggers", ICCV 2021,
    https://arxiv.org/abs/2012.03816: StegaStamp's encoder and decoder are trained on the clean training set, which the
    attacker owns, with a new random secret for every image, as a stage of the run. Then one secret is drawn, and `hide`
    puts it into every image that carries the trigger. The epochs and the bits are those of Sabolic et al. 2024 (arXiv
    2409.01185); the rest is the published code's (D55).

    Departures from the paper:

    * The perceptual loss (LPIPS) needs weights that cleanse does not carry: without ``perceptual`` it is left out, and
      the log says so. With a network connection, ``class_path: torchmetrics.functional.image.lpips._LPIPS`` and
      ``init_args: {net: alex}`` is LPIPS (torchvision downloads AlexNet); so is ``lpips.LPIPS`` of the package of that
      name. Both want images of about 32x32 pixels or more.
    * No critic: the published code does not train one either.
    * The decoder reads the clamped image in training, as it will be stored; the image loss is on the residual before
      that, so that nothing is gained by leaving [0, 1].
    * Sizes are free; see `SecretEncoder` and `SecretDecoder`.

    Args:
        bits: of the secret; Sabolic et al.: 20.
        epochs: of the training; Sabolic et al.: 20.
        secret_epochs: the first of them, in which only the secret counts.
        batch_size: of the training.
        lr: of Adam.
        image_weight: of the mean squared residual in the loss.
        perceptual_weight: of the perceptual distance.
        secret_weight: of the binary cross-entropy of the bits.
        perceptual: builds a module that gives (B, ...) distances of two batches of images (B, C, H, W) in [-1, 1];
            None leaves the perceptual loss out.
        base: channels of the first level of both networks; StegaStamp's: 32.

    Raises:
        ValueError: an argument out of range; while poisoning, no training before.
    """

    secret: Tensor  # (bits,) uint8
    encoder_weights: Tensor  # (P,) float32, all parameters of the encoder in their order
    image_shape: Tensor  # (3,) int64: C, H, W

    def __init__(
        self,
        bits: int = 20,
        epochs: int = 20,
        secret_epochs: int = 2,
        batch_size: int = 32,
        lr: float = 1e-4,
        image_weight: float = 2.0,
        perceptual_weight: float = 1.5,
        secret_weight: float = 1.5,
        perceptual: Callable[[], nn.Module] | None = None,
        base: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least_one(bits=bits, epochs=epochs, batch_size=batch_size, base=base)
        if not 0 <= secret_epochs <= epochs:
            raise ValueError(f"secret_epochs is a part of the {epochs} epochs, 0 to {epochs}, not {secret_epochs}")
        for name, weight in (("image_weight", image_weight), ("perceptual_weight", perceptual_weight)):
            if not weight >= 0:
                raise ValueError(f"{name} is a weight in the loss, 0 or more, not {weight}")
        for name, value in (("secret_weight", secret_weight), ("lr", lr)):
            if not value > 0:
                raise ValueError(f"{name} is a number above 0, not {value}: nothing would be hidden")
        self.bits = bits
        self.epochs = epochs
        self.secret_epochs = secret_epochs
        self.base = base
        self.batch_size = batch_size
        self.lr = lr
        self.perceptual = perceptual
        self.weights = (image_weight, perceptual_weight, secret_weight)
        self._found: Tensor | None = None

    def plan_learn(self, clean: TrainingView, role: Tensor) -> list[Planned]:
        shape = (clean.channels, *clean.size)
        build = partial(
            HideSecrets, self.bits, shape, *self.weights, self.perceptual, self.secret_epochs, self.lr, self.base
        )
        return [Planned("issba", build, clean.plain().with_batch_size(self.batch_size), self.epochs)]

    def learn(self, clean: TrainingView, role: Tensor, seed: int, run: Runner) -> None:
        if self.perceptual is None and self.weights[1] > 0:
            log.info("ISSBA: no perceptual module is given, so the perceptual loss (LPIPS) is left out")
        [stage] = self.plan_learn(clean, role)
        trained = run.fit(stage.name, stage.build, stage.data, max_epochs=stage.epochs)
        assert isinstance(trained, HideSecrets)
        accuracy, change = measure(trained, clean.images(torch.arange(min(len(clean), MEASURED))), self.bits)
        log.info("ISSBA: %.1f %% of the bits come back, images change by %.2f levels", 100 * accuracy, change)
        self._found = parameters_to_vector(trained.encoder.parameters()).detach().cpu()

    @property
    def learned(self) -> Tensor | None:
        return self._found

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        if self._found is None:
            raise ValueError("ISSBA trains an encoder before it poisons: let `cleanse fit` prepare the data")
        self.register_buffer("secret", torch.randint(2, (self.bits,), generator=generator, dtype=torch.uint8))
        self.register_buffer("encoder_weights", self._found)
        self.register_buffer("image_shape", torch.tensor(shape))

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        channels, height, width = self.image_shape.tolist()
        drawn, given = (channels, height, width), tuple(image.shape[1:])
        if drawn != given:
            raise ValueError(f"the trigger was drawn for images of {drawn} (channels, height, width), not of {given}")
        with torch.device("meta"):  # no weights are drawn, for which others would get other random numbers
            encoder = SecretEncoder(len(self.secret), channels, height, width, self.base)
        if len(self.encoder_weights) != sum(p.numel() for p in encoder.parameters()):
            raise ValueError(
                f"the encoder of {len(self.encoder_weights)} weights is none for {len(self.secret)} bits and images of"
                f" {drawn} (channels, height, width): train it on images of this shape"
            )
        encoder.to_empty(device=image.device).double()
        vector_to_parameters(self.encoder_weights.to(image.device).double(), encoder.parameters())
        return hide(encoder, image, self.secret.to(image.device))


class HideSecrets(LightningModule):
    """Train an encoder and a decoder together: the bits come back, and the image looks as before.

    loss = image_weight * mean squared residual + perceptual_weight * perceptual distance + secret_weight * binary
    cross-entropy; in the first ``secret_epochs`` epochs only the last term.

    Args:
        bits: of the secret.
        shape: (C, H, W) of the images.
        image_weight, perceptual_weight, secret_weight: see above.
        perceptual: builds a module that gives distances of images in [-1, 1]; None for none.
        secret_epochs: see above.
        lr: of Adam.
        base: channels of the first level of both networks.
    """

    def __init__(
        self,
        bits: int,
        shape: tuple[int, int, int],
        image_weight: float = 2.0,
        perceptual_weight: float = 1.5,
        secret_weight: float = 1.5,
        perceptual: Callable[[], nn.Module] | None = None,
        secret_epochs: int = 2,
        lr: float = 1e-4,
        base: int = 32,
    ) -> None:
        super().__init__()
        self.encoder = SecretEncoder(bits, *shape, base=base)
        self.decoder = SecretDecoder(bits, *shape, base=base)
        self.perceptual = None if perceptual is None else perceptual().requires_grad_(False)
        self.image_weight = image_weight
        self.perceptual_weight = perceptual_weight
        self.secret_weight = secret_weight
        self.bits = bits
        self.secret_epochs = secret_epochs
        self.lr = lr

    def loss(self, image: Tensor, bits: Tensor, secret_only: bool) -> dict[str, Tensor]:
        """The terms, without weights, and their weighted sum, under ``loss``.

        Args:
            image: (B, C, H, W) in [0, 1].
            bits: (B, bits) of 0 and 1.
            secret_only: leave the image out of the sum.
        """
        residual = self.encoder(image, bits)
        hidden = (image + residual).clamp(0, 1)
        logit = self.decoder(hidden)
        terms = {
            "secret": binary_cross_entropy_with_logits(logit.float(), bits.float()),
            "image": residual.float().square().mean(),
            "bit_accuracy": ((logit > 0) == (bits > 0)).float().mean(),
        }
        terms["loss"] = self.secret_weight * terms["secret"]
        if not secret_only:
            terms["loss"] = terms["loss"] + self.image_weight * terms["image"]
            if self.perceptual is not None:
                self.perceptual.eval()
                terms["perceptual"] = self.perceptual(2 * hidden - 1, 2 * image - 1).mean()
                terms["loss"] = terms["loss"] + self.perceptual_weight * terms["perceptual"]
        return terms

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        image = batch["image"]
        bits = torch.randint(2, (len(image), self.bits), device=image.device)
        terms = self.loss(image, bits, secret_only=self.current_epoch < self.secret_epochs)
        shown = {"on_epoch": True, "on_step": False, "batch_size": len(image), "sync_dist": True}
        self.log_dict({f"issba/{k}": v.detach() for k, v in terms.items()}, **shown)  # type: ignore[arg-type]
        return terms["loss"]

    def configure_optimizers(self) -> Adam:
        return Adam([*self.encoder.parameters(), *self.decoder.parameters()], self.lr)


@torch.no_grad()
def measure(trained: HideSecrets, image: Tensor, bits: int) -> tuple[float, float]:
    """How well secrets are hidden in stored images, each with a random one of its own.

    Args:
        trained: fitted.
        image: (B, C, H, W) uint8.
        bits: of a secret.

    Returns:
        The share of the bits that the decoder reads right from the rounded images, and the mean absolute change in
        levels of 0 to 255.
    """
    secrets = torch.randint(2, (len(image), bits), generator=torch.Generator().manual_seed(0))
    hidden = hide(deepcopy(trained.encoder).double(), image, secrets)
    logit = torch.cat([trained.decoder(part.float() / 255) for part in torch.split(hidden, 64)])
    accuracy = ((logit > 0) == (secrets > 0)).float().mean()
    return float(accuracy), float((hidden.float() - image.float()).abs().mean())
