"""The truth of each corpus is the truth: against enumeration, simulation and finer grids."""

import itertools
import math

import pytest
import torch

from ltm_pyro.data import synthetic
from ltm_pyro.data.synthetic import KNOWN, ciphers, plane_log_prob, planes, templates, topics
from ltm_pyro.errors import InputError


def made(name, rows, seed=0):
    if name == "templates":
        return templates(rows, seed=seed)
    return KNOWN[name](rows, 20, seed=seed)


@pytest.mark.parametrize("name", KNOWN)
def test_the_world_is_the_same_whatever_the_seed_and_documents_are_not(name):
    one, again, other = (made(name, 40, seed) for seed in (0, 0, 1))
    assert torch.equal(one.rows.tokens, again.rows.tokens)
    assert not torch.equal(one.rows.tokens, other.rows.tokens)
    # Each seed's mean cost estimates the same entropy.
    many, others = made(name, 300), made(name, 300, seed=1)
    error = math.hypot(*(float(k.nats.std()) / 300**0.5 for k in (many, others)))
    assert abs(float(many.nats.mean() - others.nats.mean())) < 4 * error + 1e-9


@pytest.mark.parametrize("name", KNOWN)
def test_knowing_the_code_costs_less_on_average(name):
    """By the mutual information of text and code, which lies between 0 and the code's entropy."""
    known = made(name, 200)
    told = known.nats - known.nats_given_code
    error = float(told.std()) / 200**0.5
    assert float(told.mean()) > 3 * error
    if name != "planes":
        assert float(told.mean()) < math.log(16) + 1e-9
    assert known.nats_per_token > known.nats_per_token_given_code >= 0


@pytest.mark.parametrize("make", [topics, ciphers])
def test_probabilities_of_all_documents_sum_to_one(make):
    """Of three words and two or three tokens: every document there is, by enumeration."""
    for tokens in (2, 3):
        seen = {}
        known = make(4000, tokens, words=3)
        for row, nats in zip(known.rows.tokens.tolist(), known.nats.tolist(), strict=True):
            seen[tuple(row)] = nats
        assert len(seen) == 3**tokens  # each of them was drawn
        total = sum(math.exp(-nats) for nats in seen.values())
        assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("make", [topics, ciphers])
def test_documents_come_as_often_as_is_said(make):
    """Chi-square over all documents of two tokens, with a bound at four standard deviations."""
    known = make(20_000, 2, words=4)
    index = known.rows.tokens[:, 0] * 4 + known.rows.tokens[:, 1]
    counts = torch.bincount(index, minlength=16).double()
    expected = torch.zeros(16, dtype=torch.float64)
    expected[index] = 20_000 * (-known.nats).exp()
    likely = expected > 5
    chi = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    freedom = int(likely.sum()) - 1
    assert abs(float(chi) - freedom) < 4 * math.sqrt(2 * freedom)


def test_a_template_costs_its_word_once():
    known = templates(300)
    tokens = known.rows.tokens
    slots = tokens[:, synthetic.APART // 2 :: synthetic.APART]
    assert slots.shape[1] == synthetic.SLOTS
    assert bool((slots == known.code[:, None]).all())
    rest = torch.ones(tokens.shape[1], dtype=torch.bool)
    rest[synthetic.APART // 2 :: synthetic.APART] = False
    assert bool((tokens[:, rest] == tokens[0, rest]).all())
    assert bool((tokens[:, rest] >= 16).all())  # no filler elsewhere: a slot is known by its place
    assert known.nats.tolist() == pytest.approx([math.log(16)] * 300)


def test_quadrature_is_exact():
    """Half the step gives the same; and all documents of two tokens have probability one."""
    source = torch.Generator().manual_seed(3)
    weights = 1.5 * torch.randn(5, 2, generator=source, dtype=torch.float64)
    long = torch.randint(5, (6, 200), generator=source)
    coarse, fine = (plane_log_prob(long, weights, step) for step in (0.05, 0.025))
    assert (coarse - fine).abs().max() < 1e-8
    every = torch.tensor(list(itertools.product(range(5), repeat=2)))
    assert float(plane_log_prob(every, weights).exp().sum()) == pytest.approx(1, abs=1e-7)


def test_quadrature_agrees_with_simulation():
    """Against a mean over draws of z: within four of its standard errors."""
    source = torch.Generator().manual_seed(3)
    weights = 1.5 * torch.randn(synthetic.WORDS, 2, generator=source, dtype=torch.float64)
    known = planes(3, 6)
    z = torch.randn(200_000, 2, dtype=torch.float64)
    scores = (z @ weights.T).log_softmax(-1)
    for tokens, nats in zip(known.rows.tokens, known.nats.tolist(), strict=True):
        likely = scores[:, tokens].sum(1).exp()
        error = float(likely.std()) / len(z) ** 0.5
        assert abs(float(likely.mean()) - math.exp(-nats)) < 4 * error


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: topics(0, 5), "rows is 0: expected a whole number, 1 or more"),
        (lambda: ciphers(4, 0), "tokens is 0"),
        (lambda: ciphers(4, 5, codes=0), "codes is 0"),
        (lambda: planes(4, 5, seed=-1), "seed is -1"),
        (lambda: planes(4, 5, scale=0.0), "scale is 0"),
        (lambda: templates(4, words=1), "words is 1"),
    ],
)
def test_impossible_sizes_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
