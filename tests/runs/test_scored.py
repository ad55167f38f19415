"""The rows that runs are scored on are of documents that none of them was trained on."""

import ltm_pyro as ltm
from ltm_pyro.runs.scored import to_score

from .helpers import train


def test_documents_of_either_run_are_left_out(whole_run, tmp_path):
    one = ltm.load(whole_run)
    corpus = ltm.load_data(one.config, one.tokenizer)
    held_out = texts(corpus.test[:], one.tokenizer)
    splits = {"train": held_out[:2], "test": held_out[2:]}
    more = ltm.load_corpus(splits, length=12, tokenizer=one.tokenizer)
    other = train(one.config, tmp_path / "other", corpus=more)
    alone = to_score(corpus, [one], None, "test")
    both = to_score(corpus, [one, other], None, "test")
    assert (alone.left_out, both.left_out) == (0, 2)
    assert set(texts(both.rows[:], one.tokenizer)) == set(held_out[2:])
    assert len(to_score(corpus, [one, other], "all", "test").rows) == len(corpus.rows("all"))
    assert to_score(corpus, [one, other], None, "all").left_out > 2
    assert both.read_by(other) is both.rows


def texts(rows, tokenizer):
    """The documents of some rows."""
    whole = {}
    for tokens, length, document in zip(rows.tokens, rows.lengths, rows.document, strict=True):
        whole.setdefault(int(document), []).extend(tokens[:length].tolist())
    return [tokenizer.decode(ids) for ids in whole.values()]
