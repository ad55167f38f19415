"""Neighbours share what places tell, and a step between means does what it must."""

import itertools

import numpy as np
import pytest
import torch

from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.probing.space import alike, bags, likeness_of, moved, nearest

SOURCE = np.random.default_rng(0)
CODES = SOURCE.integers(3, size=90)
CENTRES = 3 * np.eye(3)


def test_neighbours_share_a_label_that_places_tell_and_no_other():
    places = CENTRES[CODES] + SOURCE.standard_normal((90, 3))
    neighbours = nearest(places, 4)
    assert neighbours.shape == (90, 4)
    assert not (neighbours == np.arange(90)[:, None]).any()
    apart = np.linalg.norm(places - places[0], axis=1)
    assert set(neighbours[0]) == set(np.argsort(apart)[1:5])
    found = alike(neighbours, likeness_of(CODES), 99, 0)
    assert found["p"] == 0.01
    assert found["found"][0] > 0.7
    # By lot: another document of 89 has the same value.
    counts = np.bincount(CODES)
    chance = (counts * (counts - 1)).sum() / (90 * 89)
    mean, deviation = found["by_lot"]
    assert abs(mean - chance) < 4 * deviation / 99**0.5
    other = alike(neighbours, likeness_of(SOURCE.permutation(CODES)), 99, 0)
    assert other["p"] > 0.01
    numbers = likeness_of(np.array([1.0, 4.0]))
    assert numbers.tolist() == [[0, -3], [-3, 0]]


def test_places_are_dealt_by_lot_each_document_once():
    """Six places on a line, two values: against all 720 ways to deal documents to them."""
    codes, neighbours = np.array([0, 0, 0, 1, 1, 1]), nearest(np.arange(6.0)[:, None] ** 1.1, 2)
    likeness = likeness_of(codes)
    every = [
        likeness[np.array(who)[:, None], np.array(who)[neighbours]].mean()
        for who in itertools.permutations(range(6))
    ]
    assert np.mean(every) == pytest.approx(0.4)  # of the five others two are of one's own value
    mean, deviation = alike(neighbours, likeness, 2000, 0)["by_lot"]
    assert abs(mean - 0.4) < 4 * np.std(every) / 2000**0.5
    assert deviation == pytest.approx(np.std(every), rel=0.1)


def test_a_step_between_means_gains_what_it_must():
    means = CENTRES[CODES] + 0.1 * SOURCE.standard_normal((90, 3))
    texts = CENTRES[CODES] + 0.1 * SOURCE.standard_normal((90, 3))

    def score(z, documents):
        return -0.5 * np.square(texts[documents] - z).sum(1)

    found = moved(score, means, CODES, 0, 2, 40, 0)
    # Half the squared distance of the centres; noise moves the mean by less than 0.3.
    assert abs(found["gain"][0] - 9) < 0.5
    assert found["p"] == 1 / 41
    assert found["over_lot"][0] > 4
    half = found["documents"]
    assert half == (CODES == 2).sum() - (CODES == 2).sum() // 2
    # Where values tell nothing of thoughts, the step is one of those by lot.
    found = moved(score, means, SOURCE.permutation(CODES), 0, 2, 40, 0)
    assert found["p"] > 0.02


def test_means_come_from_other_documents_than_those_that_are_scored():
    asked = []
    means = SOURCE.standard_normal((90, 3))

    def score(z, documents):
        asked.append((z, documents))
        return np.zeros(len(documents))

    few, many = np.bincount(CODES).argsort()[[0, -1]].tolist()
    found = moved(score, means, CODES, few, many, 2, 0)
    scored = set(asked[0][1].tolist())
    begun = {int(np.square(means - z).sum(1).argmin()) for z in asked[0][0]}
    rest = [i for i in range(90) if i not in scored | begun]
    one, other = (means[[i for i in rest if CODES[i] == code]].mean(0) for code in (few, many))
    assert found["shift"] == pytest.approx(other - one)
    moved_by = asked[1][0] - asked[0][0]
    assert moved_by == pytest.approx(np.broadcast_to(found["shift"], moved_by.shape))


def test_steps_by_lot_are_between_groups_of_the_other_half():
    """Of value 0 two documents that means are of, at 0, and of value 1 twenty, at 1.

    A group of two holds none, one or both of the former, so that a step has one of three sizes.
    """
    codes = np.array([0] * 4 + [1] * 40)
    asked = []

    def score(z, documents):
        asked.append((z, documents))
        return (documents % 5) * z[:, 0]

    means = np.arange(44.0)[:, None]
    moved(score, means, codes, 0, 1, 2, 3)
    scored = {*asked[0][1].tolist(), *asked[0][0][:, 0].astype(int).tolist()}
    means[:] = codes[:, None]
    means[sorted(scored)] = 1e6  # what is scored has no part in a step
    asked.clear()
    found = moved(score, means, codes, 0, 1, 200, 3)
    (before, documents), *after = asked
    steps = [float((z - before)[0, 0]) for z, _ in after]
    assert steps[0] == 1
    assert {round(step, 6) for step in steps[1:]} == {-0.1, 0.45, 1.0}
    # Each document gains by its own slope; lots differ in the step alone.
    totals = np.array(steps[1:]) * (documents % 5).mean()
    assert found["by_lot"] == pytest.approx([totals.mean(), totals.std(ddof=1)])
    assert found["over_lot"][0] == pytest.approx((documents % 5).mean() - totals.mean())


def test_bags_of_the_same_words_are_one():
    tokens = torch.tensor([[1, 2, 2, 9], [2, 1, 2, 3], [4, 4, 4, 4]])
    rows = Rows(tokens, torch.tensor([3, 3, 4]), torch.arange(3), torch.zeros(3))
    found = bags(rows, 10)
    assert found @ found.T == pytest.approx(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]]))
