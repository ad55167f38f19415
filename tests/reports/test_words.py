"""What a page says of figures, in words and in the right unit."""

import math

import numpy as np
import pytest

from ltm_pyro.bounds.figures import Figure
from ltm_pyro.bounds.in_html import standing
from ltm_pyro.bounds.report import Report
from ltm_pyro.reports.pair import flat
from ltm_pyro.reports.words import (
    cautions,
    document_gains,
    earned,
    figure_tables,
    gains,
    in_short,
    lower,
)

NAN = (math.nan, math.nan)


def figure(name, nats, **rest):
    tokens = np.full(len(nats), 50.0)
    return Figure(name, "made so", np.asarray(nats, float), tokens, 4 * tokens, **rest)


@pytest.mark.parametrize(
    ("ends", "said", "which"),
    [
        ((-2.0, -1.0), "thoughts cost, or the fit is loose", "A is lower"),
        ((1.0, 2.0), "thoughts earn", "B is lower"),
        ((-1.0, 1.0), "cannot be told from these documents", "these documents do not tell them"),
        (NAN, "too few documents to tell", "too few documents to tell"),
    ],
)
def test_an_interval_in_words(ends, said, which):
    assert earned(ends, "prior") == said
    assert lower(ends, "A", "B").startswith(which)


def test_what_may_be_called_a_likelihood():
    one = figure("elbo", [1.0])
    kinds = {"elbo": "a bound", "baseline": "exact", "upper": "a bound from below"}
    for name, said in kinds.items():
        assert standing(figure(name, [1.0])) == said
    assert standing(figure("same_noise", [1.0], is_bound=False)) == "NOT A BOUND"
    assert in_short(one).endswith("nats/token, perplexity 1.02")


def test_nats_of_another_site_are_never_divided_by_tokens():
    rating, text, kl = np.array([3.0, 0.0]), np.array([200.0, 210.0]), np.array([5.0, 5.0])
    sites = {"observed": ("stars", "tokens"), "known": {"stars": 1}}
    parts = {"stars": rating, "tokens": text, "kl": kl}
    elbo = figure("elbo", rating + text + kl, parts=parts, **sites)
    prior = figure("prior", elbo.nats - 20, **sites)
    report = Report({"elbo": elbo, "prior": prior})
    *_, table = figure_tables([("", report)])
    cells = {row[1]: row[2:] for row in table.rows}
    assert cells["stars"] == ["–", "1.5000 ± 1.5000", "1 of 2"]
    assert cells["tokens"][0] == "4.1000"
    assert cells["kl"][0] == "–"
    assert in_short(elbo) == "211.5000 ± 3.5000 nats/document of stars, tokens"
    assert gains(report) == []  # no part of `prior` tells its tokens
    (row,) = document_gains(report).rows
    assert row[1].startswith("-20.0000")
    assert row[3].startswith("thoughts cost")
    told = [text.text for text in cautions([("", report)])]
    assert any("worse than none" in one for one in told)
    assert any("one training each" in one for one in told)


def test_empty_options_are_no_setting():
    assert flat({"prior": {"name": "mixture", "options": {}}}) == {"prior.name": '"mixture"'}
