"""Runs of models with programs of their own: trained, resumed, saved, scored, written from."""

import dataclasses
import json

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.config import Data, Named
from ltm_pyro.errors import InputError
from ltm_pyro.inference import Hierarchical
from ltm_pyro.inference.posterior import infer
from ltm_pyro.runs.build import build_model, shared_of
from ltm_pyro.runs.looks import held_out
from ltm_pyro.runs.training import for_corpus

from . import programs
from .helpers import equal, train, weights, with_training


def model_named(cls):
    return Named(f"{programs.__name__}:{cls}")


@pytest.fixture
def rated_file(tmp_path):
    """Documents on two topics, some without a topic, some without a rating."""
    words = {"sea": ["wave", "fish", "sail"], "wood": ["tree", "leaf", "root"]}
    lines = []
    for i in range(60):
        topic = list(words)[i % 2]
        text = f"{i}: " + " ".join(words[topic][j % 3] for j in range(3 + i % 6))
        topic = None if i % 5 == 0 else topic
        rating = None if i % 4 == 0 else i % 2 - 0.5
        lines.append(json.dumps({"text": text, "topic": topic, "rating": rating}))
    path = tmp_path / "rated.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def of(config, rated_file):
    """Makes the configuration of a model with a program of its own."""

    def make(cls, **changes):
        data = Data(str(rated_file), vocabulary=300, columns=("topic",), numbers=("rating",))
        made = config.replace(**{"data": data, "model": model_named(cls), **changes})
        return for_corpus(made, ltm.load_data(made))

    return make


def test_numbers_are_read_as_numbers_and_missing_ones_are_nan(rated_file):
    corpus = ltm.load_corpus(rated_file, vocabulary=300, numbers="rating")
    ratings = corpus.rows("all").columns["rating"]
    assert ratings.dtype == torch.float32
    assert corpus.train[:3].hiding("rating").columns["rating"].isnan().all()
    assert ratings.isnan().sum() == 15
    assert sorted(set(ratings[~ratings.isnan()].tolist())) == [-0.5, 0.5]
    assert "rating: a number" in str(corpus)


def test_a_value_that_is_no_number_is_told(rated_file):
    with pytest.raises(InputError, match=r"column 'topic' holds 'wood': expected a finite number"):
        ltm.load_corpus(rated_file, vocabulary=300, numbers=["topic"])
    far = [{"text": f"{i} wave", "rating": "1e39"} for i in range(40)]
    with pytest.raises(InputError, match=r"column 'rating' holds '1e39': expected a finite numb"):
        ltm.load_corpus(far, vocabulary=300, numbers=["rating"])
    with pytest.raises(InputError, match=r"'rating' is to be kept as a value and as a number"):
        ltm.load_corpus(rated_file, vocabulary=300, numbers=["rating"], columns=["rating"])


def test_numbers_are_kept_in_the_cache(rated_file, monkeypatch, tmp_path):
    monkeypatch.setenv("LTM_PYRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ltm_pyro.data.cache.FROM_BYTES", 1)
    made, kept = (
        ltm.load_corpus(rated_file, vocabulary=300, columns=["topic"], numbers=["rating"])
        for _ in range(2)
    )
    assert kept.numbers == made.numbers == ("rating",)
    for name in ("topic", "rating"):
        torch.testing.assert_close(
            kept.train.columns[name], made.train.columns[name], equal_nan=True
        )


@pytest.mark.parametrize("cls", ["Rated", "Labelled", "Regressed"])
def test_a_run_resumed_ends_as_one_that_never_stopped(of, tmp_path, cls):
    config = of(cls)
    whole = train(with_training(config, steps=4), tmp_path / "whole")
    train(with_training(config, steps=2), tmp_path / "stopped")
    gone_on = train(with_training(config, steps=4), tmp_path / "stopped", resume=True)
    assert type(gone_on.model) is getattr(programs, cls)
    assert equal(weights(whole.model), weights(gone_on.model))
    if cls == "Regressed":
        assert equal(weights(shared_of(whole.guide)), weights(shared_of(gone_on.guide)))
        assert shared_of(gone_on.guide).loc[0].abs().max() > 0  # it was trained


