"""New pictures without labels, for the classifier of a finished run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cleanse.data.decode import Background, decode_files
from cleanse.data.folder_reader import FolderReader
from cleanse.data.gray import to_gray
from cleanse.data.mapped import STREAM_FROM, cache_folder, scratch
from cleanse.engine.fingerprint import describe
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import ImageSource, TrainingView


@dataclass(frozen=True)
class Pictures:
    """What was found in a folder.

    Attributes:
        view: the images, in the order of their paths; an id is the path below the folder, and no label is given.
        unreadable: path and reason of files that could not be used.
        left_out: files and folders that were not read, each with the reason.
    """

    view: TrainingView
    unreadable: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]


def pictures(
    folder: str,
    spec: ImageSpec,
    classes: Sequence[str],
    batch_size: int = 128,
    follow_links: bool = False,
    background: Background = "black",
) -> Pictures:
    """All images in a folder and below, whatever its folders are called, as `cleanse.data.ImageFolder` would have them.

    Args:
        folder: with the pictures.
        spec: of the images that the classifier was trained on: square, with 1 or 3 channels.
        classes: names of the classifier's classes, in label order.
        batch_size: of the view.
        follow_links: follow links to folders, and to files outside the folder.
        background: what shows through transparent pixels.

    Raises:
        ValueError: there is no such folder, or no picture in it that can be read.
    """
    if not os.path.isdir(folder):
        raise ValueError(f"there is no folder {folder!r}; give one with image files")
    size = spec.size[0]
    if spec.size != (size, size) or spec.channels not in (1, 3):
        raise ValueError(
            f"the classifier takes images of {spec.channels} channels and {spec.size} pixels, not a folder's"
        )
    reader = FolderReader(folder, follow_links)
    files = reader.images(folder, -1)
    opened = [file for file in files if not file.refused]
    if not files:
        raise ValueError(f"{folder!r} has no image files, which end in .png, .jpg and the like")
    shape = (len(opened), 3, size, size)
    into = scratch(shape, cache_folder(None)) if torch.Size(shape).numel() > STREAM_FROM else None
    decoded = decode_files([file.path for file in opened], size, into=into, background=background)
    refused = {file.id: file.refused for file in files if file.refused}
    refused |= {opened[i].id: why for i, why in decoded.why.items()}
    kept = [i for i in range(len(opened)) if i not in decoded.why]
    if not kept:
        name, why = next(iter(refused.items()))
        raise ValueError(f"none of the {len(files)} image files in {folder!r} can be read; {name!r}: {why}")
    image = decoded.image[kept] if decoded.why else decoded.image
    image = to_gray(image) if spec.channels == 1 else image
    ids = tuple(opened[i].id for i in kept)
    source = ImageSource(image, ids, tuple(classes), spec.mean, spec.std, {"pictures": describe(image)})
    label = torch.full((len(ids),), -1)
    view = TrainingView(source, torch.arange(len(ids)), label, (), batch_size)
    return Pictures(view, tuple(refused.items()), reader.said())
