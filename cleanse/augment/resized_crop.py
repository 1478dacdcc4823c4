"""Cut a random part out of each image and enlarge it to the image's size."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def random_boxes(
    count: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    device: torch.device | None = None,
) -> Tensor:
    """Draw boxes as torchvision's ``RandomResizedCrop``: the first of ten tries that fits, otherwise the middle.

    Args:
        count: of boxes, B.
        height, width: of the images.
        scale: smallest and largest area, as a share of the image's.
        ratio: smallest and largest width / height; uniform in its logarithm.
        device: of the boxes, and whose generator is drawn from.

    Returns:
        (B, 4) float32: top, left, height, width in whole pixels.

    >>> random_boxes(1, 8, 8, scale=(1.0, 1.0), ratio=(1.0, 1.0)).tolist()
    [[0.0, 0.0, 8.0, 8.0]]
    """
    area, shape = torch.rand(2, count, 10, device=device)
    area = (scale[0] + (scale[1] - scale[0]) * area) * (height * width)
    shape = (math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * shape).exp()
    rows, columns = (area / shape).sqrt().round(), (area * shape).sqrt().round()
    fits = (rows > 0) & (rows <= height) & (columns > 0) & (columns <= width)
    first, none = fits.int().argmax(1, keepdim=True), ~fits.any(1)
    middle_rows, middle_columns = height, width
    if width / height < ratio[0]:
        middle_rows = round(width / ratio[0])
    elif width / height > ratio[1]:
        middle_columns = round(height * ratio[1])
    rows = rows.gather(1, first)[:, 0].masked_fill(none, middle_rows)
    columns = columns.gather(1, first)[:, 0].masked_fill(none, middle_columns)
    top, left = torch.rand(2, count, device=device)
    top = (top * (height - rows + 1)).floor().masked_fill(none, (height - middle_rows) // 2)
    left = (left * (width - columns + 1)).floor().masked_fill(none, (width - middle_columns) // 2)
    return torch.stack([top, left, rows, columns], 1)


def resized_crop(image: Tensor, box: Tensor, flipped: Tensor, degrees: Tensor | None = None) -> Tensor:
    """Cut out a box, enlarge it to the image's size, mirror and rotate it; bilinear, all in one sampling.

    As torchvision's ``resized_crop`` (no pixel outside the box has a part in it; a box is never larger than the image,
    so there is nothing to antialias), ``hflip`` and ``rotate`` (counter-clockwise, zeros come in) after one another,
    but for one thing: where a part of an image is also rotated, it is interpolated once, not twice.

    Args:
        image: (B, C, H, W) float; computed in float32.
        box: (B, 4): top, left, height, width in pixels.
        flipped: (B,) bool.
        degrees: (B,), or None for no rotation.

    Returns:
        (B, C, H, W) of the images' type.

    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> resized_crop(image, torch.tensor([[1, 0, 1, 2]]), torch.tensor([True])).tolist()
    [[[[4.0, 3.0], [4.0, 3.0]]]]
    """
    height, width = image.shape[2:]
    x = torch.arange(width, device=image.device, dtype=torch.float32)[None, None]  # (1, 1, W), centers of pixels
    y = torch.arange(height, device=image.device, dtype=torch.float32)[None, :, None]  # (1, H, 1)
    inside = None
    if degrees is not None:
        angle = degrees.float().deg2rad()[:, None, None]
        x, y = x - (width - 1) / 2, y - (height - 1) / 2
        x, y = angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y  # (B, H, W)
        x, y = x + (width - 1) / 2, y + (height - 1) / 2
        # How much of a pixel's four neighbors lies in the frame; outside of it is zero.
        inside = (x + 1).clamp(0, 1) * (width - x).clamp(0, 1) * (y + 1).clamp(0, 1) * (height - y).clamp(0, 1)
    x = torch.where(flipped[:, None, None], width - 1 - x, x)
    top, left, rows, columns = box.float().T[:, :, None, None]  # (B, 1, 1) each
    x = left + ((x + 0.5) * (columns / width) - 0.5).clamp(min=0).minimum(columns - 1)
    y = top + ((y + 0.5) * (rows / height) - 0.5).clamp(min=0).minimum(rows - 1)
    # grid_sample counts from -1 at the image's left or upper edge to 1 at the other
    x, y = ((2 * at + 1) / side - 1 for at, side in ((x, width), (y, height)))
    grid = torch.stack([at.expand(len(image), height, width) for at in (x, y)], 3)
    out = F.grid_sample(image.float(), grid, "bilinear", "border", align_corners=False)
    return (out if inside is None else out * inside[:, None]).to(image.dtype)
