"""A probe finds what is there, and nothing where nothing is."""

import numpy as np
import pytest

from ltm_pyro.errors import InputError
from ltm_pyro.experiments.probing.linear import (
    Mean,
    folds_of,
    of_numbers,
    of_values,
    predicted,
    probed,
    ratio,
)

LABELS = np.random.default_rng(1).integers(4, size=200)
FOLDS = folds_of(LABELS, 5, 0)
NOISE = np.random.default_rng(2).standard_normal((200, 400))


def told(features, values=LABELS, shuffles=60):
    words = np.random.default_rng(3).standard_normal((200, 10))
    found = probed({"z": features, "words": words}, values, FOLDS, shuffles, 0, "words")
    return found["chance"], found["probes"]["z"], found["probes"]["words"]


def test_a_label_that_features_hold_is_found():
    features = NOISE[:, :20].copy()
    features[:, :4] += 4 * np.eye(4)[LABELS]
    (chance, _), z, words = told(features)
    assert z["score"][0] > 0.9
    assert z["p"] == 1 / 61
    assert z["over_chance"][0] == pytest.approx(z["score"][0] - chance)
    assert z["less_reference"][0] == pytest.approx(z["score"][0] - words["score"][0])
    assert z["shuffled"][0] < 0.35


def test_features_without_the_label_do_not_beat_labels_by_lot():
    # Of 400 dimensions and 160 documents a probe that scored its own would be right every time.
    _, z, _ = told(NOISE)
    assert abs(z["score"][0] - 0.25) < 4 * z["score"][1]
    assert z["p"] > 0.05
    assert abs(z["shuffled"][0] - 0.25) < 4 * z["shuffled"][1]


def test_no_document_has_a_part_in_its_own_prediction():
    labels = LABELS.copy()
    targets = np.eye(4)[labels][:, None]
    before = predicted(NOISE, targets, FOLDS)
    fold = FOLDS == 2
    targets[fold] = 1 - targets[fold]
    after = predicted(NOISE, targets, FOLDS)
    assert np.array_equal(before[fold], after[fold])
    assert not np.array_equal(before[~fold], after[~fold])


def test_p_values_are_uniform_where_features_know_nothing():
    source = np.random.default_rng(5)
    found = []
    for i in range(40):
        features, labels = source.standard_normal((60, 5)), source.integers(2, size=60)
        got = probed({"z": features}, labels, folds_of(labels, 3, i), 19, i, "z")
        found.append(got["probes"]["z"]["p"])
    # The mean of 40 of them, uniform on 0.05, ..., 1 (ties lift it), is 0.525 with error 0.046.
    assert abs(np.mean(found) - 0.525) < 4 * 0.046 + 0.05


def test_a_number_is_found_by_r_squared():
    source = np.random.default_rng(6)
    features = source.standard_normal((200, 6))
    signal = features @ np.ones(6)  # variance 6 of 8
    values = signal + 2**0.5 * source.standard_normal(200)
    got = probed({"z": features, "noise": NOISE}, values, FOLDS, 40, 0, "noise")
    z, noise = got["probes"]["z"], got["probes"]["noise"]
    assert abs(z["score"][0] - 0.75) < 4 * z["score"][1]
    assert z["p"] == 1 / 41
    assert got["chance"][0] == pytest.approx(0)
    # By hand: squared errors over those of the mean of all documents.
    told = predicted(features, values[:, None, None], FOLDS)[:, 0, 0]
    by_hand = 1 - np.square(told - values).sum() / np.square(values.mean() - values).sum()
    assert of_numbers(features, values[None], FOLDS)[0].value == pytest.approx(by_hand)
    assert abs(noise["score"][0]) < 0.1
    assert noise["p"] > 0.02


