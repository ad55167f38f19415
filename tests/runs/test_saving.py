"""A model trained from Python becomes a run, which goes on as if it had always been one."""

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro import guides
from ltm_pyro.commands import cli
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel, decoders, priors
from ltm_pyro.runs import folder, saving, trainer
from ltm_pyro.seeds import seeded

from .helpers import equal, train, weights, with_training


@pytest.fixture
def made(run_config):
    """A model, a trainer and nothing else, as in a notebook."""
    config = run_config
    with seeded(config.training.seed):
        model = LatentThoughtModel(config, functools.partial(priors.Mixture, components=3))
    svi = ltm.DualRateSVI(model, guides.MeanField, config.fast, config.slow)
    return model, svi


def test_it_is_the_run_that_a_command_would_have_made(made, run_config, corpus, tmp_path):
    model, svi = made
    svi.fit(corpus.train, 4, run_config.training.batch, progress=False)
    saved = ltm.save(tmp_path / "saved", model, svi=svi, corpus=corpus)
    named = run_config.replace(prior=ltm.config.Named("mixture", {"components": 3, "spread": 0.5}))
    whole = train(named, tmp_path / "whole")
    assert equal(weights(saved.model), weights(whole.model))
    assert saved.config == whole.config
    assert saved.step == whole.step == 4
    for name in ("data", "seed", "versions"):
        assert saved.record[name] == whole.record[name]
    assert saved.tokenizer.encode("sea wave") == corpus.tokenizer.encode("sea wave")
    longer = with_training(named, steps=6)
    gone_on = [
        train(longer, tmp_path / name, corpus=corpus, resume=True) for name in ("saved", "whole")
    ]
    assert equal(*(weights(run.model) for run in gone_on))


def test_every_command_reads_it(made, corpus, tmp_path, capsys):
    model, svi = made
    svi.fit(corpus.train, 2, 4, progress=False)
    path = str(tmp_path / "saved")
    ltm.save(path, model, svi=svi, corpus=corpus)
    for command in (
        ["info", path], ["info", path, "--verify"], ["evaluate", path, "--split", "train"],
        ["generate", path, "--n", "1"],
    ):  # fmt: skip
        assert cli.main(command) == 0, command
    assert "2 of 2 iterations saved" in capsys.readouterr().out


def test_what_guides_share_is_kept(made, run_config, corpus, tmp_path):
    model, _ = made
    with seeded(0):
        guide = guides.Amortized.of(model)
    svi = ltm.DualRateSVI(model, guide, run_config.fast, run_config.slow)
    svi.fit(corpus.train, 2, 4, progress=False)
    run = ltm.save(tmp_path / "saved", model, svi=svi, corpus=corpus)
    assert equal(weights(run.guide.keywords["shared"]), weights(svi.shared))


def test_weights_alone(made, corpus, tmp_path):
    model, _ = made
    before = weights(model)
    run = ltm.save(tmp_path / "saved", model, corpus=corpus)
    assert run.step == 0
    assert equal(weights(run.model), before)
    assert equal(weights(model), before)
    gone_on = train(with_training(run.config, steps=2), tmp_path / "saved", corpus=corpus,
                    resume=True)  # fmt: skip
    assert gone_on.step == 2
    assert not equal(weights(gone_on.model), before)


