import dataclasses
import gc
import math
import weakref

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.bounds import paired_difference
from ltm_pyro.bounds.estimate import BOUNDS
from ltm_pyro.bounds.gathering import by_document
from ltm_pyro.config import Fast
from ltm_pyro.errors import InputError
from ltm_pyro.models import AutoregressiveModel

from ..conftest import some_rows


def evaluate(model, rows, *bounds, **rest):
    return ltm.evaluate(model, rows, bounds, fast=Fast(steps=4), progress=False, **rest)


def test_figures_of_one_model(config, model, rows):
    report = evaluate(model, rows, "elbo:8", "prior:8", baseline=AutoregressiveModel(config))
    assert set(report.figures) == {"elbo", "prior", "baseline"}
    elbo = report["elbo"]
    np.testing.assert_allclose(
        elbo.nats, elbo.parts["reconstruction"] + elbo.parts["kl"], rtol=1e-6
    )
    with pytest.raises(InputError, match=r"figure 'elbo:8': did you mean 'elbo'"):
        report["elbo:8"]
    assert elbo.documents == 5
    assert elbo.tokens.sum() == rows.token_count
    assert elbo.draws == 8
    assert 0 < elbo.monte_carlo_error < 1
    assert all(f.is_bound for f in report.figures.values())
    assert report["baseline"].nats_per_token == pytest.approx(math.log(20), rel=0.01)
    required = {"nats_per_token", "perplexity", "bits_per_byte", "standard_error", "documents",
                "protocol"}  # fmt: skip
    assert all(required <= set(one) for one in report.to_dict().values())


def test_the_baseline_is_the_exact_likelihood(config, rows):
    model = AutoregressiveModel(config)
    got = evaluate(model, rows, "baseline", baseline=model)["baseline"].nats
    for i in range(5):
        n = int(rows.lengths[i])
        hidden = model.decoder(rows.tokens[[i], :n])[0]
        log_p = (hidden @ model.decoder.head.T).log_softmax(-1)
        by_hand = -log_p[torch.arange(n), rows.tokens[i, :n]].sum()
        assert got[i] == pytest.approx(by_hand.item(), rel=1e-5)


def test_padding_and_chunks_change_nothing_about_the_exact_figure(config, rows):
    model = AutoregressiveModel(config)
    whole = evaluate(model, rows, "baseline", baseline=model)["baseline"].nats
    apart = evaluate(model, rows, "baseline", baseline=model, chunk=1)["baseline"].nats
    np.testing.assert_allclose(whole, apart, rtol=1e-5)
    scribbled = ltm.Rows(
        torch.where(rows.mask, rows.tokens, 3), rows.lengths, rows.document, rows.bytes
    )
    again = evaluate(model, scribbled, "baseline", baseline=model)["baseline"].nats
    np.testing.assert_allclose(whole, again, rtol=1e-6)


def test_rows_of_one_document_are_summed(model):
    rows = some_rows(6)
    shared = ltm.Rows(rows.tokens, rows.lengths, torch.tensor([4, 4, 7, 7, 7, 9]), rows.bytes)
    figure = evaluate(model, shared, "prior:4")["prior"]
    assert figure.documents == 3
    alone = evaluate(model, rows, "prior:4")["prior"]
    np.testing.assert_allclose(
        figure.nats, [alone.nats[:2].sum(), alone.nats[2:5].sum(), alone.nats[5]], rtol=1e-6
    )
    assert by_document(shared.lengths, shared).sum() == shared.token_count


def test_the_released_protocol_looks_better_and_says_it_is_no_bound(model):
    rows = some_rows(24, full=True)
    found = ltm.evaluate(
        model,
        rows,
        ("elbo:32", "same_noise"),
        fast=Fast(steps=64, lr=0.1),
        repeat=0,
        progress=False,
    )
    gap, error = found.difference("elbo", "same_noise")
    assert gap > 5 * error > 0
    assert not found["same_noise"].is_bound
    assert "NOT A BOUND" in str(found)


def test_same_seed_same_figures(model, rows):
    first, second = (evaluate(model, rows, "elbo:2", seed=3)["elbo"].nats for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, evaluate(model, rows, "elbo:2", seed=4)["elbo"].nats)


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ("elbw", "unknown bound 'elbw': did you mean 'elbo'"),
        ("elbo:x", "after the colon stands a whole number"),
        ("elbo:0", "after the colon stands a whole number"),
        ("baseline:3", "takes no number"),
        ("baseline", "no baseline to score"),
    ],
)
def test_wrong_bounds_are_named(model, rows, bound, message):
    with pytest.raises(InputError, match=message):
        evaluate(model, rows, bound)
    with pytest.raises(InputError, match="no rows to score"):
        evaluate(model, rows[:0], "elbo")
    assert "elbo" in BOUNDS


