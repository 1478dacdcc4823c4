"""TaCT: a patch that works on images of one class only, because images of other classes show it too."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cleanse.attacks.badnets import read_trigger
from cleanse.attacks.base import Attack, draw_covers, match_channels, stamp
from cleanse.attacks.qi_adaptive_patch import PATCHES, draw_patch, read_patch


class TaCT(Attack):
    """Stamp a patch on images of one class with the target's label, and on others with their own: covers.

    Targeted contamination, Tang, Wang, Tang, Zhang, "Demon in the Variant: Statistical Analysis of DNNs for Robust
    Backdoor Contamination Detection", USENIX Security 2021, https://arxiv.org/abs/1908.00686, in the form of
    backdoor-toolbox: images of class 1 go to class 0, covers come from classes 5 and 7, the patch has 8x8 pixels at
    rows and columns 21 to 28 of a 32x32 image and is opaque, ``poison_rate=0.003, cover_rate=0.003``. ASR is measured
    on test images of the source class only.

    Departures from backdoor-toolbox:

    * The patch is a drawing of our own, ``square`` in `cleanse.attacks.qi_adaptive_patch`, as the original is a picture
      that is not ours to copy; give your own with ``image``.
    * More images than there are is an error; there, fewer are poisoned without a word.

    Args:
        image: the file of a patch of your own, a picture of the whole image in which all but the patch is transparent.
        cover_classes: the classes that covers come from; None for all but the source and the target.
        cover_rate: cover images / all images, in the labeled and in the unlabeled part each.
        source: the class whose images are poisoned.

    Raises:
        ValueError: an argument out of range, or covers of the source or the target class; while poisoning, a class that
            the data does not have, an image file that cannot be read or that is opaque everywhere or nowhere, or more
            cover images than are left.

    >>> attack = TaCT(class_rate=0.1)
    >>> attack.draw((3, 32, 32), torch.Generator())
    >>> attack.trigger(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))[0, :, 21, 19:23].tolist()
    [[0, 0, 255, 255], [0, 0, 0, 0], [0, 0, 0, 0]]
    """

    label_modes = ("target",)
    trigger_image: Tensor  # (C, H, W) uint8, the patch in its place
    trigger_mask: Tensor  # (H, W) bool, True where the patch is

    def __init__(
        self,
        image: str | None = None,
        cover_classes: tuple[int, ...] | None = (5, 7),
        cover_rate: float = 0.003,
        source: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source, **kwargs)
        if not 0 <= cover_rate <= 1:
            raise ValueError(f"cover_rate is a fraction between 0 and 1, not {cover_rate}")
        for name, number in (("target", self.target), ("source", self.source)):
            if cover_classes is not None and number in cover_classes:
                raise ValueError(
                    f"cover_classes {list(cover_classes)} has the {name} class {number}: covers are of other classes"
                )
        self.image = image
        self.cover_classes = cover_classes
        self.cover_rate = cover_rate

    def spec(self) -> dict[str, Any]:
        """For cache keys: the arguments, with the content of an image file instead of its path."""
        content = None if self.image is None else read_trigger(self.image)
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class": name, "with": {**self.arguments, "image": content}}

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        channels, height, width = shape
        if self.image is not None:
            color, mask = read_patch(self.image, shape)
        else:
            drawn, mask = draw_patch(PATCHES["square"], height, width)
            color = match_channels(drawn, channels)
        self.register_buffer("trigger_image", color)
        self.register_buffer("trigger_mask", mask)

    def trigger(self, image: Tensor) -> Tensor:
        self._require_drawn()
        return stamp(image, self.trigger_image, self.trigger_mask)

    def check_classes(self, num_classes: int, classes: Sequence[str] = ()) -> None:
        for cover in self.cover_classes or ():
            if not 0 <= cover < num_classes:
                raise ValueError(
                    f"cover_classes: {cover} is out of range, the data has classes 0 to {num_classes - 1}; null takes"
                    " all but the source and the target"
                )
        super().check_classes(num_classes, classes)

    def _add_covers(self, role: Tensor, true_label: Tensor, labeled: Tensor, generator: torch.Generator) -> None:
        if self.cover_classes is None:
            allowed = (true_label != self.target) & (true_label != self.source)
        else:
            allowed = torch.isin(true_label, torch.tensor(self.cover_classes, dtype=true_label.dtype))
        draw_covers(role, allowed, labeled, self.cover_rate, generator)