def test_an_own_prior_is_kept_with_its_source_and_imported_when_trusted(
    run_config, corpus, tmp_path, monkeypatch
):
    (tmp_path / "kept_prior.py").write_text(
        "import pyro.distributions as dist\n"
        "from ltm_pyro.models.priors import Prior\n\n\n"
        "class Wide(Prior):\n"
        "    def distribution(self):\n"
        "        return dist.Normal(self.anchor, self.anchor + 2).expand(self.shape).to_event(3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import kept_prior

    model = LatentThoughtModel(run_config, kept_prior.Wide)
    path = tmp_path / "saved"
    ltm.save(path, model, corpus=corpus)
    assert "class Wide" in (path / "source.kept_prior.py").read_text()
    assert json.loads((path / "config.json").read_text())["config"]["prior"]["name"] == (
        "kept_prior:Wide"
    )
    monkeypatch.delitem(sys.modules, "kept_prior")
    with pytest.raises(InputError, match="only with --trust"):
        ltm.load(path)
    assert type(ltm.load(path, trust=True).model.prior).__name__ == "Wide"


def test_what_cannot_be_saved_is_told_and_nothing_is_written(made, run_config, corpus, tmp_path):
    model, svi = made
    path = tmp_path / "saved"

    class Other(LatentThoughtModel):
        pass

    for wrong in (Other(run_config), AutoregressiveModel(run_config)):
        with pytest.raises(InputError, match=type(wrong).__name__):
            ltm.save(path, wrong, corpus=corpus)
    with pytest.raises(InputError, match="svi trains another model"):
        ltm.save(path, LatentThoughtModel(run_config), svi=svi, corpus=corpus)
    narrow = dataclasses.replace(run_config.architecture, vocabulary=290)
    with pytest.raises(InputError, match="the configuration is for 290"):
        ltm.save(path, LatentThoughtModel(run_config.replace(architecture=narrow)), corpus=corpus)
    warm = ltm.DualRateSVI(model, warm=ltm.Warm(1))
    with pytest.raises(InputError, match=r"warm start, which only ltm.train keeps"):
        ltm.save(path, model, svi=warm, corpus=corpus)
    with pytest.raises(InputError, match="not fp32"):
        ltm.save(path, LatentThoughtModel(run_config).double(), corpus=corpus)
    frozen = LatentThoughtModel(run_config, priors.LearnedNormal)
    frozen.prior.requires_grad_(False)
    with pytest.raises(InputError, match=r"cannot be made again .*: leave svi out"):
        ltm.save(path, frozen, svi=ltm.DualRateSVI(frozen), corpus=corpus)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(NotFinite, match="is not finite"):
        ltm.save(path, model, corpus=corpus)
    assert not folder.holds_run(path)


def test_a_run_is_replaced_only_when_asked(made, corpus, tmp_path):
    model, _ = made
    ltm.save(tmp_path / "saved", model, corpus=corpus)
    with pytest.raises(InputError, match="already holds a run"):
        ltm.save(tmp_path / "saved", model, corpus=corpus)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    again = ltm.save(tmp_path / "saved", model, corpus=corpus, overwrite=True)
    assert equal(weights(again.model), weights(model))
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


@pytest.mark.parametrize("fault", ["option", "disk"])
def test_a_run_is_not_replaced_by_one_that_cannot_be_written(
    made, corpus, tmp_path, fault, monkeypatch
):
    model, svi = made
    path = tmp_path / "saved"
    ltm.save(path, model, corpus=corpus)
    before = {one.name: one.read_bytes() for one in path.iterdir()}
    if fault == "option":
        svi.guide = functools.partial(guides.MeanField, log_variance=torch.tensor(-1.0))
    else:
        monkeypatch.setattr(trainer, "packed", full_disk)
    with pytest.raises(InputError, match="JSON" if fault == "option" else "no space"):
        ltm.save(path, model, svi=svi, corpus=corpus, overwrite=True)
    assert {one.name: one.read_bytes() for one in path.iterdir()} == before
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".saved")] == []


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("move", [1, 4, 6])
def test_a_move_that_fails_leaves_what_was_there(made, corpus, tmp_path, move, held, monkeypatch):
    model, svi = made
    path, moves, replace = tmp_path / "saved", [], os.replace
    if held:
        ltm.save(path, model, corpus=corpus)
    path.mkdir(exist_ok=True)
    (path / "notes.txt").write_text("mine")
    before = {one.name: one.read_bytes() for one in path.iterdir() if one.name != ".lock"}
    inside = {saving.BESIDE, saving.ASIDE}

    def failing(old, new):
        if {Path(old).parent.name, Path(new).parent.name} & inside and Path(old).name[0] != ".":
            moves.append(new)
            if len(moves) == move:
                raise OSError(28, "No space left on device")
        replace(old, new)

    monkeypatch.setattr(saving.os, "replace", failing)
    with pytest.raises(InputError, match="No space left"):
        ltm.save(path, model, svi=svi, corpus=corpus, overwrite=True)
    monkeypatch.undo()
    after = {one.name: one.read_bytes() for one in path.iterdir() if one.name != ".lock"}
    assert after == before
    ltm.save(path, model, svi=svi, corpus=corpus, overwrite=True)
    assert (path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("place", [saving.ASIDE, saving.BEFORE])
def test_a_death_between_moves_leaves_the_old_run(made, corpus, tmp_path, place):
    model, _ = made
    path = tmp_path / "saved"
    ltm.save(path, model, corpus=corpus)
    whole = {one.name: one.read_bytes() for one in path.iterdir() if one.name != ".lock"}
    (path / place).mkdir()
    moved = whole if place == saving.BEFORE else ("config.json", "model.safetensors")
    for name in moved:
        (path / name).rename(path / place / name)
    if place == saving.BEFORE:
        (path / "model.safetensors").write_bytes(b"of the new run")
        (path / "source.new.py").write_bytes(b"of the new run")
    (path / saving.BESIDE).mkdir()
    (path / saving.BESIDE / "model.safetensors").write_bytes(b"of another")
    with pytest.raises(InputError, match="already holds a run"):
        ltm.save(path, model, corpus=corpus)
    assert {one.name: one.read_bytes() for one in path.iterdir() if one.is_file()} == whole | {
        ".lock": (path / ".lock").read_bytes()
    }
    assert not (path / place).exists()


def test_leftovers_of_another_run_do_not_stay(made, corpus, tmp_path):
    model, _ = made
    path = tmp_path / "saved"
    path.mkdir()
    for name in ("memory.npy", "source.old.py"):
        (path / name).write_bytes(b"old")
    ltm.save(path, model, corpus=corpus)
    assert not {"memory.npy", "source.old.py"} & {one.name for one in path.iterdir()}


def test_the_folder_one_is_in(made, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ltm.save(".", made[0], corpus=corpus)
    assert equal(weights(ltm.load(".").model), weights(run.model))


def test_rows_that_the_run_would_hold_out_are_not_trained_on(made, corpus, tmp_path):
    model, svi = made
    svi.fit(corpus.rows("all"), 1, 4, progress=False)
    with pytest.raises(InputError, match=r"svi was fitted to .* rows"):
        ltm.save(tmp_path / "saved", model, svi=svi, corpus=corpus)


def test_a_tokenizer_by_name_stays_in_the_configuration(made, corpus, text_file, tmp_path):
    given = tmp_path / "tokenizer.json"
    given.write_text(corpus.tokenizer.inner.to_str())
    again = ltm.load_corpus(text_file, length=12, tokenizer=str(given))
    run = ltm.save(tmp_path / "saved", made[0], corpus=again)
    assert run.config.data.tokenizer == str(given)
    assert ltm.load_data(run.config).fingerprint == corpus.fingerprint
    assert ltm.load_data(run.config).vocabulary == 300


def full_disk(state):
    raise InputError("no space left on the device")


def test_how_the_text_was_read_is_kept(run_config, tmp_path):
    path = tmp_path / "two-fields.jsonl"
    lines = [{"text": "the wrong field", "body": f"wave {i} and salt {i * 7}"} for i in range(60)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = ltm.load_corpus(path, fields=("body",), length=12, vocabulary=300)
    model = LatentThoughtModel(ltm.preset("tiny", corpus).replace(fast=run_config.fast))
    run = ltm.save(tmp_path / "saved", model, corpus=corpus)
    assert run.config.data.fields == ("body",)
    assert ltm.load_data(run.config, run.tokenizer).fingerprint == corpus.fingerprint
    assert cli.main(["evaluate", str(run.path), "--split", "train", "--limit", "4"]) == 0
    assert cli.main(["train", "--resume", "--out", str(run.path), "--steps", "1", "--quiet"]) == 0


def test_a_resume_has_batches_as_large_as_those_of_the_fit(made, corpus, tmp_path):
    model, svi = made
    svi.fit(corpus.train, 2, 7, progress=False)
    run = ltm.save(tmp_path / "saved", model, svi=svi, corpus=corpus)
    assert run.config.training.batch == 7


def test_values_of_a_column_in_another_order_are_not_swapped(text_file, run_config, tmp_path):
    corpus = ltm.load_corpus(text_file, length=12, vocabulary=300, columns=["label"])
    turned = dict(corpus.columns, label=corpus.columns["label"][::-1])
    prior = functools.partial(priors.Conditional, column="label", columns=turned)
    with pytest.raises(InputError, match="other values of column 'label', or in another order"):
        ltm.save(tmp_path / "saved", LatentThoughtModel(run_config, prior), corpus=corpus)
    right = functools.partial(priors.Conditional, column="label", columns=corpus.columns)
    run = ltm.save(tmp_path / "saved", LatentThoughtModel(run_config, right), corpus=corpus)
    assert run.model.prior.columns == {"label": corpus.columns["label"]}


def test_a_decoder_chosen_in_python(run_config, corpus, tmp_path):
    model = LatentThoughtModel(run_config, decoder=decoders.Lstm)
    run = ltm.save(tmp_path / "saved", model, corpus=corpus)
    assert run.config.decoder.name == "lstm"
    assert equal(weights(run.model), weights(model))
