"""Documents that share much of their text fall into one split."""

import random

import pytest

import ltm_pyro as ltm
from ltm_pyro.data.building import split_of
from ltm_pyro.data.near_duplicates import COMMON, groups
from ltm_pyro.data.sources.python_docs import python_docs


def words(count, seed):
    draw = random.Random(seed)
    return [f"w{draw.randrange(10**6)}" for _ in range(count)]


def test_more_than_half_of_the_runs_of_the_shorter_one():
    base = words(60, 0)  # 53 runs of 8 words
    nearly = [*base[:40], *words(20, 1)]  # shares 33 of 53
    hardly = [*base[:30], *words(30, 2)]  # shares 23 of 53
    inside = base[42:]  # all its 11 runs
    other = words(60, 3)
    found = groups(" ".join(some) for some in (other, base, nearly, hardly, inside))
    assert found.tolist() == [0, 1, 1, 3, 1]


def test_a_chain_is_one_group_and_boilerplate_is_none():
    a, b, c = words(40, 0), words(40, 1), words(40, 2)
    chain = [a + b[:39], b + a[:12], b[5:] + c[:34]]
    assert len(set(groups(" ".join(some) for some in chain).tolist())) == 1
    notice = " ".join(words(20, 9))
    many = [notice + f" {' '.join(words(3, seed))}" for seed in range(COMMON + 1)]
    assert len(set(groups(many).tolist())) == len(many)
    assert groups(["too short", "too short", "another"]).tolist() == [0, 0, 2]
    assert groups([]).tolist() == []


def shares(corpus):
    """Held-out documents that share more than half of their runs of words with a training one."""
    texts = {split: [] for split in ("train", "test")}
    for split, found in texts.items():
        rows = corpus.rows(split)
        held = {}
        for tokens, n, d in zip(rows.tokens, rows.lengths, rows.document, strict=True):
            held.setdefault(int(d), []).extend(tokens[:n].tolist())
        found += [corpus.tokenizer.decode(ids).split() for ids in held.values()]
    runs = {tuple(t[i : i + 8]) for t in texts["train"] for i in range(max(1, len(t) - 7))}
    return sum(
        sum(tuple(t[i : i + 8]) in runs for i in range(n)) > 0.5 * n
        for t in texts["test"] for n in [max(1, len(t) - 7)]
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The embedded documentation's first documents, as records."""
    path = tmp_path_factory.mktemp("docs") / "docs.txt"
    path.write_text("\x1e".join(text for text in python_docs()[:3000]))
    return path


@pytest.mark.slow
def test_held_out_documents_have_no_near_duplicate_in_training(written):
    asked = {"separator": "\x1e", "vocabulary": 512}
    plain = ltm.load_corpus(written, **asked)
    apart = ltm.load_corpus(written, dedup=True, **asked)
    assert shares(plain) > 10
    assert shares(apart) < 0.2 * shares(plain)  # those left share with several, a little with each
    assert any("near-duplicate" in note for note in apart.notes)
    assert not any("near-duplicate" in note for note in plain.notes)
    assert plain.rows("all").token_count == pytest.approx(apart.rows("all").token_count, rel=0.01)


def test_a_group_goes_where_its_least_hash_goes():
    import hashlib

    base = " ".join(words(30, 5))
    some = [f"{base} {i}" for i in range(6)]
    corpus = ltm.load_corpus([*some, *(f"document {i}" for i in range(200))], dedup=True,
                             vocabulary=300)  # fmt: skip
    least = min(some, key=lambda text: hashlib.sha256(text.encode()).digest())
    rows = corpus.rows(split_of(least))
    texts = [corpus.tokenizer.decode(rows[i].tokens[0].tolist()) for i in range(len(rows))]
    assert sum(base[:40] in text for text in texts) >= 6