def test_a_look_is_of_the_tokens_alone_and_of_all_sites(of, tmp_path):
    run = train(of("Rated"), tmp_path / "run")
    last = run.log()[-1]
    corpus = ltm.load_data(run.config)
    rows = held_out(corpus, run.config.training.check_rows)
    report = ltm.evaluate(
        run.model, rows, ["elbo:4"], guide=run.guide, fast=run.config.fast,
        seed=run.config.training.seed, repeat=0, progress=False,
    )  # fmt: skip
    for key, value in (
        ("held_out_elbo_per_document", report["elbo"].nats_per_document),
        ("held_out_elbo", report["elbo"].nats_per_token),
    ):
        assert last[key] == pytest.approx(value, abs=0.3)
    assert last["held_out_elbo_per_document"] > 3 * last["held_out_elbo"]
    assert "held_out_earned" not in last  # no part of `prior` tells its tokens


@pytest.mark.parametrize("cls", ["Rated", "Labelled", "Regressed"])
def test_what_was_trained_from_python_is_saved_as_such_a_run(of, tmp_path, cls, capsys):
    config = of(cls)
    corpus, model = ltm.load_data(config), build_model(config)
    guide = (
        Hierarchical.of(model, rows=corpus.train) if cls == "Regressed" else ltm.guides.MeanField
    )
    svi = ltm.DualRateSVI(model, guide, config.fast, config.slow)
    svi.fit(corpus.train, 2, batch_size=4, progress=False)
    saved = ltm.save(tmp_path / "saved", model, svi=svi, corpus=corpus)
    assert saved.config.model == dataclasses.replace(
        config.model, options={"noise": 0.5} if cls == "Rated" else {}
    )
    rows = corpus.train[:4]
    one, other = (
        ltm.evaluate(m, rows, ["elbo:2"], guide=g, fast=config.fast, repeat=0, progress=False)
        for m, g in ((model, svi.guide), (saved.model, saved.guide))
    )
    assert one["elbo"].nats_per_document == other["elbo"].nats_per_document
    capsys.readouterr()
    for command in (["evaluate", "--split", "train", "--json"], ["generate"], ["info", "--verify"]):
        assert cli.main([command[0], str(tmp_path / "saved"), *command[1:]]) == 0, command
    training = ["train", "--resume", "--out", str(tmp_path / "saved"), "--steps", "3", "--quiet"]
    assert cli.main(training) == 0


def test_thoughts_of_a_label_come_from_its_own_prior(of):
    model = build_model(of("Labelled"))
    with torch.no_grad():
        model.means[0], model.means[1] = -9.0, 9.0
    tokenizer = ltm.load_data(model.config).tokenizer
    for label, sign in (("sea", -1), ("wood", 1)):
        found = ltm.generate(model, tokenizer, n=3, length=2, where={"topic": label})
        assert (found.thoughts * sign > 2).all()
        assert found.protocol == f"z ~ p(z | topic={label})"
    either = ltm.generate(model, tokenizer, n=16, length=2).thoughts[:, 0, 0, 0]
    assert either.min() < -2 < 2 < either.max()


def test_thoughts_of_a_rating_are_fitted_to_it(of):
    """Of z ~ N(0, I) and r ~ N(w z, s^2) the mean of w z given r is r |w|^2 / (|w|^2 + s^2)."""
    model = build_model(of("Rated"))
    with torch.no_grad():
        model.read_out.weight.fill_(1.0)
        model.read_out.bias.zero_()
    tokenizer = ltm.load_data(model.config).tokenizer
    fast = dataclasses.replace(ltm.Fast.quick(30), particles=64)
    found = ltm.generate(model, tokenizer, n=200, length=2, where={"rating": 3.0}, fast=fast)
    assert found.protocol == "z ~ q(z | rating=3.0)"
    read = found.thoughts.sum((1, 2, 3))
    size = found.thoughts[0].numel()
    expected = 3.0 * size / (size + 0.25)
    # q has the posterior's mean and, in each dimension, 1 / (1 + 1 / s^2) for a variance.
    error = (size / 5 / 200) ** 0.5
    assert abs(read.mean() - expected) < 4 * error
    missing = ltm.generate(model, tokenizer, n=200, length=2)
    assert missing.protocol == "z ~ p(z)"
    assert abs(missing.thoughts.sum((1, 2, 3)).mean()) < 4 * (size / 200) ** 0.5


