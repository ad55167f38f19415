"""Figures are scored with draws that the fit never saw, each made once."""

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import predictive
from ltm_pyro.config import Fast
from ltm_pyro.models.likelihood import TokenSequence

from ..conftest import some_rows

STEPS = 3


@pytest.fixture
def scored(monkeypatch):
    """The thoughts of each evaluation of the likelihood, (draws, documents, ...)."""
    seen = []
    inner = TokenSequence.log_prob

    def spy(self, value):
        seen.append(self.z.detach().clone())
        return inner(self, value)

    monkeypatch.setattr(TokenSequence, "log_prob", spy)
    return seen


def repeats(draws, document):
    """How many of a document's thoughts were there before."""
    rows = torch.cat([z[:, document].flatten(1) for z in draws])
    return len(rows) - len(rows.unique(dim=0))


# At a rate of zero the guide stays N(0, I), and a draw that is made again is the same number.
@pytest.mark.parametrize("figure", ["elbo:1", "elbo:20", "iwae:1", "iwae:20", "prior:20"])
def test_no_draw_is_made_twice(model, rows, scored, figure):
    ltm.evaluate(model, rows, [figure], fast=Fast(steps=STEPS, lr=0.0), progress=False)
    assert sum(len(z) for z in scored) >= int(figure.split(":")[1])
    assert [repeats(scored, document) for document in range(len(rows))] == [0] * len(rows)


def test_a_block_is_scored_with_draws_that_its_fit_never_saw(model, scored, monkeypatch):
    rows, drawn = some_rows(5, full=True), []
    inner = predictive.draw_latents
    monkeypatch.setattr(predictive, "pieces", lambda draws: [1] * draws)  # as the fit draws
    monkeypatch.setattr(
        predictive, "draw_latents", lambda *a: drawn.append(inner(*a)["z"]) or {"z": drawn[-1]}
    )
    fast = Fast(steps=STEPS, lr=0.0)
    ltm.evaluate(model, rows, ["predictive:6"], fast=fast, repeat=0, progress=False)
    assert len(drawn) == predictive.FIRST + predictive.DRAWS
    fits = [z for z in scored if z.shape[1] == len(rows)]
    assert len(fits) >= STEPS
    seen = [*fits[:STEPS], *drawn[predictive.FIRST :]]
    assert [repeats(seen, document) for document in range(len(rows))] == [0] * len(rows)


def test_the_released_protocol_makes_one_draw(model, rows, scored, monkeypatch):
    monkeypatch.setattr("ltm_pyro.inference.released.RATE", 0.0)
    ltm.evaluate(model, rows, ["same_noise"], fast=Fast(steps=STEPS), progress=False)
    assert repeats(scored, 0) == len(scored) - 1 == STEPS


def test_nor_are_samples_those_of_the_fit(model, rows, scored):
    posterior = ltm.DualRateSVI(model, fast=Fast(steps=STEPS, lr=0.0)).infer(rows)
    fitted = list(scored)
    assert len(fitted) == STEPS
    for draws in (1, 20):  # one at a time they would be the fit's own numbers
        assert repeats([*fitted, posterior.sample(draws)], 0) == 0
        assert repeats([*fitted, posterior.elbo(draws).z], 0) == 0
