"""Change brightness, contrast, saturation and hue of images, each by its own factors and in its own order."""

import torch
from torch import Tensor


def adjust_color(
    image: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, order: Tensor
) -> Tensor:
    """Apply torchvision's ``adjust_brightness``, ``adjust_contrast``, ``adjust_saturation`` and ``adjust_hue``.

    The first three are blends of the image with something (black, the mean of its gray, its gray), clamped to [0, 1],
    so that one formula does all of them. The hue, which costs as much as three of them, is shifted once for the whole
    batch, between the blends that an image's order puts before it and those that come after it.

    Args:
        image: (B, C, H, W) float in [0, 1], of 1 channel (saturation and hue do nothing) or 3; computed in float32.
        brightness, contrast, saturation: (B,), at least 0; 1 changes nothing.
        hue: (B,), in turns of the color circle; 0 changes nothing.
        order: (B, 4) int64, the numbers 0 (brightness), 1 (contrast), 2 (saturation) and 3 (hue) as they come.

    Returns:
        (B, C, H, W) of the images' type.

    Raises:
        ValueError: the images have neither 1 channel nor 3.

    >>> half, one = torch.tensor([0.5]), torch.tensor([1.0])
    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> green = adjust_color(red, half, one, one, torch.tensor([1 / 3]), torch.tensor([[0, 1, 2, 3]]))
    >>> green.flatten().round(decimals=3).tolist()
    [0.0, 0.5, 0.0]
    """
    nothing = torch.ones_like(brightness)
    if image.shape[1] == 1:
        saturation = nothing
    factor = torch.stack([brightness, contrast, saturation, nothing], 1).gather(1, order)
    turn, of_hue = torch.arange(4, device=image.device), (order == 3).int().argmax(1, keepdim=True)
    before, after = factor.masked_fill(turn >= of_hue, 1), factor.masked_fill(turn <= of_hue, 1)
    out = image.float()
    for i in range(3):
        out = _blend(out, before[:, i], order[:, i])
    out = shift_hue(out, hue)
    for i in range(1, 4):
        out = _blend(out, after[:, i], order[:, i])
    return out.to(image.dtype)


def shift_hue(image: Tensor, turns: Tensor) -> Tensor:
    """Shift the hue of each image; brightest and darkest channel of a pixel keep their values (HSV).

    Args:
        image: (B, C, H, W) float in [0, 1]; of 1 channel it is left alone; computed in float32.
        turns: (B,), of the color circle.

    Returns:
        (B, C, H, W) of the images' type.

    Raises:
        ValueError: the images have neither 1 channel nor 3.

    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> shift_hue(red, torch.tensor([0.5])).flatten().round(decimals=3).tolist()
    [0.0, 1.0, 1.0]
    """
    if _channels(image) == 1:
        return image
    red, green, blue = image.float().unbind(1)
    high, low = red.maximum(green).maximum(blue), red.minimum(green).minimum(blue)
    span = high - low
    # In sixths of a turn from red, by either way round: 1 + (green + blue - red - low) / span, towards green or blue.
    sixths = (green + blue).sub_(red).add_(high).sub_(low, alpha=2).copysign_(green - blue)
    hue = (sixths / span.mul(6).clamp_(min=1e-20)).add_(turns.float()[:, None, None])  # of gray: 0 / 1e-20
    # A channel is full within a sixth of its own hue, empty beyond two sixths, linear between.
    own = torch.arange(3, device=image.device).view(3, 1, 1) / 3
    distance = hue[:, None] - own
    distance = distance.sub_(distance.round()).abs_()
    share = distance.mul_(-6).add_(2).clamp_(0, 1)
    return torch.addcmul(low[:, None], share, span[:, None]).to(image.dtype)


def to_gray(image: Tensor, chosen: Tensor) -> Tensor:
    """Give the ``chosen`` (B,) bool of the images (B, C, H, W) the same gray in all channels.

    Raises:
        ValueError: the images have neither 1 channel nor 3.

    >>> to_gray(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), torch.tensor([True])).flatten()
    tensor([0.2989, 0.2989, 0.2989])
    """
    return torch.where(chosen[:, None, None, None], _gray(image.float()).to(image.dtype), image)


def _blend(image: Tensor, factor: Tensor, operation: Tensor) -> Tensor:
    """``factor`` (B,) of the image and 1 - factor of what belongs to the ``operation`` (B,)."""
    contrast, saturation = ((operation == i).float()[:, None, None, None] for i in (1, 2))
    gray = _gray(image)
    other = torch.addcmul(contrast * gray.mean((2, 3), keepdim=True), saturation, gray)
    return other.lerp(image, factor.float()[:, None, None, None]).clamp_(0, 1)


def _gray(image: Tensor) -> Tensor:
    """(B, 1, H, W), by torchvision's weights."""
    if _channels(image) == 1:
        return image
    return (0.2989 * image[:, :1]).add_(image[:, 1:2], alpha=0.587).add_(image[:, 2:], alpha=0.114)


def _channels(image: Tensor) -> int:
    if image.shape[1] not in (1, 3):
        raise ValueError(f"color operations need images of 1 channel (gray) or 3 (RGB), not {image.shape[1]}")
    return image.shape[1]
