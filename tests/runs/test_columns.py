"""A run whose prior reads a column: saved, resumed, evaluated, repeated, and written from."""

import dataclasses
import json

import pytest
import torch

import ltm_pyro as ltm
import ltm_pyro.commands.cli as cli
from ltm_pyro.config import Data, Named
from ltm_pyro.data.building import split_of
from ltm_pyro.errors import InputError
from ltm_pyro.runs.trainer import Trainer
from ltm_pyro.runs.training import for_corpus

from ..commands.test_cli import SMALL

PRIOR = ("--column", "author", "--prior", "conditional", "--prior.column", "author")


def command(*arguments):
    return cli.main([str(a) for a in arguments])


def write(path, authors, count=60):
    """Short documents; the author of document i is authors[i % n], None for none."""
    lines = []
    for i in range(count):
        words = ["wave", "fish", "sail"] if i % len(authors) else ["tree", "leaf", "root"]
        text = f"{i}: " + " ".join(words[j % 3] for j in range(3 + i % 6))
        lines.append(json.dumps({"text": text, "author": authors[i % len(authors)]}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "books.jsonl", ["austen", "brontë", None])


@pytest.fixture
def conditional(config, data):
    """A configuration that trains a conditional prior in a second."""
    named = Data(source=str(data), vocabulary=300, columns={"author": ()})
    architecture = dataclasses.replace(config.architecture, vocabulary=300)
    config = config.replace(
        architecture=architecture, data=named, prior=Named("conditional", {"column": "author"})
    )
    return for_corpus(config, ltm.load_data(config))


@pytest.fixture
def run(data, tmp_path):
    out = tmp_path / "run"
    assert command("train", "--data", data, "--out", out, *PRIOR, *SMALL) == 0
    return out


def weights(run):
    return run.model.state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_keeps_the_values_and_is_loaded_as_it_was(conditional, tmp_path):
    assert conditional.data.columns == {"author": ("austen", "brontë")}
    run = ltm.train(conditional, tmp_path / "run", progress=False)
    assert run.config == conditional
    assert run.model.prior.columns == {"author": ("austen", "brontë")}
    assert all(p.abs().sum() > 0 for p in run.model.prior.parameters())
    corpus = ltm.load_data(run.config, run.tokenizer)
    assert corpus.fingerprint == run.record["data"]["fingerprint"]
    reports = [
        ltm.evaluate(one.model, corpus.valid, ["elbo:2", "prior:4"], guide=one.guide,
                     repeat=0, progress=False)
        for one in (run, ltm.load(tmp_path / "run"))
    ]  # fmt: skip
    for name in ("elbo", "prior"):
        assert (reports[0][name].nats == reports[1][name].nats).all()


def test_training_takes_the_values_of_its_corpus(conditional, tmp_path):
    config = conditional.replace(data=dataclasses.replace(conditional.data, columns={"author": ()}))
    one = ltm.train(config, tmp_path / "one", progress=False)
    other = ltm.train(conditional, tmp_path / "other", ltm.load_data(config), progress=False)
    assert one.config == other.config == conditional
    assert same(weights(one), weights(other))
    with pytest.raises(InputError, match=r"column 'author' of .* has other values than the config"):
        Trainer(ltm.load_data(config), config, tmp_path / "third")


def test_a_resumed_run_ends_as_if_it_had_never_stopped(conditional, tmp_path, monkeypatch):
    whole = ltm.train(conditional, tmp_path / "whole", progress=False)

    class Killed(Exception):
        pass

    def killed(self):
        save(self)
        if self.svi.done == 2:
            raise Killed

    save = Trainer.save
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", killed)
        with pytest.raises(Killed):
            ltm.train(conditional, tmp_path / "part", progress=False)
    resumed = ltm.train(conditional, tmp_path / "part", resume=True, progress=False)
    assert resumed.step == whole.step == 4
    assert same(weights(whole), weights(resumed))


def test_resuming_and_evaluating_at_the_command_line(run, data, capsys):
    assert command("train", "--resume", "--out", run, "--steps", 4, "--quiet") == 0
    assert ltm.load(run).step == 4
    capsys.readouterr()
    assert command("evaluate", run, "--json", "--bounds", "elbo:2", "--sandwich", 2,
                   "--temperatures", 2) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["sandwich"]["documents"] == 2
    write(data, ["dickens", "brontë", None])  # the same text, by others
    assert command("train", "--resume", "--out", run, "--steps", 5, "--quiet") == 2
    assert "was trained on other text" in capsys.readouterr().err


def test_other_text_is_coded_by_the_runs_values(run, tmp_path, capsys):
    """Documents of unseen authors are scored under the common normal, whoever they are."""
    loaded = ltm.load(run)
    other = write(tmp_path / "other.jsonl", ["eliot", "brontë", "carroll"])
    data = dataclasses.replace(loaded.config.data, source=str(other))
    corpus = ltm.load_data(loaded.config.replace(data=data), loaded.tokenizer)
    assert corpus.columns == {"author": ("austen", "brontë")}
    codes = dict(zip(corpus.train.document.tolist(), corpus.train.columns["author"].tolist(),
                     strict=True))  # fmt: skip
    lines = [json.loads(line) for line in other.read_text().splitlines()]
    mine = [one for one in lines if split_of(one["text"]) == "train"]
    assert [codes[i] for i in range(len(mine))] == [
        1 if one["author"] == "brontë" else -1 for one in mine
    ]
    figures = []
    for name in ("eliot", None, "austen"):
        path = write(tmp_path / "other.jsonl", [name, "brontë", name])
        capsys.readouterr()
        assert command("evaluate", run, "--data", path, "--json", "--bounds", "prior:4") == 0
        figures.append(json.loads(capsys.readouterr().out)["prior"]["nats_per_token"])
    assert figures[0] == figures[1] != figures[2]


def test_runs_are_compared_by_codes_of_their_own(run, data, tmp_path, capsys):
    """A run with the same values in another order, and one that knows no column at all."""
    one = ltm.load(run)
    turned = dataclasses.replace(one.config.data, columns={"author": ("brontë", "austen")})
    corpus = ltm.load_corpus(turned, length=12, tokenizer=one.tokenizer)
    assert corpus.columns != one.config.data.columns
    other = ltm.train(one.config, tmp_path / "turned", corpus, progress=False)
    assert other.config.data.columns == corpus.columns
    plain = tmp_path / "plain"
    assert command("train", "--data", data, "--out", plain, *SMALL) == 0
    nats = {}
    for path in (other.path, plain):
        for a, b in ((run, path), (path, run)):
            capsys.readouterr()
            assert command("evaluate", a, "--against", b, "--json", "--bounds", "prior:4",
                           "--split", "train") == 0  # fmt: skip
            found = json.loads(capsys.readouterr().out)
            nats[a, b] = found["against"]["prior"]["difference"]
    assert nats[run, other.path] == pytest.approx(0, abs=1e-5)
    assert nats[run, plain] == pytest.approx(-nats[plain, run], abs=1e-6)
    with pytest.raises(InputError, match="was trained with other columns, or other values of the"):
        ltm.train(one.config, run, corpus, resume=True, progress=False)


def test_a_repeated_run_on_other_text_has_that_texts_values(run, tmp_path, capsys):
    again = tmp_path / "again"
    assert command("train", "--config", run, "--out", again, "--quiet") == 0
    assert same(weights(ltm.load(run)), weights(ltm.load(again)))
    other = write(tmp_path / "other.jsonl", ["eliot", "carroll"])
    assert command("train", "--config", run, "--data", other, "--out", tmp_path / "o",
                   "--quiet") == 0  # fmt: skip
    assert ltm.load(tmp_path / "o").config.data.columns == {"author": ("carroll", "eliot")}


def test_text_is_written_for_a_value(run, capsys):
    loaded = ltm.load(run)
    prior = loaded.model.prior
    with torch.no_grad():
        prior.loc_of[0] += 50
        prior.loc_of[1] -= 50
    find = ltm.generate
    for where, sign in (({"author": "austen"}, 1), ({"author": "brontë"}, -1)):
        found = find(loaded.model, loaded.tokenizer, n=3, where=where)
        assert (found.thoughts * sign > 30).all()
    assert (find(loaded.model, loaded.tokenizer).thoughts.abs() < 30).all()
    given = find(loaded.model, loaded.tokenizer, "1: ", where={"author": "austen"})
    plain = find(loaded.model, loaded.tokenizer, "1: ")
    assert given.thoughts.mean() > plain.thoughts.mean()
    with pytest.raises(InputError, match="unknown column 'autor': did you mean 'author'"):
        find(loaded.model, loaded.tokenizer, where={"autor": "austen"})
    with pytest.raises(InputError, match=r"unknown value of column author 'x': known are austen"):
        find(loaded.model, loaded.tokenizer, where={"author": "x"})
    capsys.readouterr()
    assert command("generate", run, "--where", "author=austen", "--n", 2) == 0
    assert command("generate", run, "--where", "austen") == 2
    assert "--where austen: expected COLUMN=VALUE" in capsys.readouterr().err
    assert command("generate", run, "--where", "author=dickens") == 2
    assert "known are austen, brontë" in capsys.readouterr().err


def test_a_model_without_columns_has_nowhere(model, corpus):
    with pytest.raises(InputError, match="'author' is given, but the model knows none: train with"):
        ltm.generate(model, corpus.tokenizer, where={"author": "austen"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prior", "conditional", "--prior.column", "author"), "keep it with --column author"),
        ((*PRIOR[:4],), "give --prior.column NAME, of author"),
        ((*PRIOR[:5], "autor"), "unknown column 'autor': did you mean 'author'"),
        (("--column", "autor"), "did you mean 'author'"),
        (("--column", "author", "--layout", "packed"), "a packed window holds several documents"),
    ],
)
def test_what_does_not_fit_is_told_before_training(data, tmp_path, options, message, capsys):
    assert command("train", "--data", data, "--out", tmp_path / "r", *options, *SMALL) == 2
    assert message in capsys.readouterr().err


def test_a_preset_takes_the_columns_of_its_corpus(data):
    corpus = ltm.load_corpus(data, length=12, vocabulary=300, columns="author")
    assert ltm.preset("tiny", corpus).data.columns == corpus.columns
    assert ltm.preset("tiny").data.columns == {}
