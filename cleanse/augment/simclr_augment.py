"""The random view of an image that SimCLR learns from."""

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch, like
from cleanse.augment.adjust_color import adjust_color, to_gray
from cleanse.augment.gaussian_blur import gaussian_blur
from cleanse.augment.resized_crop import random_boxes, resized_crop
from cleanse.utils.checked import Checked


class SimCLRAugment(Checked, nn.Module):
    """Crop and enlarge, mirror, rotate, jitter the colors, make gray, blur: each image by its own draw of everything.

    Chen et al., ICML 2020, arXiv 2002.05709, with the settings of the SupContrast repository for CIFAR, since Wang et
    al. 2022 name none (D168). The distribution is that of torchvision's ``RandomResizedCrop``,
    ``RandomHorizontalFlip``, ``rotate`` by a uniform angle, ``RandomApply([ColorJitter])``, ``RandomGrayscale`` and
    ``RandomApply([GaussianBlur])``, one after another and image by image; the first three sample the image once. For
    digits, use the crop and a small rotation only: ``flip=0, rotation=10, jitter=0, gray=0`` (D169).

    Departures from Kornia: the order of the four color operations is drawn for each image, as in torchvision, not for
    the batch.

    Shapes: (B, C, H, W) float -> the same; computed in float32. With one channel, saturation, hue and gray do nothing.

    Args:
        scale: smallest and largest area of the crop, as a share of the image's.
        ratio: smallest and largest width / height of the crop.
        flip: probability of mirroring.
        rotation: largest angle in degrees, in either direction.
        brightness: the factor is uniform in 1 +- this, and at least 0.
        contrast, saturation: likewise.
        hue: the shift is uniform in +- this, in turns of the color circle; at most 0.5.
        jitter: probability of these four.
        gray: probability of gray.
        blur: probability of a Gaussian blur, of sigma uniform in 0.1 to 2 pixels and a kernel of a tenth of the image's
            side, at least 3 pixels.

    Raises:
        ValueError: an argument out of range, images that are not a float batch, or a number of channels other than 1
            and 3 where colors are changed.

    >>> SimCLRAugment()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        rotation: float = 0.0,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        jitter: float = 0.8,
        gray: float = 0.2,
        blur: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale is two shares of the area, above 0, at most 1 and in order, not {scale}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio is two quotients width / height, above 0 and in order, not {ratio}")
        for name, value in (("flip", flip), ("jitter", jitter), ("gray", gray), ("blur", blur)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is a probability between 0 and 1, not {value}")
        for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if not value >= 0:
                raise ValueError(f"{name} is the largest change of a factor, 0 or more, not {value}")
        if not rotation >= 0:
            raise ValueError(f"rotation is the largest angle, 0 or more, not {rotation}")
        if not 0 <= hue <= 0.5:
            raise ValueError(f"hue is the largest shift in turns, between 0 and 0.5, not {hue}")
        self.scale = scale
        self.ratio = ratio
        self.flip = flip
        self.rotation = rotation
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.jitter = jitter
        self.gray = gray
        self.blur = blur

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        count, _, height, width = image.shape

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, device=image.device)

        def factor(change: float) -> Tensor:
            return uniform(max(0.0, 1 - change), 1 + change)

        # Nothing below waits for the device: no value of a tensor decides what is computed next.
        box = random_boxes(count, height, width, self.scale, self.ratio, image.device)
        degrees = uniform(-self.rotation, self.rotation) if self.rotation else None
        out = resized_crop(image.float(), box, uniform(0, 1) < self.flip, degrees)
        if self.jitter:
            spared = uniform(0, 1) >= self.jitter
            changes = (self.brightness, self.contrast, self.saturation)
            brightness, contrast, saturation = (factor(change).masked_fill(spared, 1) for change in changes)
            hue = uniform(-self.hue, self.hue).masked_fill(spared, 0)
            order = torch.rand(count, 4, device=image.device).argsort(1)
            out = adjust_color(out, brightness, contrast, saturation, hue, order)
        if self.gray:
            out = to_gray(out, uniform(0, 1) < self.gray)
        if self.blur:
            sigma = uniform(0.1, 2).masked_fill(uniform(0, 1) >= self.blur, 0)
            out = gaussian_blur(out, sigma, max(3, min(height, width) // 20 * 2 + 1))
        return like(out.clamp(0, 1).to(image.dtype), image)  # clamp: rounding may go past 1 by its last digit

    def extra_repr(self) -> str:
        return (
            f"scale={self.scale}, ratio={self.ratio}, flip={self.flip}, rotation={self.rotation}, "
            f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}, "
            f"jitter={self.jitter}, gray={self.gray}, blur={self.blur}"
        )
