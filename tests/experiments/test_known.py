"""Bounds beside exact entropies, and a reader of z that finds what is there and no more."""

import dataclasses
import json
import math

import pytest
import torch

from ltm_pyro.bounds import certify
from ltm_pyro.experiments import known
from ltm_pyro.experiments.known import Setup, recovered


@pytest.mark.parametrize("name", ["topics", pytest.param("planes", marks=pytest.mark.slow)])
def test_bounds_lie_above_the_truth(name, tmp_path, capsys):
    """By what training has left to learn: never below it by more than four errors."""
    setup = Setup(iterations=5, steps=3, documents=24)
    known.main(["--of", name, "--out", str(tmp_path)], setup)
    found = json.loads((tmp_path / f"known-{name}-0.json").read_text())
    assert found["exact_given_code"] < found["exact"]
    assert found["prior"] == {"topics": "mixture", "planes": "standard-normal"}[name]
    for bound, above in found["above_exact"].items():
        assert above["nats"] > -4 * above["standard_error"], bound
        gap = found["nats_per_token"][bound] - found["exact"]
        assert above["nats"] == pytest.approx(gap, abs=1e-6)
    assert found["nats_per_token"]["elbo"] > found["exact"]
    assert f"| {name} |" in capsys.readouterr().out


def test_a_certificate_is_of_the_first_documents_and_beside_their_entropy(monkeypatch):
    """One of four is refused: its entropy is not in what the certified ones are compared with."""
    asked = {}

    def some(model, rows, **how):
        asked.update(how, rows=len(rows))
        few = {**how, "temperatures": 1, "chains": 32, "simulated": 0, "progress": False}
        return dataclasses.replace(certify(model, rows, **few), reason=["", "no", "", ""])

    monkeypatch.setattr(known, "certify", some)
    setup = Setup(iterations=2, steps=2, documents=24, certified=4)
    found = known.known("topics", setup)["certificate"]
    nats = known.corpus("topics", 24, 0).nats
    assert found["certified"] == 3
    assert found["exact_of_certified"] == pytest.approx(float(nats[[0, 2, 3]].mean()) / 64)
    assert found["exact_nats_per_token"] == pytest.approx(float(nats[:4].mean()) / 64)
    assert asked["rows"] == 4
    assert asked["fast"].particles == 1
    assert found["all_documents_at_most"]["nats_per_token"] > found["exact_nats_per_token"]


def test_training_and_scoring_think_as_long_as_they_are_to(monkeypatch):
    """Training as the corpus's configuration says, held-out documents by the setup's numbers."""
    train, score = [], []
    fit, measure = known.SpeakThenThink, known.evaluate

    def fitting(model, guide, fast, *more, **named):
        train.append((fast.steps, fast.particles))
        return fit(model, guide, fast, *more, **named)

    def measuring(*given, **named):
        score.append((named["fast"].steps, named["fast"].particles))
        return measure(*given, **named)

    monkeypatch.setattr(known, "SpeakThenThink", fitting)
    monkeypatch.setattr(known, "evaluate", measuring)
    setup = Setup(iterations=1, steps=2, particles=3, documents=8)
    for name in ("planes", "ciphers"):
        known.known(name, setup)
    found = known.known("ciphers", dataclasses.replace(setup, thinking=(3, 2)))
    assert found["thinking"] == [3, 2]
    assert train == [(8, 4), (4, 1), (3, 2)]
    assert score == [(2, 3)] * 3


def test_what_the_command_asks_for_is_what_is_trained(monkeypatch):
    asked = []
    monkeypatch.setattr(known, "known", lambda name, setup, seed: asked.append(setup) or {})
    monkeypatch.setattr(known, "line", lambda found: "")
    known.main(["--of", "topics"])
    known.main(["--of", "topics", "--thinking", "8", "4", "--particles", "2", "--certified", "3"])
    assert asked[0] == Setup()
    assert asked[1] == Setup(thinking=(8, 4), particles=2, certified=3)


def test_the_entropy_beside_a_certificate_is_of_documents_that_it_holds():
    exact = torch.tensor([10.0, 1000.0, 30.0]).numpy()
    documents = [
        {"certified": True, "tokens": 4}, {"certified": False, "tokens": 7},
        {"certified": True, "tokens": 6},
    ]  # fmt: skip
    assert known.exact_of(documents, exact) == 4.0
    assert known.exact_of([{"certified": False, "tokens": 7}], exact[:1]) is None


def test_each_corpus_has_a_configuration():
    assert set(known.CONFIGS) == set(known.KNOWN)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_scored_was_not_trained_on_and_nothing_is_read_twice(seed):
    setup = Setup(iterations=2, documents=128)
    train, test = known.texts("topics", setup, seed)
    assert len(train) == 2 * known.CONFIGS["topics"].training.batch == len(test.rows)
    both = torch.cat([train.tokens, test.rows.tokens])
    assert len(both.unique(dim=0)) == 2 * 128


def test_a_reader_finds_the_code_that_is_there():
    """Of codes written plainly into z, all of it; of noise, nothing (less, for it overfits)."""
    source = torch.Generator().manual_seed(0)
    code = torch.randint(8, (2000,), generator=source)
    noise = torch.randn(2000, 10, generator=source)
    plain = torch.nn.functional.one_hot(code, 8) * 20.0 + torch.randn(2000, 8, generator=source)
    told = recovered(plain, code)
    assert told["accuracy"] > 0.99
    assert 0.95 * math.log(8) < told["information"] <= math.log(8)
    none = recovered(noise, code)
    assert none["information"] < 0.02
    # Chance is one in eight, with a binomial error on a thousand codes.
    assert abs(none["accuracy"] - 1 / 8) < 4 * math.sqrt(1 / 8 * 7 / 8 / 1000)


def test_of_points_it_is_what_a_gaussian_channel_carries():
    """z = code + noise of variance v, twice: the mutual information is log(1 + 1/v) in a plane."""
    source = torch.Generator().manual_seed(0)
    code = torch.randn(20_000, 2, generator=source)
    for variance in (0.25, 4.0):
        z = code + variance**0.5 * torch.randn(20_000, 2, generator=source)
        told = recovered(z, code)
        assert told["information"] == pytest.approx(math.log1p(1 / variance), abs=0.04)
        assert told["accuracy"] == pytest.approx(1 / (1 + variance), abs=0.03)
