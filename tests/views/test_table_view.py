"""Batches of every class at once."""

from collections import Counter

import pytest
import torch

from cleanse.engine.fingerprint import hash_of
from cleanse.views import ClassBatches, TableView


def table(sizes=(40, 23, 5, 0, 16), batch_size=8, **changed):
    label = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    label = label[torch.randperm(len(label), generator=torch.Generator().manual_seed(1))]
    features = torch.randn(len(label), 6, generator=torch.Generator().manual_seed(0))
    return TableView(changed.pop("features", features), changed.pop("label", label), batch_size=batch_size, **changed)


def lines(view, epoch=0):
    """What each class gets in an epoch: a list of batches."""
    got = {}
    for batch in ClassBatches(view.label, view.batch_size, view.seed, epoch):
        assert batch.shape[1] == view.batch_size
        classes = view.label[batch]
        assert classes.eq(classes[:, :1]).all()
        assert classes[:, 0].diff().gt(0).all()
        for c, rows in zip(classes[:, 0].tolist(), batch.tolist(), strict=True):
            got.setdefault(c, []).append(rows)
    return got


def flat(batches):
    return [row for batch in batches for row in batch]


def test_every_class_has_its_own_epoch():
    """n_c // B batches without repetition, one at least; the rows left out change with the epoch."""
    view = table()
    assert view.batches == [5, 2, 1, 0, 2]
    assert view.num_classes == 5
    first, second = lines(view), lines(view, epoch=1)
    assert {c: len(b) for c, b in first.items()} == {0: 5, 1: 2, 2: 1, 4: 2}
    for c in (0, 1, 4):
        rows = flat(first[c])
        assert len(set(rows)) == len(rows)
        assert set(view.label[rows].tolist()) == {c}
    assert set(flat(first[1])) != set(flat(second[1]))
    assert first[0] != second[0]
    assert sorted(flat(first[0])) == (view.label == 0).nonzero().flatten().tolist()


def test_a_class_smaller_than_a_batch_has_its_rows_repeated():
    counts = Counter(lines(table())[2][0])
    assert sorted(counts.values()) == [1, 1, 2, 2, 2]


def test_other_classes_do_not_matter():
    """The batches of class 0 are the same rows when class 1 is gone."""
    view = table()
    left = view.label != 1
    alone = TableView(view.features[left], view.label[left], num_classes=5, batch_size=8)
    place = left.nonzero().flatten()
    assert alone.batches == [5, 0, 1, 0, 2]
    for c, batches in lines(alone).items():
        assert [place[rows].tolist() for rows in batches] == lines(view)[c]


def test_seed_and_epoch_decide():
    assert lines(table()) == lines(table())
    assert lines(table(seed=1)) != lines(table(seed=2))


def test_withheld_labels_are_predicted_and_not_trained_on():
    view = table(label=torch.arange(84) % 3 - 1)
    assert view.batches == [3, 3]
    assert -1 not in lines(view)
    batches = [view.on_after_batch_transfer(b, 0) for b in view.predict_dataloader()]
    assert torch.cat([b["index"] for b in batches]).equal(torch.arange(84))
    assert torch.cat([b["features"] for b in batches]).equal(view.features)


def test_batches_on_the_device():
    view = table()
    (first, *_) = view.train_dataloader()
    batch = view.on_after_batch_transfer(first, 0)
    assert batch["features"].shape == (4, 8, 6)
    assert batch["label"][:, 0].tolist() == [0, 1, 2, 4]
    assert batch["features"][2, 3].equal(view.features[batch["index"][2, 3]])


def test_mean_and_std():
    """D-T11: over all rows; a large constant has no deviation, and none comes from rounding."""
    features = torch.randn(84, 6) * 3 + 1
    features[:, 1], features[:, 2] = 12345.678, 0.0
    view = table(features=features)
    assert torch.allclose(view.mean, features.mean(0), rtol=1e-5, atol=1e-6)
    assert view.std[[1, 2]].max() < 1e-6
    standard = ((features - view.mean) / view.std)[:, [0, 3, 4, 5]]
    assert standard.mean(0).abs().max() < 1e-5
    assert (standard.std(0, correction=0) - 1).abs().max() < 1e-5


def test_description():
    """Everything that decides a result changes the key; the seed is the runner's."""
    view = table()
    changed = view.features.clone()
    changed[3, 2] += 1e-3
    label = view.label.clone()
    label[0] = 1 - label[0].clamp(max=1)
    others = [table(features=changed), table(label=label), table(num_classes=7), table(batch_size=9)]
    assert len({hash_of(v) for v in [view, *others]}) == 5
    assert hash_of(table(seed=5)) == hash_of(view)


def test_refusals():
    features, label = torch.randn(10, 3), torch.arange(10) % 2
    with pytest.raises(ValueError, match=r"features is \(n, d\) float"):
        TableView(features[:, 0], label)
    with pytest.raises(ValueError, match=r"label \(n,\)"):
        TableView(features, label[:9])
    with pytest.raises(ValueError, match="none of the 10 rows has a label"):
        TableView(features, label * 0 - 1)
    with pytest.raises(ValueError, match=r"label is in -1\.\.0, not 0\.\.1"):
        TableView(features, label, num_classes=1)
    with pytest.raises(ValueError, match="not -2"):
        TableView(features, 3 * label - 2)
    with pytest.raises(ValueError, match="batch_size"):
        TableView(features, label, batch_size=0)
    features[4, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 10 rows of features are not finite, the first is row 4"):
        TableView(features, label)
