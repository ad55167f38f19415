"""Statistics of texts, against values by hand."""

import math

import numpy as np
import pytest
import torch

from ltm_pyro.data.rows import Rows
from ltm_pyro.experiments.quality import novelty
from ltm_pyro.experiments.quality.statistics import (
    distinct,
    entropy,
    in_sets,
    repeated,
    self_bleu,
)


def test_kinds_of_ngrams_are_counted_within_texts():
    texts = [[1, 2, 1], [1, 2], [3], []]
    assert distinct(texts, 1) == 3 / 6
    assert distinct(texts, 2) == 2 / 3  # 12 21 12, and none from one text into the next
    assert distinct(texts, 3) == 1
    assert math.isnan(distinct(texts, 4))


def test_an_ngram_that_a_text_has_had_is_repeated():
    assert repeated([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
    assert repeated([7] * 10) == pytest.approx(6 / 7)
    assert repeated([1, 2, 3, 4]) == 0
    assert math.isnan(repeated([1, 2, 3]))


def test_entropy_is_of_all_texts_together():
    assert entropy([[1, 1], [2, 3]]) == pytest.approx(1.5 * math.log(2))
    assert entropy([[5, 5, 5]]) == 0
    assert math.isnan(entropy([[]]))


def test_self_bleu_by_hand():
    pytest.importorskip("sacrebleu")
    # Of five tokens four fit, of pairs three of four, then two of three and one of two.
    near = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert self_bleu([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6]]) == pytest.approx(near)
    assert self_bleu([[1, 2, 3, 4, 5]] * 3) == pytest.approx(1)
    # A text finds its n-grams in any of the others, here all but one pair and what holds it.
    both = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 9, 9, 9], [8, 8, 8, 4, 5, 6]]
    first = (6 / 6 * 4 / 5 * 2 / 4 * 0.5 / 3) ** (1 / 4)  # of no run of four half a one is counted
    second = (3 / 6 * 2 / 5 * 1 / 4 * 0.5 / 3) ** (1 / 4)
    assert self_bleu(both) == pytest.approx((first + 2 * second) / 3)
    assert self_bleu([list(range(9)), list(range(9, 18))]) < 0.06
    assert math.isnan(self_bleu([[1, 2], []]))


def test_sets_are_of_one_size():
    assert in_sets(10, 4) == [slice(0, 4), slice(4, 8)]
    assert in_sets(8, 4) == [slice(0, 4), slice(4, 8)]
    assert in_sets(3, 4) == []


def test_what_is_copied_is_found_wherever_it_stands(monkeypatch):
    """Against all runs of all rows, with few kinds of tokens so that many fit."""
    monkeypatch.setattr(novelty, "CHUNK", 7)
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, 4, (30, 11))
    lengths = generator.integers(0, 12, 30)
    rows = Rows(
        torch.tensor(tokens), torch.tensor(lengths), torch.arange(30), torch.tensor(lengths)
    )
    texts = [generator.integers(0, 4, n).tolist() for n in (0, 1, 9, 20)]
    texts.append(tokens[lengths.argmax()][: lengths.max()].tolist())  # a whole row
    texts.append([*texts[-1][-5:], 9, *texts[-1][:5]])  # nothing has a 9
    known = {
        tuple(row[a:b]) for row, n in zip(tokens.tolist(), lengths, strict=True)
        for a in range(n) for b in range(a + 1, n + 1)
    }  # fmt: skip
    found = novelty.copied(texts, rows)
    for ids, runs in zip(texts, found, strict=True):
        for i in range(len(ids)):
            longest = max(
                (b - i for b in range(i + 1, len(ids) + 1) if tuple(ids[i:b]) in known), default=0
            )
            assert runs[i] == longest
        assert len(runs) == len(ids)
    assert found[-2][0] == lengths.max()
    assert found[-1][5] == 0
