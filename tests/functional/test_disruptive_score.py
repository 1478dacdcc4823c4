"""The histogram rule against numpy's histogram."""

import numpy as np
import pytest
import torch

from cleanse.functional import disruptive_score


def of_densities(*groups, other=0.5):
    """Log-densities and labels of classes whose images have these v; each class's own density is ``other``'s."""
    classes = len(groups) + 1
    rows, label = [], []
    for c, v in enumerate(groups):
        row = torch.full((len(v), classes), -torch.inf, dtype=torch.float64)
        row[:, c] = torch.tensor(other).log()
        row[:, -1] = torch.as_tensor(v, dtype=torch.float64).log()
        rows.append(row)
        label.append(torch.full((len(v),), c))
    return torch.cat(rows), torch.cat(label)


def by_numpy(v, limit=0.75, threshold=0.05, bins=30, valley=True):
    """The rule word by word."""
    count, edges = np.histogram(v, bins)
    below = np.flatnonzero(edges < limit)
    if len(below) < 2:
        return False, 0.0, None
    m = int(np.argmin(count[: below[-1]]))
    before = int(count[:m].sum())
    flagged = m != 0 and before > threshold * len(v) and (not valley or before >= 2 * count[m])
    return flagged, before / len(v), float(edges[m])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("arguments", [{}, {"limit": 0.5, "bins": 7}, {"valley": False, "threshold": 0.2}, {"bins": 2}])
def test_against_numpy(seed, arguments):
    """Mixtures of all sorts."""
    generator = np.random.default_rng(seed)
    n, share = int(generator.integers(20, 400)), generator.uniform(0, 0.5)
    low, high, spread = generator.uniform(0.05, 0.6), generator.uniform(0.6, 1.5), generator.uniform(0.01, 0.3)
    center = np.where(np.arange(n) < share * n, low, high)
    v = np.abs(generator.normal(center, spread)) + 1e-3
    log_density, label = of_densities(v)
    found = disruptive_score(log_density, label, **arguments)
    flagged, score, split = by_numpy(log_density[:, -1].exp().numpy(), **arguments)
    assert found.flagged.tolist() == [flagged, False]
    assert found.score[0].item() == pytest.approx(score)
    assert split is None or found.split[0].item() == pytest.approx(split)


def test_mixture_and_single_mode():
    """A quarter at .15 and the rest at .95 is flagged with S_D = .25; a single mode at .95 is not."""
    generator = np.random.default_rng(0)
    mixture = np.where(np.arange(1000) < 250, generator.normal(0.15, 0.03, 1000), generator.normal(0.95, 0.08, 1000))
    single = generator.normal(0.95, 0.08, 1000)
    found = disruptive_score(*of_densities(mixture, single))
    assert found.flagged.tolist() == [True, False, False]
    for scale in (0.1, 1.0, 30.0):  # relative: the unit of the densities does not matter
        far = disruptive_score(*of_densities(scale * mixture, scale * single), limit=0.5, relative=True)
        assert far.flagged.equal(found.flagged)
        assert far.score[0] == 0.25
    assert found.score[0].item() == 0.25
    assert 0.2 < found.split[0] < 0.75
    assert found.split[2].isnan()  # a class without images


def test_valley():
    """27 images before the split and 14 in its own bin: more than a twentieth, but not twice as many."""
    count = [27, 14] + [15] * 28
    v = np.repeat(0.03 * np.arange(30) + 0.115, count)
    v[0], v[-1] = 0.1, 1.0
    log_density, label = of_densities(v)
    with_valley, without = (disruptive_score(log_density, label, valley=on) for on in (True, False))
    assert not with_valley.flagged[0]
    assert without.flagged[0]
    assert with_valley.score[0] == without.score[0] == pytest.approx(27 / sum(count))


def test_everything_below_the_limit():
    """All bins are searched, the last one too: a clean class that thins out to the right is flagged."""
    v = np.repeat(0.01 * np.arange(30) + 0.105, [3] * 29 + [1])
    v[0], v[-1] = 0.1, 0.4
    found = disruptive_score(*of_densities(v))
    assert found.flagged[0]
    assert found.score[0] == pytest.approx(87 / 88)
    assert found.flagged[0] == by_numpy(v)[0]
    assert not disruptive_score(*of_densities(v), limit=0.1, relative=True).flagged.any()


def test_no_split():
    """Constant v, one image, fewer than two edges below the limit, densities that overflow; the first bin lowest."""
    log_density, label = of_densities([0.3] * 9, [0.2], [0.74] + [5.0] * 20, [0.1, 0.2, 0.9])
    log_density[-1, -1] = 1e4  # exp is infinite
    found = disruptive_score(log_density, label)
    assert not found.flagged.any()
    assert found.score.eq(0).all()
    assert found.split.isnan().all()
    rising = disruptive_score(*of_densities(np.repeat([0.1, 0.4, 1.0], [1, 50, 50]), [0.9, 1.0]))
    assert not rising.flagged.any()
    assert disruptive_score(log_density - 2e4, label).score.eq(0).all()  # all v underflow to 0


def test_clean_classes_are_rarely_flagged():
    """Single modes at and above the limit, over seeds."""
    generator = np.random.default_rng(0)
    classes = [generator.normal(0.95, 0.08, 1000) for _ in range(20)]
    assert disruptive_score(*of_densities(*classes)).flagged.sum() == 0


def test_refusals():
    log_density, label = of_densities([0.1, 0.2, 0.9])
    for arguments, message in (
        ({"limit": 0.0}, "limit is above 0"),
        ({"threshold": 1.0}, r"threshold in \[0, 1\)"),
        ({"limit": 1.0, "relative": True}, "share of the class's median"),
        ({"bins": 1}, "bins is 2 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            disruptive_score(log_density, label, **arguments)
    log_density[0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 of 3 rows of log_density are NaN"):
        disruptive_score(log_density, label)