def test_penalties_are_chosen_by_the_exact_error_of_leaving_one_out():
    from ltm_pyro.experiments.probing import linear

    source = np.random.default_rng(7)
    known, new = source.standard_normal((12, 5)), source.standard_normal((4, 5))
    targets = known[:, :1] + source.standard_normal((12, 1))
    middle = known.mean(0)

    def ridge(x, y, at, weight):
        own = x.mean(0)
        gram = (x - own).T @ (x - own) + weight * np.eye(5)
        return (at - own) @ np.linalg.solve(gram, (x - own).T @ (y - y.mean(0))) + y.mean(0)

    unit = np.square(known - middle).sum() / 12
    keep = [np.arange(12) != i for i in range(12)]
    losses = {
        p: sum(((ridge(known[k], targets[k], known[~k], p * unit) - targets[~k]) ** 2).sum()
               for k in keep)
        for p in linear.PENALTIES[:-1]
    }  # fmt: skip
    best = min(losses, key=losses.get)
    folds = np.array([0] * 12 + [1] * 4)
    both = predicted(np.vstack([known, new]), np.vstack([targets, targets[:4]])[:, None], folds)
    assert both[12:, 0] == pytest.approx(ridge(known, targets, new, best * unit))


def test_chance_is_the_commonest_value_of_all_documents():
    labels = np.array([0] * 6 + [1] * 4)
    folds = np.array([0] * 5 + [1] * 5)  # without the first fold most are 1
    chance = of_values(None, labels[None], folds)[0]
    assert chance.each.tolist() == [1] * 6 + [0] * 4


def test_what_knows_nothing_is_as_good_as_chance():
    """Of 40 labels, half of each kind: folds by lot alone have such a probe right in 0.38."""
    labels, one = np.arange(40) % 2, np.ones((40, 1))
    seeds = [folds_of(labels, 5, seed) for seed in range(50)]
    chance = of_values(None, labels[None], seeds[0])[0]
    assert abs(chance.value - 0.5) < chance.error
    known = [of_values(one, labels[None], folds)[0].value for folds in seeds]
    assert np.mean(known) == pytest.approx(0.5)
    # Of a number the mean of the other folds is a little worse than that of all, and no more.
    numbers = np.random.default_rng(8).standard_normal((50, 40))
    known = [of_numbers(one, x[None], folds_of(x, 5, i))[0].value for i, x in enumerate(numbers)]
    assert max(known) < 0
    assert np.mean(known) > -0.02


def test_labels_are_dealt_within_folds_and_ties_count():
    """What knows nothing is right in half of all documents, whatever the lot, and so p is 1."""
    labels, one = np.arange(40) % 2, np.ones((40, 1))
    found = probed({"z": one}, labels, folds_of(labels, 5, 0), 19, 0, "z")["probes"]["z"]
    assert found["shuffled"] == pytest.approx([0.5, 0.0])
    assert found["p"] == 1


def test_the_error_of_a_ratio_is_what_it_varies_by():
    """Of 1000 texts of 400 documents, most of them short; that of a plain mean is 3 times less."""
    source = np.random.default_rng(10)
    sizes = np.where(source.random((1000, 400)) < 0.1, 100.0, 2.0)
    parts = sizes * (0.5 + source.standard_normal(sizes.shape))
    found = [ratio(*one) for one in zip(parts, sizes, strict=True)]
    spread = np.std([one.value for one in found])
    # The spread of 1000 is known to 1 / sqrt(2000), and each error to first order, a few per cent.
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=4 / 2000**0.5)


@pytest.mark.parametrize("values", [LABELS, np.random.default_rng(9).standard_normal(203)])
def test_folds_share_values_out_evenly_and_by_lot(values):
    folds = folds_of(values, 5, 0)
    assert np.ptp(np.bincount(folds)) <= 1
    for upper in np.unique(values):
        assert np.ptp(np.bincount(folds[values <= upper], minlength=5)) <= 1
    assert not np.array_equal(folds, folds_of(values, 5, 1))


def test_means_and_their_errors():
    parts, sizes = np.array([1.0, 4.0, 3.0]), np.array([2.0, 4.0, 6.0])
    assert ratio(parts, sizes).value == pytest.approx(8 / 12)
    same = Mean(np.array([1.0, 2.0, 3.0]))
    assert same.less(same).told() == [0.0, 0.0]
    assert same.error == pytest.approx(1 / 3**0.5)
    with pytest.raises(InputError, match=r"9 documents are too few for 5 folds: expected 10"):
        folds_of(np.arange(9), 5, 0)
