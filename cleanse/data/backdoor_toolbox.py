"""Poisoned sets of backdoor-toolbox: all training images and labels as tensors, and the rows that are poison."""

from pathlib import Path

import torch
from torch import Tensor

from cleanse.data.foreign import Foreign, load_safely, numbers, read_png, role_of, rows


def read_backdoor_toolbox(root: Path, image: Tensor, label: Tensor) -> Foreign:
    """What backdoor-toolbox (github.com/vtu81/backdoor-toolbox) leaves in ``poisoned_train_set/<data>/<name>``.

    Files of ``torch.save``: ``imgs`` (N, C, H, W) float in [0, 1], or ``data/<row>.png`` in its older form; ``labels``
    (N,); ``poison_indices`` and, for some attacks, ``cover_indices``. True labels of poisoned rows are not in it: they
    are those of the data set, whose order has to be the same, which the labels of the other rows show. It keeps no
    triggered test images: ASR is not measured (D283).

    Args:
        root: the folder with labels and poison_indices.
        image: (N, C, H, W) uint8, clean training images.
        label: (N,) int64, their true labels.

    Raises:
        ValueError: missing, damaged or hostile files, or those of another data set.
    """
    given = numbers(load_safely(root / "labels", "backdoor-toolbox's labels of a poisoned set"), "labels")
    if len(given) != len(label):
        raise ValueError(f"labels has {len(given)} rows, but the data set {len(label)} images: name the right one")
    poison = rows(load_safely(root / "poison_indices", "which rows are poison"), len(label), "poison_indices")
    cover = torch.zeros(0, dtype=torch.int64)
    if (root / "cover_indices").exists():
        cover = rows(load_safely(root / "cover_indices", "which rows are covers"), len(label), "cover_indices")
    role = role_of(len(label), poison, cover)
    if int((role > 0).sum()) != len(poison) + len(cover):
        raise ValueError("a row is in poison_indices and in cover_indices")
    others = torch.ones(len(label), dtype=torch.bool)
    others[poison] = False
    wrong = (others & (given != label)).nonzero().flatten()
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"row {row} is not poisoned and has the label {int(given[row])}, but in the data set {int(label[row])}: it"
            " is another data set, or in another order"
        )
    return Foreign(_images(root, tuple(image.shape)), given, role)


def _images(root: Path, shape: tuple[int, ...]) -> Tensor:
    if not (root / "imgs").exists() and (root / "data").is_dir():
        return torch.stack([read_png(root, ("data", f"{row}.png"), shape[1:]) for row in range(shape[0])])
    found = load_safely(root / "imgs", "backdoor-toolbox's poisoned images")
    if not isinstance(found, Tensor) or tuple(found.shape) != shape or not found.is_floating_point():
        what = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"imgs is {what}, but the data set's images are {shape}: it takes as many floats in [0, 1]")
    if found.untyped_storage().nbytes() < found.numel() * found.element_size():
        raise ValueError("imgs is larger than its content: it is damaged")
    if not bool(((found >= 0) & (found <= 1)).all()):  # also for NaN
        raise ValueError("imgs has values outside of [0, 1]: it was normalized, and the levels cannot be told")
    return (found * 255).round().to(torch.uint8)
