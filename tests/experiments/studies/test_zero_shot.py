"""One table of bounds for text of other kinds."""

import json
import shlex

import numpy as np
import pytest

import ltm_pyro as ltm
from ltm_pyro.commands.cli import main, parse
from ltm_pyro.config import Named
from ltm_pyro.data.asked import Text
from ltm_pyro.experiments.studies import running
from ltm_pyro.experiments.studies.rows import documents_by_lot, words_of
from ltm_pyro.experiments.studies.zero_shot import USUAL, ZeroShot
from ltm_pyro.runs.seen import seen

from ...runs.helpers import train, with_training


def test_a_table_of_corpora(run, text_file, tmp_path, capsys):
    other = tmp_path / "other.txt"
    other.write_text("a crow is a bird\n\nno fox is a bird, said the crow\n\n" * 2)
    command = ["study", "zero-shot", str(run.path), "--out", str(tmp_path / "out"), "--documents",
               "2", "--bounds", "elbo:2,iwae:2,same_noise", "--data"]  # fmt: skip
    assert main([*command, str(other)]) == 0
    assert main([*command, str(text_file)]) == 0
    found = json.loads((tmp_path / "out/results.json").read_text())["corpora"]
    first, second = found.values()
    assert first["source"].endswith("other.txt")
    assert first["documents"] == 2
    assert first["left_out_as_trained_on"] == 0
    # Of the text that it was trained on, what was trained on is left out.
    assert second["left_out_as_trained_on"] > 0
    table = capsys.readouterr().out
    for one in found.values():
        figures, price = one["figures"], one["less_control"]
        assert set(figures) == {"elbo", "iwae", "same_noise", "baseline"}
        assert set(price) == {"elbo", "iwae"}  # the released figure is compared with nothing
        below = figures["elbo"]["nats_per_token"] - figures["baseline"]["nats_per_token"]
        assert price["elbo"]["nats_per_token"] == pytest.approx(below)
        assert f"{below:+.4f} ± {price['elbo']['standard_error']:.4f}" in table
        per_word = figures["elbo"]["nats_per_token"] * figures["elbo"]["tokens"] / one["words"]
        bits = figures["elbo"]["bits_per_byte"]
        assert f"| elbo | {per_word:.4f} | {bits:.4f} |" in table
    head = "| corpus | elbo | iwae | control, exact | the released protocol: NOT A BOUND |"
    last = [line for line in table.split(head)[-1].splitlines() if line.startswith("| ")]
    assert len(table.split(head)) == 3  # once of one corpus, once of both
    cells = last[1].strip("| ").split(" | ")
    assert cells[0] == "documents.jsonl"
    noise = second["figures"]["same_noise"]
    assert cells[-1] == f"{noise['nats_per_token']:.4f} ± {noise['standard_error']:.4f}"
    assert main([*command, str(tmp_path / "none.txt")]) == 2


def test_no_document_that_was_trained_on_is_scored(run_config, text_file, tmp_path):
    """And the rest by the guide of the run, after as many fast steps as are asked for."""
    config = with_training(run_config.replace(guide=Named("covariance")), steps=1)
    run = train(config, tmp_path / "run")
    study = ZeroShot(run_folder=str(run.path), out=tmp_path / "out", bounds="elbo:2", fast_steps=7,
                     text=Text(data=(str(text_file),)))  # fmt: skip
    ((name, (_, rows, left_out)),) = study.corpora.items()
    scored = np.asarray(rows.digests)[np.unique(rows.index["document"])]
    assert not np.isin(scored, seen(run.path)).any()
    assert len(scored) + left_out == 60
    protocol = study.score(name)["figures"]["elbo"]["protocol"]
    assert "Covariance, 7 fast steps" in protocol


def test_a_word_that_a_row_cuts_is_one(tmp_path):
    """Of single bytes: rows of 12 end within words."""
    path = tmp_path / "long.txt"
    path.write_text("incomprehensible antidisestablishmentarianism is a word")
    corpus = ltm.load_corpus(path, length=12, vocabulary=258)
    rows = corpus.rows("all")
    assert len(rows) == 5
    assert words_of(rows, corpus.tokenizer) == 5


def test_words_are_counted_over_the_rows_of_a_document(run, corpus):
    rows = corpus.rows("all")
    assert len(rows) > len(rows.document.unique())  # some are cut
    texts = {}
    for i in range(len(rows)):
        one = rows[i : i + 1]
        ids = one.tokens[0, : int(one.lengths[0])].tolist()
        texts.setdefault(int(one.document), []).extend(ids)
    end = corpus.tokenizer.end
    whole = [corpus.tokenizer.decode([t for t in ids if t != end]) for ids in texts.values()]
    assert words_of(rows, corpus.tokenizer) == sum(len(text.split()) for text in whole)
    some = documents_by_lot(rows, 3, 0)
    chosen = set(some.document.tolist())
    assert len(chosen) == 3
    assert len(some) == sum(d in chosen for d in rows.document.tolist())
    assert documents_by_lot(rows, 3, 1).document.tolist() != some.document.tolist()


def test_what_is_asked_for_must_be_there(tmp_path, capsys):
    start = ["study", "zero-shot", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(start) == 2
    assert "no text to score: give --data FILE" in capsys.readouterr().err
    assert main([*start, "--usual", "brown"]) == 2
    assert "--usual brown: expected one of ptb, wikitext" in capsys.readouterr().err


def test_the_usual_corpora_are_read_from_the_hub(run, tmp_path):
    study = ZeroShot(run_folder=str(run.path), out=tmp_path / "out", usual=tuple(USUAL))
    sources = study.sources()
    assert list(sources) == list(USUAL)
    assert len(sources) == 7
    assert all(split == "test" and data.fields for data, split in sources.values())


def test_a_study_tells_the_command_that_repeats_it():
    options = ["--fast.steps", "8", "--fast.particles", "4", "--fast.antithetic", "True",
               "--data", "x.txt"]  # fmt: skip
    asked = parse(["study", "zero-shot", "runs/a", "--out", "b", *options]).asked
    words = shlex.split(running.command(asked))
    assert words[:4] == ["ltm", "study", "zero-shot", "runs/a"]
    assert set(options) < set(words)
    assert parse(words[1:]).asked == asked
