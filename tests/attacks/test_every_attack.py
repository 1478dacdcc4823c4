"""What holds for every attack that draws: its seed decides, and nobody else's randomness is touched."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from cleanse.attacks import (
    CTRL,
    SIG,
    Additive,
    Attack,
    BadNets,
    Blend,
    Bpp,
    DirtyLabel,
    LowFrequency,
    Poisoned,
    QiAdaptiveBlend,
    QiAdaptivePatch,
    Refool,
    Several,
    TaCT,
    WaNet,
)

ATTACKS: dict[str, Callable[[], Attack]] = {
    "Additive": lambda: Additive(class_rate=0.5),
    "BadNets": lambda: BadNets(class_rate=0.2),
    "BadNets, random labels": lambda: BadNets(class_rate=0.2, labels="random", pattern="noise"),
    "Blend": lambda: Blend(class_rate=0.2),
    "Bpp": lambda: Bpp(class_rate=0.2, cover_rate=0.2),
    "CTRL": lambda: CTRL(class_rate=0.5),
    "DirtyLabel": lambda: DirtyLabel(source=7, target=4, class_rate=0.5),
    "LowFrequency": lambda: LowFrequency(class_rate=0.2),
    "QiAdaptiveBlend": lambda: QiAdaptiveBlend(class_rate=0.2, cover_rate=0.2),
    "QiAdaptivePatch": lambda: QiAdaptivePatch(class_rate=0.2, cover_rate=0.2),
    "Several": lambda: Several(
        [BadNets(target=0, count=20, labels="random"), WaNet(target=1, count=20, cover_rate=0.2)]
    ),
    "Refool": lambda: Refool(class_rate=0.2, reflections=3),
    "SIG": lambda: SIG(class_rate=0.5),
    "TaCT": lambda: TaCT(source=2, class_rate=0.5, cover_rate=0.2),
    "WaNet": lambda: WaNet(class_rate=0.2, cover_rate=0.2),
}
LABELS = torch.arange(200) % 10
IMAGES = torch.randint(256, (200, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def made(name: str, seed: int = 3) -> tuple[Poisoned, torch.Tensor]:
    attack = ATTACKS[name]()
    poisoned = attack.poison(IMAGES, LABELS, torch.ones(200, dtype=torch.bool), 10, seed)
    return poisoned, attack.trigger(IMAGES[:20])


@pytest.mark.parametrize("name", ATTACKS)
def test_its_seed_decides_and_no_other_state_is_read_or_moved(name: str) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first, triggered = made(name)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    random.seed(2), np.random.seed(2), torch.manual_seed(2)
    again, triggered_again = made(name)
    assert all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(again).values(), strict=True))
    assert torch.equal(triggered, triggered_again)
    assert not torch.equal(first.role, made(name, 4)[0].role)
