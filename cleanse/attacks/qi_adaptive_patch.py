"""Qi's adaptive patch: one faint patch of several in each training image, the strongest ones together in the test."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from cleanse.attacks.badnets import BLOCKS, INK, read_trigger
from cleanse.attacks.base import Attack, draw_covers, match_channels
from cleanse.attacks.blend import Blend

CHUNK = 512  # images that are floats at the same time


class Patch(NamedTuple):
    """A drawing, a letter of ``INK`` a block and "." where there is none, and its places on a 32x32 image."""

    drawing: tuple[str, ...]
    places: tuple[tuple[int, int, int, int], ...]  # first row, first column, rows, columns


# Our own drawings, as large as the originals and where they are: phoenix, badnet_patch4, firefox, trojan_square.
PATCHES = {
    "star": Patch(("rmymr", "mryrm", "yywyy", "mryrm", "rmymr"), ((27, 27, 5, 5),)),
    "corners": Patch(("wkw", "kwk", "wkw"), ((0, 0, 3, 3), (0, 29, 3, 3), (29, 0, 3, 3), (29, 29, 3, 3))),
    "disc": Patch(("..ccc..", ".cbbbc.", "cbbmbbc", "cbmymbc", "cbbmbbc", ".cbbbc.", "..ccc.."), ((1, 18, 13, 13),)),
    "square": Patch(BLOCKS, ((21, 21, 8, 8),)),
}


def draw_patch(patch: Patch, height: int, width: int) -> tuple[Tensor, Tensor]:
    """A patch in its places on an image of any size.

    A place from row r to r + h of 32 becomes ``floor(r * height / 32)`` to ``ceil((r + h) * height / 32)``, at least
    one pixel, and the blocks of the drawing are spread over it evenly.

    Returns:
        Colors, (3, height, width) uint8, and where the patch is, (height, width) bool.

    >>> draw_patch(PATCHES["corners"], 4, 4)[1].int().tolist()
    [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]
    """
    letters = [[INK.get(letter, (0, 0, 0)) for letter in line] for line in patch.drawing]
    color = torch.tensor(letters, dtype=torch.uint8).permute(2, 0, 1)
    opaque = torch.tensor([[letter != "." for letter in line] for line in patch.drawing])
    shown, mask = torch.zeros(3, height, width, dtype=torch.uint8), torch.zeros(height, width, dtype=torch.bool)
    for row, column, h, w in patch.places:
        top, bottom = row * height // 32, -(-(row + h) * height // 32)
        left, right = column * width // 32, -(-(column + w) * width // 32)
        rows = torch.arange(bottom - top) * len(opaque) // (bottom - top)
        columns = torch.arange(right - left) * opaque.shape[1] // (right - left)
        shown[:, top:bottom, left:right] = color[:, rows][:, :, columns]
        mask[top:bottom, left:right] = opaque[rows][:, columns]
    return shown, mask


def read_patch(file: str, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """A patch from a file: a picture of the whole image in which all but the patch is transparent.

    Args:
        file: path of a PNG, resized to the image whatever its proportions.
        shape: channels, height and width of the images.

    Returns:
        Colors, (C, H, W) uint8, and where the patch is, (H, W) bool: pixels that are at least half opaque.

    Raises:
        ValueError: a file that cannot be read, or that is opaque everywhere or nowhere.
    """
    picture = Blend("whole", image=file, count=0)
    picture.draw(shape, torch.Generator())
    mask = picture.trigger_mask
    if mask.all() or not mask.any():
        raise ValueError(
            f"{file!r} is {'opaque' if mask.all() else 'transparent'} everywhere: give a picture of the whole image in"
            " which all but the patch is transparent"
        )
    return picture.trigger_image, mask


class QiAdaptivePatch(Attack):
    """Mix one of several patches into each training image and some of them together into test images.

    Adaptive-Patch of Qi, Xie, Li, Mahloujifar, Mittal, "Revisiting the Assumption of Latent Separability for Backdoor
    Defenses", ICLR 2023, https://openreview.net/forum?id=_wSHsgrVali: four patches, each in an equal share of the
    poisoned images and with an opacity of its own. Cover images carry a patch in the same way, but keep their true
    label; they are drawn among all images that are not poisoned, the target's own included. Test images carry two of
    the patches, opaque. Where patches overlap, the later one lies on top. The adaptive patch of Wang et al. 2022 is
    another attack (`cleanse.attacks.AdaptivePatch`).

    The paper has ``poison_rate=0.01, cover_rate=0.01``, backdoor-toolbox 0.003 and 0.006.

    Departures from the paper:

    * `PATCHES`: drawings of our own, in the order, size, place and opacity of the originals, which are pictures that
      are not ours to copy; give your own with ``images``. ``disc`` has 136 pixels, its original 140.
    * In the test the 5x5 patch is in one corner, as in BackdoorBox, not in two as in the authors' code.
    * Which image carries which patch is drawn; the authors split the rows in order.
    * Only images that are not of the target class are poisoned; the authors draw from all classes.
    * Rounded to the nearest level; the authors keep or cut off the fraction: a pixel may differ by 1.

    Args:
        images: files of patches of your own, each a picture of the whole image in which all but the patch is
            transparent; None for `PATCHES`.
        alphas: each patch's share in training images, in (0, 1]; one for each patch.
        test: the patches on test images: the first ``half`` (rounded up), or ``all``.
        test_alpha: their share in test images, in (0, 1].
        cover_rate: cover images / all images, in the labeled and in the unlabeled part each; paper: 0.01.

    Raises:
        ValueError: an argument out of range; while poisoning, an image file that cannot be read or that is opaque
            everywhere or nowhere, or more cover images than are left.

    >>> attack = QiAdaptivePatch(class_rate=0.1)
    >>> attack.draw((3, 32, 32), torch.Generator())
    >>> black = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    >>> attack.trigger(black)[0, :, 0, 0].tolist(), attack.trigger(black)[0, :, 27, 27].tolist()
    ([255, 255, 255], [255, 0, 0])
    """

    patch_image: Tensor  # (K, C, H, W) uint8, each patch in its place
    patch_mask: Tensor  # (K, H, W) bool, True where it is

    def __init__(
        self,
        images: list[str] | None = None,
        alphas: tuple[float, ...] = (0.5, 0.5, 0.2, 0.3),
        test: Literal["half", "all"] = "half",
        test_alpha: float = 1.0,
        cover_rate: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        patches = len(PATCHES) if images is None else len(images)
        if not patches:
            raise ValueError("images names no file: give one for each patch, or leave it null")
        if len(alphas) != patches:
            raise ValueError(
                f"alphas is {list(alphas)}, {len(alphas)} numbers for {patches} patches: give one for each"
            )
        for name, share in (*(("alphas", alpha) for alpha in alphas), ("test_alpha", test_alpha)):
            if not 0 < share <= 1:
                raise ValueError(f"{name}: a patch's share is above 0 and at most 1, not {share}")
        if not 0 <= cover_rate <= 1:
            raise ValueError(f"cover_rate is a fraction between 0 and 1, not {cover_rate}")
        self.images = images
        self.alphas = alphas
        self.test_alpha = test_alpha
        self.cover_rate = cover_rate
        self.shown = patches if test == "all" else (patches + 1) // 2

    def spec(self) -> dict[str, Any]:
        """For cache keys: the arguments, with the content of the image files instead of their paths."""
        content = None if self.images is None else [read_trigger(file) for file in self.images]
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {"class": name, "with": {**self.arguments, "images": content}}

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        channels, height, width = shape
        if self.images is not None:
            made = [read_patch(file, shape) for file in self.images]
        else:
            drawn = [draw_patch(patch, height, width) for patch in PATCHES.values()]
            made = [(match_channels(color, channels), mask) for color, mask in drawn]
        self.register_buffer("patch_image", torch.stack([color for color, _ in made]))
        self.register_buffer("patch_mask", torch.stack([mask for _, mask in made]))

    def trigger(self, image: Tensor) -> Tensor:
        weight = torch.zeros(1, len(self.alphas))
        weight[:, : self.shown] = self.test_alpha
        return self._mix(image, weight.expand(len(image), -1))

    def poison_image(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Trigger training images: each with one patch, at its own opacity; all patches equally often."""
        order = torch.randperm(len(image), generator=generator)
        chosen = order % len(self.alphas)
        weight = nn.functional.one_hot(chosen, len(self.alphas)) * torch.tensor(self.alphas)
        return self._mix(image, weight)

    def _mix(self, image: Tensor, weight: Tensor) -> Tensor:
        """Mix in the patches one after the other, with weights (B, K)."""
        self._require_drawn()
        if image.shape[1:] != self.patch_image.shape[1:]:
            drawn, given = tuple(self.patch_image.shape[1:]), tuple(image.shape[1:])
            raise ValueError(f"the trigger was drawn for images of {drawn} (channels, height, width), not of {given}")
        patches, masks = self.patch_image.to(image.device).float(), self.patch_mask.to(image.device).float()
        mixed = []
        for part, share in zip(torch.split(image, CHUNK), torch.split(weight.to(image.device), CHUNK), strict=True):
            levels = part.float()
            for k, patch in enumerate(patches):
                levels = torch.lerp(levels, patch.expand_as(levels), share[:, k, None, None, None] * masks[k])
            mixed.append(levels.round().to(torch.uint8))
        return torch.cat(mixed)

    def _add_covers(self, role: Tensor, true_label: Tensor, labeled: Tensor, generator: torch.Generator) -> None:
        draw_covers(role, torch.ones_like(labeled), labeled, self.cover_rate, generator)
