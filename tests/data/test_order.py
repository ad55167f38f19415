"""Shuffled epochs, a place at a time."""

import itertools
from collections import Counter

import numpy as np
import pytest

from ltm_pyro.data.order import batch_places, shuffled
from ltm_pyro.data.rows import Rows

from ..conftest import some_rows


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_it_is_a_permutation_whose_places_follow_from_themselves_alone(size):
    for seed in range(5):
        whole = shuffled(np.arange(size), size, seed)
        assert sorted(whole.tolist()) == list(range(size))
        for place in {0, size // 2, size - 1}:
            assert shuffled(np.array([place]), size, seed)[0] == whole[place]


def test_no_permutation_of_few_is_likelier_than_another():
    """Chi-square over all 24 of four things; the limit is that of one chance in a million."""
    draws = 4_800
    seen = Counter(tuple(shuffled(np.arange(4), 4, seed).tolist()) for seed in range(draws))
    expected = draws / 24
    found = sum((seen[p] - expected) ** 2 / expected for p in itertools.permutations(range(4)))
    assert found < 75  # 23 degrees of freedom
    assert sum((n - expected) ** 2 / expected for n in [expected * 1.3] * 12 + [expected * 0.7] * 12
               ) > 75  # fmt: skip


def test_where_one_goes_says_nothing_of_where_its_neighbour_goes():
    size, seeds = 997, 800
    found = np.array([shuffled(np.array([5, 6]), size, seed) for seed in range(seeds)])
    assert abs(np.corrcoef(found.T)[0, 1]) < 5 / seeds**0.5
    for column in found.T:
        assert abs(column.mean() - (size - 1) / 2) < 5 * size / (12 * seeds) ** 0.5


def test_batches_cut_an_endless_stream_of_epochs():
    stream = np.concatenate([batch_places(step, 7, 10, seed=3) for step in range(10)])
    epochs = stream.reshape(-1, 10)
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == len(epochs)
    assert not np.array_equal(stream[:10], batch_places(0, 10, 10, seed=4))
    rows: Rows = some_rows(10)
    assert rows.batch(2, 7, seed=3).key.tolist() == rows.key[stream[14:21]].tolist()
