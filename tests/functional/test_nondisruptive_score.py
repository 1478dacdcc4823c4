"""S_ND against a double loop, and on blobs."""

import pytest
import torch

from cleanse.functional import nondisruptive_score


def gaussian_densities(x, label, classes):
    """(n, C) per dimension: a diagonal Gaussian fitted to each class stands in for its flow."""
    columns = []
    for c in range(classes):
        own = x[label == c]
        normal = torch.distributions.Normal(own.mean(0), own.std(0))
        columns.append(normal.log_prob(x).mean(1))
    return torch.stack(columns, 1)


def test_against_a_double_loop():
    """Eq. 3, and the order of images does not matter."""
    generator = torch.Generator().manual_seed(0)
    log_density = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    label = torch.randint(0, 4, (60,), generator=generator)
    expected = []
    for c in range(4):
        foreign = [float(-log_density[i, c]) for i in range(60) if label[i] != c]
        expected.append(sum(foreign) / len(foreign))
    assert nondisruptive_score(log_density, label).tolist() == pytest.approx(expected)
    order = torch.randperm(60, generator=generator)
    assert torch.allclose(
        nondisruptive_score(log_density[order], label[order]), nondisruptive_score(log_density, label)
    )
    assert nondisruptive_score(log_density.half(), label).dtype == torch.float32


def test_foreign_images_in_a_class_lower_its_score():
    """900 images of the nine other blobs under label 0; class 0 falls far below the rest, which hardly move."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(10).repeat_interleave(1000)
    center = torch.randn(10, 16, generator=generator)
    x = center[truth] + 0.5 * torch.randn(10_000, 16, generator=generator)
    x = (x - x.mean(0)) / x.std(0)
    label = truth.clone()
    for c in range(1, 10):
        label[(truth == c).nonzero()[:100, 0]] = 0
    before = nondisruptive_score(gaussian_densities(x, truth, 10), truth)
    after = nondisruptive_score(gaussian_densities(x, label, 10), label)
    assert after[0] < 0.6 * after[1:].min()
    assert after[0] < before[0] - 1
    assert (after[1:] - before[1:]).abs().max() < 0.1
    assert before.min() > 0.5 * before.max()


def test_densities_of_zero():
    """A class that was never trained, and one row too far out for one class, cost the score of that class alone."""
    log_density = torch.full((6, 3), -1.0)
    log_density[:, 2] = -torch.inf
    log_density[0, 0] = -torch.inf  # of its own class: no foreign image
    label = torch.tensor([0, 0, 0, 1, 1, 1])
    assert nondisruptive_score(log_density, label).tolist() == [1.0, 1.0, torch.inf]
    log_density[5, 0] = -torch.inf
    assert nondisruptive_score(log_density, label).tolist() == [torch.inf, 1.0, torch.inf]


def test_refusals():
    log_density, label = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match="all 4 images are of class 1"):
        nondisruptive_score(log_density, torch.ones(4).long())
    for value in (torch.nan, torch.inf):
        wrong = log_density.clone()
        wrong[2, 1] = value
        with pytest.raises(ValueError, match=r"1 of 4 rows of log_density are NaN or \+inf, the first is row 2"):
            nondisruptive_score(wrong, label)
    with pytest.raises(ValueError, match=r"label \(n,\)"):
        nondisruptive_score(log_density, label[:3])
    with pytest.raises(ValueError, match="two classes or more"):
        nondisruptive_score(log_density[:, :1], label * 0)
    for wrong_label in (label - 1, label + 1, label.float()):
        with pytest.raises(ValueError, match=r"whole numbers in 0\.\.1"):
            nondisruptive_score(log_density, wrong_label)
