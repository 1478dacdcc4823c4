"""Poisoned sets of BackdoorBench: pictures of the poisoned images, and an index of them in attack_result.pt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cleanse.data.foreign import Foreign, load_safely, numbers, read_png, role_of


def read_backdoorbench(root: Path, image: Tensor, label: Tensor, test_label: Tensor) -> Foreign:
    """What BackdoorBench (Wu et al. 2022, arXiv 2206.12654) leaves in ``record/<name>``.

    Its ``attack_result.pt`` has, for the training and for the test part, ``poison_indicator`` and the paths of the
    poisoned images with their new and their true label; the pictures are in ``bd_train_dataset/<true label>/<row>.png``
    and ``bd_test_dataset``. Clean images are not in it: they are those of the data set, whose order has to be the same,
    which the true labels show. No code of theirs is run, no path outside of the folder is read. Images that keep a
    label that is not the target's are covers, which BackdoorBench counts as poison (D283).

    Args:
        root: the folder with attack_result.pt.
        image: (N, C, H, W) uint8, clean training images.
        label: (N,) int64, their true labels.
        test_label: (M,) int64, those of the test images.

    Raises:
        ValueError: missing, damaged or hostile files, or those of another data set.
    """
    found = load_safely(root / "attack_result.pt", "BackdoorBench's index of a poisoned set")
    if not isinstance(found, Mapping) or not {"bd_train", "bd_test"} <= set(found):
        raise ValueError(f"{str(root / 'attack_result.pt')!r} has no bd_train and bd_test: it is no attack's result")
    if found["bd_train"] is None:
        raise ValueError("this attack of BackdoorBench keeps no training set: it poisons while it trains")
    shape = tuple(image.shape[1:])
    place, changed, given, true = _part(root, found["bd_train"], "bd_train_dataset", shape, label)
    tested, triggered, _, _ = _part(root, found["bd_test"], "bd_test_dataset", shape, test_label)
    made, new = image.clone(), label.clone()
    made[place], new[place] = changed, given
    targets = torch.unique(given[given != true])
    dirty, one = len(targets) > 0, int(targets[0]) if len(targets) == 1 else -1
    cover = (given == true) & (given != one) if dirty else torch.zeros_like(given, dtype=torch.bool)
    return Foreign(made, new, role_of(len(label), place[~cover], place[cover]), (tested, triggered))


def _part(
    root: Path, state: Any, folder: str, shape: tuple[int, ...], label: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows (n,), images (n, C, H, W), given and true labels (n,) of the poisoned images of one part."""
    try:
        held = state["bd_data_container"]["data_dict"]
        indicator = numbers(state["poison_indicator"], f"poison_indicator of {folder}")
        kept = numbers(state["original_index_array"], f"original_index_array of {folder}")
        if not isinstance(held, Mapping):
            raise TypeError
    except (TypeError, KeyError) as error:
        raise ValueError(f"attack_result.pt has no index of {folder} as BackdoorBench writes it") from error
    if len(indicator) != len(label):
        raise ValueError(
            f"{folder} is of {len(indicator)} images, but the data set has {len(label)}: name the right one"
        )
    used = torch.zeros(len(label), dtype=torch.bool)
    if len(kept) and not 0 <= int(kept.min()) <= int(kept.max()) < len(label):
        raise ValueError(f"original_index_array of {folder} names rows that the data set does not have")
    used[kept] = True
    if folder == "bd_train_dataset" and not bool(used.all()):
        raise ValueError("this set has a part of the training images only, which a frozen set of them all is not")
    place = (used & (indicator == 1)).nonzero().flatten()
    named = numbers(list(held), f"the index of {folder} in attack_result.pt").tolist()
    entries = dict(zip(named, held.values(), strict=True))
    images, given, true = [], [], []
    for row in place.tolist():
        entry = entries.get(row)
        path = entry.get("path") if isinstance(entry, Mapping) else None
        info = entry.get("other_info") if isinstance(entry, Mapping) else None
        if not isinstance(path, str) or not isinstance(info, (list, tuple)) or len(info) < 2:
            raise ValueError(f"{folder} has no picture of row {row}: it was kept in memory, or its index is damaged")
        new, old = numbers(list(info[:2]), f"labels of row {row}").tolist()
        if old != int(label[row]):
            raise ValueError(
                f"row {row} of {folder} is of class {old} there and of class {int(label[row])} in the data set: it is"
                " another data set, or in another order"
            )
        images.append(read_png(root, (folder, *_below(path, folder)), shape))
        given.append(new)
        true.append(old)
    stacked = torch.stack(images) if images else torch.empty(0, *shape, dtype=torch.uint8)
    return place, stacked, torch.tensor(given, dtype=torch.int64), torch.tensor(true, dtype=torch.int64)


def _below(path: str, folder: str) -> list[str]:
    """The parts of a path below a folder of this name; the path is of the machine where the set was made.

    Raises:
        ValueError: it is not below such a folder, or leaves it.
    """
    parts = path.replace("\\", "/").split("/")
    if folder not in parts:
        raise ValueError(f"the index names {path!r}, which is not in a folder {folder}: it is not read")
    below = parts[len(parts) - parts[::-1].index(folder) :]
    if len(below) != 2 or ".." in parts[parts.index(folder) :]:
        raise ValueError(f"the index names {path!r}, which leaves the folder {folder}: it is not read")
    return below