def test_a_rating_tells_of_what_stands_before_thoughts_too(of):
    """mood ~ N(0, 1), stars ~ N(mood, 0.1^2), z ~ N(mood, 1): z is near what was observed."""
    model = build_model(of("Moody"))
    tokenizer = ltm.load_data(model.config).tokenizer
    fast = dataclasses.replace(ltm.Fast.quick(30), particles=32)
    for rating in (-2.0, 2.0):
        found = ltm.generate(model, tokenizer, n=60, length=2, where={"rating": rating}, fast=fast)
        assert found.protocol == f"z ~ q(z | rating={rating})"
        means = found.thoughts.flatten(1).mean(1)
        assert abs(means.mean() - rating / 1.01) < 0.5
    assert abs(ltm.generate(model, tokenizer, n=60, length=2).thoughts.mean()) < 0.6


def test_a_shared_simplex_has_its_place_everywhere(of, tmp_path):
    """Its real numbers are one fewer than its values."""
    run = train(of("Tabled"), tmp_path / "run")
    found = ltm.generate(run.model, run.tokenizer, n=2, length=3, guide=run.guide)
    assert found.thoughts.isfinite().all()
    rows = ltm.load_data(run.config).train[:4]
    posterior = infer(run.model, rows, run.guide, run.config.fast)
    tree = ltm.to_datatree(posterior, draws=6, posterior_predictive=False)
    for group in ("posterior", "prior"):
        shares = tree[group]["shares"]
        assert shares.shape == (1, 6, 3)
        assert tree[group]["table"].shape == (1, 6, 2, 3)
        assert abs(shares.values.sum(-1) - 1).max() < 1e-5
    middle = shared_of(run.guide).quantiles(0.5)
    assert middle["shares"].shape == (1, 3)
    assert middle["table"].shape == (1, 2, 3)
    torch.testing.assert_close(middle["table"].sum(-1), torch.ones(1, 2))


def test_a_guide_of_ones_own_may_sample_what_documents_share(of, tmp_path):
    """Then it is taken as it is, and looks ask for what such a model can be asked for."""
    guide = Named(f"{programs.__name__}:Whole")
    run = train(of("Regressed", guide=guide), tmp_path / "run")
    assert run.guide.func is programs.Whole
    assert any("held_out_elbo" in line for line in run.log())
    assert cli.main(["evaluate", str(run.path), "--split", "train", "--json"]) == 0


def test_thoughts_under_shared_sites_average_over_their_guide(of, tmp_path):
    run = train(of("Regressed"), tmp_path / "run")
    shared = shared_of(run.guide)
    with torch.no_grad():
        shared.loc[0].fill_(8.0)
        shared.log_scale[0].fill_(-4.0)
    mean = shared.summary()["weight"][0]
    for x in (-2.0, 2.0):
        found = ltm.generate(
            run.model, run.tokenizer, n=40, length=2, where={"rating": x}, guide=run.guide
        )
        gap = found.thoughts.mean(0) - x * mean
        assert gap.abs().max() < 5 / 40**0.5
    with pytest.raises(InputError, match=r"weight once for all .* guide is not given: guide=run"):
        ltm.generate(run.model, run.tokenizer, length=2)


def test_mistakes_are_told(of, tmp_path, config, rated_file):
    lacking = of("Rated", data=Data(str(rated_file), vocabulary=300, columns=("topic",)))
    with pytest.raises(InputError, match=r"Rated reads the column 'rating', and these rows have t"):
        train(lacking, tmp_path / "lacking")
    with pytest.raises(InputError, match=r"unknown model 'rated': known are latent-thought-model"):
        train(of("Rated").replace(model=Named("rated")), tmp_path / "unknown")
    with pytest.raises(InputError, match=r"model .*Labelled takes no prior, and samples one of it"):
        train(of("Labelled", prior=Named("mixture")), tmp_path / "prior")
    mute = train(of("Mute"), tmp_path / "mute")
    with pytest.raises(InputError, match=r"Mute\.forward returns None: expected z, as in `return"):
        ltm.generate(mute.model, mute.tokenizer, length=2, guide=mute.guide)
    with pytest.raises(InputError, match=r"column 'rating' holds 'high': expected a finite number"):
        ltm.generate(mute.model, mute.tokenizer, where={"rating": "high"}, guide=mute.guide)
