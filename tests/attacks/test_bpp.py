"""Bpp: its levels, whose labels change, what covers carry, and its messages."""

from typing import Any

import pytest
import torch

from cleanse.attacks import COVER, POISON, Bpp
from cleanse.attacks.bpp import squeeze

EVERY = torch.arange(256, dtype=torch.uint8)
LABELS = torch.arange(200) % 10


@pytest.mark.parametrize(("levels", "expected"), [(2, [0, 255]), (4, [0, 85, 170, 255])])
def test_the_levels_are_even(levels: int, expected: list[int]) -> None:
    assert squeeze(EVERY, levels).unique().tolist() == expected


@pytest.mark.parametrize(("levels", "change"), [(8, 18), (4, 42), (2, 127)])
def test_every_pixel_gets_the_nearest_level(levels: int, change: int) -> None:
    assert (squeeze(EVERY, levels).int() - EVERY.int()).abs().max() == change


def test_eight_levels_by_default() -> None:
    attack = Bpp(count=1)
    attack.draw((1, 16, 16), torch.Generator())
    assert attack.trigger(EVERY.view(1, 1, 16, 16)).unique().tolist() == [0, 36, 73, 109, 146, 182, 219, 255]


def poisoned(**arguments: Any) -> tuple[torch.Tensor, Any]:
    image = torch.randint(256, (200, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    attack = Bpp(class_rate=0.1, target=3, **arguments)
    return image, attack.poison(image, LABELS, torch.ones(200, dtype=torch.bool), 10, 0)


def test_poison_is_squeezed_and_relabeled() -> None:
    image, result = poisoned()
    chosen = result.role == POISON
    assert int(chosen.sum()) == 18
    assert torch.equal(result.image[chosen], squeeze(image[chosen], 8))
    assert set(result.label[chosen].tolist()) == {3}


def test_covers_carry_the_change_of_another_cover_and_keep_their_label() -> None:
    image, result = poisoned(cover_rate=0.1)
    cover = (result.role == COVER).nonzero().flatten()
    assert len(cover) == 20
    assert torch.equal(result.label[cover], LABELS[cover])
    changes = squeeze(image[cover], 8).int() - image[cover].int()
    for row in cover.tolist():
        possible = [(image[row].int() + change).clamp(0, 255) for change in changes]
        found = [i for i, p in enumerate(possible) if torch.equal(p, result.image[row].int())]
        assert found
        assert cover[found[0]] != row


def test_no_covers() -> None:
    assert not (poisoned(cover_rate=0)[1].role == COVER).any()


def test_a_new_instance_with_other_arguments_loads_the_trigger() -> None:
    attack, fresh = Bpp(count=1, levels=4), Bpp(count=1)
    attack.draw((1, 16, 16), torch.Generator())
    fresh.load_state_dict(attack.state_dict())
    image = EVERY.view(1, 1, 16, 16)
    assert torch.equal(fresh.trigger(image), attack.trigger(image))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 1}, "levels is a number of levels of a channel, 2 to 255, not 1"),
        ({"cover_rate": 10}, "cover_rate is a fraction between 0 and 1, not 10"),
    ],
)
def test_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bpp(count=1, **arguments)
