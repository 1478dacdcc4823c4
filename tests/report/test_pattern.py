"""What suspicious images share: a patch is told, a silhouette is not."""

import pytest
import torch
from torch import Tensor

from cleanse.report.pattern import Pattern, kept_neighbors, kept_peers, shared_pattern, suspicious_rows
from cleanse.verdict import Verdict


def found(images: Tensor, label: Tensor, keep: Tensor, features: Tensor) -> Pattern | None:
    verdict = Verdict.keep_mask([str(i) for i in range(len(label))], label, keep, (~keep).float())
    rows = suspicious_rows(verdict, 2)
    near = kept_neighbors(features, verdict, rows) if rows else {}
    peers = kept_peers(verdict, int(label[rows[0]])) if rows else []
    return shared_pattern(dict(enumerate(images)), near, peers, verdict, ["cat", "<b>dog"])


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor]:
    """120 images of noise, 20 of them under the wrong label 1; features of the true class."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (120, 3, 16, 16), generator=generator, dtype=torch.uint8)
    true = (torch.arange(120) >= 60).long()
    label = torch.where(torch.arange(120) < 20, 1, true)
    return images, label, torch.eye(2)[true] + 0.01 * torch.randn(120, 2, generator=generator)


def test_a_patch_on_the_suspicious_images_is_told_with_its_place(data: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, features = data
    images[:20, :, 12:15, 12:15] = 255
    pattern = found(images, label, torch.arange(120) >= 20, features)
    assert pattern is not None
    assert pattern.label == 1
    assert pattern.shared[12:15, 12:15].all()
    assert int(pattern.shared.sum()) == 9
    assert "Of 20 suspicious images of class '<b>dog', most share a pattern" in pattern.words
    assert "9 of 256 pixels, all side by side, at the lower right. A clear sign" in pattern.words


def test_a_small_patch_is_a_weak_sign(data: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, features = data
    images[:20, :, 12:14, 12:15] = 255
    pattern = found(images, label, torch.arange(120) >= 20, features)
    assert pattern is not None
    assert "6 of 256 pixels, all side by side, at the lower right. A weak sign" in pattern.words


@pytest.mark.parametrize(("count", "height"), [(19, 3), (20, 1)], ids=["too few images", "too few pixels"])
def test_below_the_bar_a_pattern_is_shown_and_not_told(
    data: tuple[Tensor, Tensor, Tensor], count: int, height: int
) -> None:
    images, label, features = data
    images[:count, :, 12 : 12 + height, 12:15] = 255
    pattern = found(images, label, torch.arange(120) >= count, features)
    assert pattern is not None
    assert int(pattern.shared.sum()) == 3 * height
    assert pattern.words == ""


def test_pixels_that_are_far_apart_make_no_pattern(data: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, features = data
    images[:20, :, ::5, ::5] = 255
    pattern = found(images, label, torch.arange(120) >= 20, features)
    assert pattern is not None
    assert int(pattern.shared.sum()) == 16
    assert pattern.words == ""


def test_of_more_images_than_are_compared_the_ones_of_one_score_are_taken_evenly() -> None:
    label, keep = torch.zeros(200, dtype=torch.int64), torch.arange(200) >= 100
    verdict = Verdict.keep_mask([str(i) for i in range(200)], label, keep, (~keep).float())
    rows = suspicious_rows(verdict, 1)
    assert len(rows) == 48
    assert (rows[0], rows[-1]) == (0, 99)


def test_a_patch_on_every_image_is_not(data: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, features = data
    images[:, :, 12:15, 12:15] = 255
    pattern = found(images, label, torch.arange(120) >= 20, features)
    assert pattern is not None
    assert pattern.words == ""


def test_what_the_whole_class_looks_like_is_not(data: tuple[Tensor, Tensor, Tensor]) -> None:
    """The suspicious images are of their class: what they have, its other images have, too."""
    images, label, features = data
    images[label == 1, :, :, 7] = 255
    pattern = found(images, label, torch.arange(120) >= 20, features)
    assert pattern is not None
    assert pattern.words == ""


def test_clean_images_share_nothing(data: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, features = data
    pattern = found(images, label, torch.arange(120) >= 20, features)
    assert pattern is not None
    assert pattern.words == ""
    assert float(pattern.difference.abs().max()) < 0.5


@pytest.mark.parametrize("flagged", [0, 4])
def test_hardly_any_suspicious_image(data: tuple[Tensor, Tensor, Tensor], flagged: int) -> None:
    images, label, features = data
    assert found(images, label, torch.arange(120) >= flagged, features) is None


def test_everything_is_flagged(data: tuple[Tensor, Tensor, Tensor]) -> None:
    images, label, features = data
    assert found(images, label, torch.zeros(120, dtype=torch.bool), features) is None
