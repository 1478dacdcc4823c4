"""What a view says of its images."""

from cleanse.data import Digits
from cleanse.engine.fingerprint import describe
from cleanse.utils.image_spec import ImageSpec


def test_a_view_offers_the_shape_of_its_data_in_one_value() -> None:
    view = Digits(limit_train=20).training_view()
    assert view.image_spec == ImageSpec(1, 10, Digits.mean, Digits.std, (8, 8))


def test_every_field_of_an_image_spec_is_part_of_a_key() -> None:
    spec = ImageSpec(3, 10, (0.5,), (0.25,), (8, 8))
    assert set(describe(spec)["with"]) == {"channels", "num_classes", "mean", "std", "size"}