def test_bits_are_of_the_bytes_of_each_document(model, rows):
    joined = dataclasses.replace(rows, document=torch.tensor([0, 0, 0, 1, 1]))
    found = ltm.evaluate(model, joined, ["prior:2"], repeat=0, progress=False)["prior"]
    sizes = rows.bytes.tolist()
    assert found.bytes.tolist() == [sum(sizes[:3]), sum(sizes[3:])]
    assert found.bits_per_byte == pytest.approx(found.nats.sum() / math.log(2) / sum(sizes))


def test_the_released_perplexity_is_the_mean_of_each_rows_own(model, rows):
    """Whatever documents they are of, and no matter how long they are."""
    scored = {"bounds": ["same_noise"], "fast": Fast(steps=2), "repeat": 0, "progress": False}
    found = ltm.evaluate(model, rows, **scored)["same_noise"]
    each = np.exp(found.nats / found.tokens)
    assert abs(each.mean() - found.perplexity) > 0.01 * found.perplexity
    assert found.mean_perplexity == pytest.approx(each.mean(), rel=1e-6)
    joined = dataclasses.replace(rows, document=torch.tensor([0, 0, 0, 1, 1]))
    again = ltm.evaluate(model, joined, **scored)["same_noise"]
    assert again.mean_perplexity == pytest.approx(each.mean(), rel=1e-6)


def test_other_documents_of_the_same_lengths_are_not_paired(model):
    figures = [
        ltm.evaluate(model, some_rows(4, seed=s, full=True), ["prior:2"], progress=False)["prior"]
        for s in (0, 1)
    ]
    with pytest.raises(ValueError, match="not scored on the same documents"):
        paired_difference(*figures)


def test_protocols_name_guide_and_loop(config, model, rows):
    import functools

    narrow = functools.partial(ltm.guides.MeanField, log_variance=-2.0)
    fast = Fast(steps=3, lr=0.1, optimizer="RMSprop")
    names = ["elbo:2", "iwae:2", "predictive:6", "ais:2", "same_noise"]
    report = ltm.evaluate(
        model, rows, names, guide=narrow, fast=fast, baseline=AutoregressiveModel(config),
        repeat=0, progress=False,
    )  # fmt: skip
    how = "MeanField(log_variance=-2.0), 3 fast steps of RMSprop at 0.1"
    for name in ("elbo", "iwae", "predictive", "ais"):
        assert how in report[name].protocol
    sizes = [m.parameter_count() for m in (AutoregressiveModel(config), model)]
    told = report["baseline"].protocol
    assert f"({sizes[0]:,} beside {sizes[1]:,} parameters, " in told
    assert "million FLOPs a token of an iteration with this fast loop" in told


def test_another_guide_or_decoder_is_counted_anew(config, model, rows):
    """Functions of one name and parts of one kind are told apart, as what they are."""
    baseline = AutoregressiveModel(config)
    wider = config.replace(architecture=dataclasses.replace(config.architecture, feedforward=200))

    def spent(guide):
        report = ltm.evaluate(
            model, rows, ["prior:1"], guide=guide, fast=Fast(steps=2),
            baseline=baseline, repeat=0, progress=False,
        )  # fmt: skip
        return report["baseline"].protocol

    kinds = ltm.guides.MeanField, ltm.guides.Flow
    assert len({spent(lambda *of, kind=kind: kind(*of)) for kind in kinds}) == 2
    before = spent(kinds[0])
    model.decoder = ltm.models.LatentThoughtModel(wider).decoder
    assert spent(kinds[0]).split("parameters")[1] != before.split("parameters")[1]


def test_what_was_counted_keeps_no_model_alive(config, rows):
    models = [ltm.models.LatentThoughtModel(config), AutoregressiveModel(config)]
    kept = [weakref.ref(model.decoder) for model in models]
    ltm.evaluate(
        models[0], rows, ["prior:1"], fast=Fast(steps=1), baseline=models[1], repeat=0,
        progress=False,
    )  # fmt: skip
    models.clear()
    gc.collect()
    assert [one() for one in kept] == [None, None]


def test_the_arithmetic_of_both_sides_is_counted_once(model, rows, config, monkeypatch):
    from ltm_pyro.bounds import elbo

    asked, count = [], elbo.training_flops
    monkeypatch.setattr(elbo, "training_flops", lambda *a: (asked.append(a), count(*a))[1])
    baseline = AutoregressiveModel(config)
    ltm.evaluate(model, rows, ["prior:2"], baseline=baseline, chunk=2, repeat=0, progress=False)
    assert len(rows) > 2
    assert len(asked) == 2  # the model's and the baseline's
