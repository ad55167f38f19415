"""No draw is used twice: what is scored was not fitted to, nor the model trained on it."""

import itertools

import pytest

import ltm_pyro as ltm
from ltm_pyro import seeds
from ltm_pyro.config import Fast, Slow
from ltm_pyro.seeds import derive

from .conftest import some_rows


def used(monkeypatch, run):
    """The seeds of all blocks of noise that a call opens."""
    found = []
    mixed = seeds._mixed

    def spy(seed, keys):
        found.append(seed)
        return mixed(seed, keys)

    with monkeypatch.context() as patch:
        patch.setattr(seeds, "_mixed", spy)
        run()
    return found


BOUNDS = ["elbo:4", "prior:4", "iwae:9", "ais:3", "ais_prior:3", "predictive:6"]


def test_fitting_scoring_and_training_draw_from_streams_of_their_own(model, monkeypatch):
    rows = some_rows(4)
    fast = Fast(steps=3, lr=0.01)
    svi = ltm.DualRateSVI(model, fast=fast, slow=Slow(lr=0.0))

    def train():
        for _ in range(6):
            svi.step(rows)

    streams = {"train": used(monkeypatch, train), "fit": used(monkeypatch, lambda: svi.infer(rows))}
    posterior = svi.infer(rows)
    streams["elbo"] = used(monkeypatch, lambda: posterior.elbo(9))
    for bound in BOUNDS:
        streams[bound] = used(
            monkeypatch,
            lambda b=bound: ltm.evaluate(model, rows, [b], fast=fast, repeat=0, progress=False),
        )
    for name, found in streams.items():
        assert len(found) == len(set(found)), f"{name} draws from a stream twice"
    shared_fit = set(streams["elbo:4"]) & set(streams["iwae:9"]) & set(streams["ais:3"])
    scored = {name: set(found) - shared_fit for name, found in streams.items()}
    assert all(scored[bound] for bound in ("elbo", *BOUNDS))  # by draws that no fit saw
    for a, b in itertools.combinations(scored, 2):
        if {a, b} == {"ais:3", "ais_prior:3"}:
            continue  # each by itself: two figures, not a fit and its score
        assert not scored[a] & scored[b], f"{a} and {b} share a draw"
    assert len(shared_fit) == 2 * fast.steps  # a draw and an optimizer's step for each


def test_repetitions_draw_from_streams_of_their_own(model, monkeypatch):
    rows, fast = some_rows(4), Fast(steps=2)

    def draws(repeat):
        return used(
            monkeypatch,
            lambda: ltm.evaluate(model, rows, ["elbo:4"], fast=fast, repeat=repeat, progress=False),
        )

    once, repeated = draws(0), draws(4)
    assert len(set(repeated)) == len(repeated) == 7 * len(once)
    assert set(once) < set(repeated)


@pytest.mark.parametrize("seed", [0, 7, 3 + (4 << 32)])
def test_a_tuple_of_keys_has_a_seed_of_its_own(seed):
    tuples = [(), (0,), (0, 0), (4,), (4, 0), (1,), (0, 1), (1, 0)]
    assert len({derive(seed, *keys) for keys in tuples}) == len(tuples)
    assert derive(3 + (4 << 32)) != derive(3, 4)
