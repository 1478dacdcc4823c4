"""Any class of kornia.augmentation as an entry of `--data.augment`: its key, and what a view makes of it."""

import re
from collections.abc import Callable
from typing import Any

import kornia.augmentation as K
import pytest
import torch
from torch import nn

from cleanse.data import Digits
from cleanse.engine.fingerprint import hash_of

# A class, arguments, and others that mean something else.
CASES: list[tuple[type[nn.Module], dict[str, Any], dict[str, Any]]] = [
    (K.RandomHorizontalFlip, {}, {"p": 0.25}),
    (K.RandomVerticalFlip, {}, {"same_on_batch": True}),
    (K.RandomRotation, {"degrees": 5.0}, {"degrees": 6.0}),
    (K.RandomRotation, {"degrees": 5.0}, {"degrees": 5.0, "resample": "nearest"}),
    (K.RandomRotation, {"degrees": 5.0}, {"degrees": 5.0, "align_corners": False}),
    (K.RandomAffine, {"degrees": 5.0}, {"degrees": 5.0, "translate": (0.1, 0.1)}),
    (K.RandomAffine, {"degrees": 5.0}, {"degrees": 5.0, "scale": (0.9, 1.1)}),
    (K.RandomPerspective, {}, {"distortion_scale": 0.1}),
    (K.RandomCrop, {"size": (8, 8), "padding": 1}, {"size": (8, 8), "padding": 2}),
    (K.RandomCrop, {"size": (8, 8), "padding": 1}, {"size": (8, 8), "padding": 1, "padding_mode": "reflect"}),
    (K.RandomResizedCrop, {"size": (8, 8)}, {"size": (8, 8), "scale": (0.5, 1.0)}),
    (K.RandomResizedCrop, {"size": (8, 8)}, {"size": (8, 8), "ratio": (1.0, 1.0)}),
    (K.ColorJitter, {"brightness": 0.4}, {"brightness": 0.5}),
    (K.ColorJitter, {"brightness": 0.4}, {"contrast": 0.4}),
    (K.ColorJiggle, {"brightness": 0.4}, {"brightness": 0.5}),
    (K.RandomGrayscale, {}, {"p": 0.3}),
    (K.RandomGaussianNoise, {}, {"std": 0.1}),
    (K.RandomGaussianNoise, {}, {"mean": 0.1}),
    (K.RandomGaussianBlur, {"kernel_size": 3, "sigma": (0.1, 1.0)}, {"kernel_size": 3, "sigma": (0.1, 2.0)}),
    (K.RandomGaussianBlur, {"kernel_size": 3, "sigma": (0.1, 1.0)}, {"kernel_size": 5, "sigma": (0.1, 1.0)}),
    (K.RandomErasing, {}, {"scale": (0.1, 0.2)}),
    (K.RandomErasing, {}, {"value": 0.5}),
    (K.RandomInvert, {}, {"p": 0.1}),
    (K.RandomSolarize, {}, {"thresholds": 0.3}),
    (K.RandomPosterize, {}, {"bits": 4}),
    (K.RandomSharpness, {}, {"sharpness": 0.1}),
    (K.RandomEqualize, {}, {"p": 0.1}),
    (K.RandomBoxBlur, {}, {"kernel_size": (5, 5)}),
    (K.RandomMotionBlur, {"kernel_size": 3, "angle": 35.0, "direction": 0.5},
     {"kernel_size": 3, "angle": 36.0, "direction": 0.5}),
    (K.RandomElasticTransform, {}, {"alpha": (2.0, 2.0)}),
    (K.RandomChannelShuffle, {}, {"p": 0.1}),
]  # fmt: skip
IDS = [f"{case[0].__name__}-{'-'.join(case[2])}" for case in CASES]


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(4, 3, 8, 8)


@pytest.mark.parametrize(("cls", "arguments", "others"), CASES, ids=IDS)
def test_the_same_arguments_have_the_same_key(
    cls: type[nn.Module], arguments: dict[str, Any], others: dict[str, Any]
) -> None:
    assert hash_of(cls(**arguments)) == hash_of(cls(**arguments))


@pytest.mark.parametrize(("cls", "arguments", "others"), CASES, ids=IDS)
def test_other_arguments_have_another_key(
    cls: type[nn.Module], arguments: dict[str, Any], others: dict[str, Any]
) -> None:
    assert hash_of(cls(**arguments)) != hash_of(cls(**others))


@pytest.mark.parametrize(("cls", "arguments", "others"), CASES, ids=IDS)
def test_what_was_drawn_is_no_part_of_the_key(
    cls: type[nn.Module], arguments: dict[str, Any], others: dict[str, Any], image: torch.Tensor
) -> None:
    augment = cls(**arguments)
    before = hash_of(augment)
    augment(image)
    augment(image.double())
    assert hash_of(augment) == before


@pytest.mark.parametrize("compose", [K.AugmentationSequential, K.ImageSequential, nn.Sequential])
def test_several_in_a_row_have_a_key_without_what_was_drawn(
    compose: Callable[..., nn.Module], image: torch.Tensor
) -> None:
    augment = compose(K.RandomHorizontalFlip(), K.RandomRotation(5.0))
    before = hash_of(augment)
    augment(image)
    assert hash_of(augment) == before
    assert before != hash_of(compose(K.RandomHorizontalFlip(), K.RandomRotation(6.0)))


def test_a_view_augments_with_kornia() -> None:
    plain, inverted = (Digits(limit_train=50, augment=a) for a in ([], [K.RandomInvert(p=1.0)]))
    rows = torch.arange(50)
    image = plain.training_view().batch(rows, augmented=True)["image"]
    torch.testing.assert_close(inverted.training_view().batch(rows, augmented=True)["image"], 1 - image)


def test_a_config_names_kornias_classes(cleanse: Callable[..., Any]) -> None:
    done = cleanse(
        "fit", "--config", "none.yaml", "--config", "quick.yaml", "--print_config",
        "--data.augment", "[{class_path: kornia.augmentation.RandomRotation, init_args: {degrees: 5, p: 1}}]",
    )  # fmt: skip
    assert re.search(r"class_path: kornia\.augmentation\.RandomRotation\n\s+init_args:\n\s+degrees: 5", done.stdout)
