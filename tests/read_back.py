"""A poisoned data set as files, and back."""

from pathlib import Path

import torch

from cleanse.cli.poison import freeze
from cleanse.data import Frozen
from cleanse.data.base import ImageDataModule


def assert_its_trigger_is_read_back(data: ImageDataModule, out: Path) -> Frozen:
    """Freeze, and compare the training images and what the frozen trigger makes of the test images."""
    frozen = Frozen(str(freeze(data, out)))
    assert torch.equal(frozen.training_view().source.image, data.training_view().source.image)
    clean, triggered = frozen.clean_test(), data.triggered_test()
    assert clean is not None
    assert triggered is not None
    assert frozen.attack is not None
    again = frozen.attack.trigger(clean.source.image[frozen.attack.measured(clean.label)])
    assert torch.equal(again, triggered.source.image)
    return frozen
