"""The released code's figure is that of its own guide, start, optimizer and rates."""

import functools
import math

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro import guides
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.inference.released import Released, released_fit
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.seeds import Noise, Stream, derive

from ..conftest import some_rows


def by_hand(model, rows, steps, seed):
    """Its loop in plain torch: one draw e, means from 0, log variances from -5 +- 0.1, AdamW."""
    task = derive(seed, Stream.TASK)
    shape = (len(rows), *model.thoughts.shape)
    with Noise(derive(task, Stream.SAME_NOISE, 1), rows.key).tensors(dim=0):
        log_variance = torch.randn(shape).mul_(0.1).sub_(5.0)
    with Noise(derive(task, Stream.SAME_NOISE), rows.key).tensors():
        e = torch.randn(1, *shape)[0]
    mean = torch.zeros(shape)
    optimizer = torch.optim.AdamW([mean.requires_grad_(), log_variance.requires_grad_()], lr=1.0)

    def nats():
        z = mean + e * (0.5 * log_variance).exp()
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)
        scored = TokenSequence(model.decoder, z[None], rows.lengths, rows.tokens.shape[1])
        return kl - scored.log_prob(rows.tokens)[0]

    for step in range(steps):
        rate = 0.034 + 0.5 * (1 + math.cos(math.pi * step / steps)) * (0.34 - 0.034)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        nats().sum().backward()
        optimizer.step()
    return nats().detach().numpy(), log_variance.detach()


OTHERS = {
    "fresh": {},
    "natural": {"fast": Fast(steps=5, lr=1.0, optimizer="NaturalGradient")},
    "wide": {"guide": functools.partial(guides.MeanField, log_variance=1.0)},
    "mixture": {"guide": guides.Mixture},
    "released": {"fast": Released(5)},
}


def test_it_is_the_released_loop_whatever_the_run_does(model, rows):
    wanted, _ = by_hand(model, rows, 5, seed=3)
    for name, other in OTHERS.items():
        options = {"fast": Fast(steps=5), **other}
        found = ltm.evaluate(model, rows, ["same_noise"], seed=3, progress=False, **options)
        np.testing.assert_allclose(found["same_noise"].nats, wanted, rtol=1e-4, err_msg=name)


def test_start_and_draw_share_no_number(model, rows):
    start, noise = Noise(1, rows.key), Noise(2, rows.key, fixed=True)
    fitted = released_fit(model, rows, 0, noise, start)
    apart = (fitted.log_variance.detach() + 5) / 0.1
    assert float(apart.std()) == pytest.approx(1.0, abs=4 / math.sqrt(2 * apart.numel()))
    with noise.tensors():
        e = torch.randn(1, *apart.shape)[0]
    assert abs(float(torch.corrcoef(torch.stack([apart.flatten(), e.flatten()]))[0, 1])) < 0.6
    assert not fitted.loc.any()


def test_the_mean_of_perplexities_stands_beside_that_of_the_corpus(model):
    rows = some_rows(7)
    report = ltm.evaluate(model, rows, ["elbo:2", "same_noise"], chunk=3, repeat=0, progress=False)
    one = report["same_noise"]
    mean = np.exp(one.nats / one.tokens).mean()
    assert one.mean_perplexity == pytest.approx(mean)
    assert one.mean_perplexity > one.perplexity
    assert one.to_dict()["mean_of_row_perplexities"] == pytest.approx(mean)
    assert f"calls perplexity: {mean:.2f}" in str(report)
    assert report["elbo"].mean_perplexity is None
    assert "mean_of_row_perplexities" not in report["elbo"].to_dict()
    # of rows, as that code has it, though two of them be one document
    shared = ltm.Rows(rows.tokens, rows.lengths, torch.tensor([0, 0, 1, 2, 3, 4, 5]), rows.bytes)
    again = ltm.evaluate(model, shared, ["same_noise"], progress=False)["same_noise"]
    assert again.mean_perplexity == pytest.approx(mean, rel=1e-5)


def test_a_model_without_thoughts_is_refused(config, rows):
    with pytest.raises(InputError, match="no thoughts, which the released protocol fits"):
        ltm.evaluate(AutoregressiveModel(config), rows, ["same_noise"], progress=False)
