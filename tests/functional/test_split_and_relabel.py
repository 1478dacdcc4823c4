"""Both ends of a flagged class."""

import pytest
import torch

from cleanse.functional import poisoning_score, split_and_relabel


def densities(n=1000, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (n,), generator=generator)
    return torch.randn(n, classes, generator=generator), label


def flags(*classes, of=5):
    return torch.tensor([c in classes for c in range(of)])


def by_hand(log_density, label, nondisruptive, disruptive, alpha_clean, alpha_poison):
    """D.4's pseudo-code, one class and one image at a time."""
    new = label.tolist()
    for c in range(log_density.shape[1]):
        rows = [i for i in range(len(label)) if label[i] == c]
        n, other = len(rows), [k for k in range(log_density.shape[1]) if k != c]
        order = sorted(rows, key=lambda i: float(log_density[i, c] - max(log_density[i, k] for k in other)))
        if disruptive[c]:
            clean, poison = order[: int(alpha_clean * n)], []
        elif nondisruptive[c]:
            clean, poison = order[int((1 - alpha_clean) * n) :], order[: int(alpha_poison * n)]
        else:
            continue
        for i in rows:
            best = max(other, key=lambda k: float(log_density[i, k]))
            new[i] = c if i in clean else best if i in poison else -1
    return new


@pytest.mark.parametrize("alphas", [(0.15, 0.15), (0.3, 0.15), (0.05, 0.5), (0.5, 0.5), (0.0, 0.2), (0.2, 0.0)])
@pytest.mark.parametrize("seed", range(3))
def test_against_the_pseudo_code(seed, alphas):
    log_density, label = densities(300, seed=seed)
    found = split_and_relabel(log_density, label, flags(0, 3), flags(1, 3), *alphas)
    assert found.label.tolist() == by_hand(log_density, label, flags(0, 3), flags(1, 3), *alphas)


@pytest.mark.parametrize("alpha", [0.05, 0.15, 0.29, 0.3, 0.45, 0.5])
def test_slices(alpha):
    """Disjoint, of D.3.8's sizes, relabeled to another class, and none of a disruptive class."""
    log_density, label = densities()
    found = split_and_relabel(log_density, label, flags(0, 2), flags(1), alpha, alpha)
    assert not (found.clean & found.poisoned).any()
    assert found.clean[label > 2].all()
    for c in range(3):
        n = int((label == c).sum())
        low, high = int(alpha * n), n - int((1 - alpha) * n)
        own = label == c
        assert int(found.clean[own].sum()) == (low if c == 1 else high)
        assert int(found.poisoned[own].sum()) == (high if c == 1 else low)
        score, middle = poisoning_score(log_density, label)[own], ~(found.clean | found.poisoned)[own]
        ends = (found.clean[own], found.poisoned[own]) if c == 1 else (found.poisoned[own], found.clean[own])
        for lower, upper in zip((ends[0], middle), (middle, ends[1]), strict=True):
            assert not (lower.any() and upper.any()) or score[lower].max() <= score[upper].min()
    assert found.label[found.clean].equal(label[found.clean])
    assert found.label[found.poisoned].ne(label[found.poisoned]).all()
    assert found.label[found.poisoned & (label == 1)].eq(-1).all()
    assert found.label[found.poisoned & (label != 1)].ge(0).all()
    assert found.label[~(found.clean | found.poisoned)].eq(-1).all()


def test_counts_of_the_paper():
    """N = 9500 and alpha = .15 give 1425 and 1425."""
    log_density, label = torch.randn(9500, 2), torch.zeros(9500, dtype=torch.int64)
    for kind in ((flags(0, of=2), flags(of=2)), (flags(of=2), flags(0, of=2))):
        found = split_and_relabel(log_density, label, *kind)
        assert found.clean.sum() == 1425
        assert found.poisoned.sum() == 1425


def test_disruptive_wins():
    """A class flagged as both is filtered and not relabeled."""
    log_density, label = densities()
    both, one = (split_and_relabel(log_density, label, nd, flags(4)) for nd in (flags(4), flags()))
    assert all(a.equal(b) for a, b in zip(both, one, strict=True))


def test_nothing_and_everything_flagged():
    """Nothing flagged leaves the set as it is; everything flagged leaves a share of each class."""
    log_density, label = densities()
    nothing = split_and_relabel(log_density, label, flags(), flags())
    assert nothing.clean.all()
    assert nothing.label.equal(label)
    assert not nothing.poisoned.any()
    everything = split_and_relabel(log_density, label, flags(*range(5)), flags())
    assert everything.label[everything.clean].unique().tolist() == [0, 1, 2, 3, 4]
    assert 0.29 < (everything.label >= 0).float().mean() < 0.31
    disruptive = split_and_relabel(log_density, label, flags(), flags(*range(5)))
    assert disruptive.label[disruptive.label >= 0].equal(label[disruptive.clean])


def test_small_and_missing_classes():
    """Too few images for a share: nothing is relabeled; a flagged class without images changes nothing."""
    log_density, label = densities(12, 5)
    label = label.clamp(max=3)
    found = split_and_relabel(log_density, label, flags(0, 4), flags(), 0.05, 0.05)
    assert found.label[label != 0].equal(label[label != 0])
    assert not found.poisoned.any()


def test_equal_scores_and_densities_of_zero():
    """The earlier image first; where no other class has any density, poison has no place to go."""
    label = torch.zeros(10, dtype=torch.int64)
    found = split_and_relabel(torch.zeros(10, 3), label, flags(0, of=3), flags(of=3), 0.2, 0.2)
    assert found.poisoned.tolist() == [True] * 2 + [False] * 8
    assert found.clean.tolist() == [False] * 8 + [True] * 2
    assert found.label[:2].tolist() == [1, 1]
    nowhere = torch.full((10, 3), -torch.inf)
    found = split_and_relabel(nowhere, label, flags(0, of=3), flags(of=3), 0.2, 0.2)
    assert found.poisoned.sum() == 2
    assert found.label[:8].eq(-1).all()
    assert found.label[8:].eq(0).all()


def test_the_truth_is_not_asked_for():
    """Densities, given labels and flags decide everything."""
    log_density, label = densities()
    again = split_and_relabel(log_density.clone(), label.clone(), flags(0), flags(1))
    assert all(
        a.equal(b) for a, b in zip(split_and_relabel(log_density, label, flags(0), flags(1)), again, strict=True)
    )


def test_refusals():
    log_density, label = densities(20)
    for alpha in (-0.1, 0.51, float("nan")):
        with pytest.raises(ValueError, match=r"alpha_clean is between 0 and 0\.5"):
            split_and_relabel(log_density, label, flags(), flags(), alpha_clean=alpha)
        with pytest.raises(ValueError, match=r"alpha_poison is between 0 and 0\.5"):
            split_and_relabel(log_density, label, flags(), flags(), alpha_poison=alpha)
    with pytest.raises(ValueError, match=r"nondisruptive is \(5,\) bool"):
        split_and_relabel(log_density, label, flags(of=4), flags())
    with pytest.raises(ValueError, match=r"disruptive is \(5,\) bool"):
        split_and_relabel(log_density, label, flags(), flags().long())
    with pytest.raises(ValueError, match="NaN"):
        split_and_relabel(log_density * torch.nan, label, flags(), flags())
