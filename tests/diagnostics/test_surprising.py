"""P-values are uniform on the model's own documents, and not beside another null."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.diagnostics import surprise
from ltm_pyro.diagnostics.null_texts import scored_part, written_texts
from ltm_pyro.diagnostics.surprising import p_value
from ltm_pyro.errors import InputError
from ltm_pyro.models import LinearGaussianModel
from ltm_pyro.programs.densities import simulate

DOCUMENTS, TEXTS, SEEDS = 48, 59, 3
QUIET = {"progress": False, "bound": "elbo:4", "texts": TEXTS}
# The distance of Kolmogorov and Smirnov between documents and texts that one law gave, of SEEDS
# sets: passed once in a hundred times. A p-value has TEXTS + 1 steps.
PASSED = 1.63 * ((1 / DOCUMENTS + 1 / TEXTS) / SEEDS) ** 0.5 + 1 / (TEXTS + 1)


def distance(p_values):
    return stats.kstest(np.concatenate(p_values), "uniform").statistic


@pytest.fixture
def linear():
    """A model on which a fit of few steps is far from none."""
    return LinearGaussianModel(Thoughts(1, 1, 3), torch.eye(3), scale=0.3)


def test_documents_of_the_model_have_uniform_p_values(linear):
    good, twice = [], []
    wrong = {"another fit": [], "another length": []}
    for seed in range(SEEDS):
        rows, _ = simulate(linear, torch.full((DOCUMENTS,), 3), 100 + seed)
        found = surprise(linear, rows, fast=Fast.quick(), seed=seed, **QUIET)
        good.append(found.p_value)
        twice.append(dataclasses.replace(found, tail="two-sided").p_value)
        unfitted = surprise(linear, rows, fast=Fast(steps=0), seed=seed, **QUIET)
        shorter = surprise(linear, rows.first(2), fast=Fast.quick(), seed=seed, **QUIET)
        for name, other in zip(wrong, (unfitted, shorter), strict=True):
            wrong[name].append(dataclasses.replace(found, null=other.null).p_value)
    assert distance(good) < PASSED
    assert distance(twice) < PASSED + 1 / (TEXTS + 1)
    # Beside texts that were fitted otherwise, or are of another length, they are not.
    assert all(distance(some) > 1.5 * PASSED for some in wrong.values())


def test_a_document_of_several_rows_is_beside_sums_of_as_many(model):
    rows, _ = simulate(model, torch.tensor([12, 12, 8] * DOCUMENTS), 7)
    document = torch.arange(DOCUMENTS).repeat_interleave(3)
    several = Rows(rows.tokens, rows.lengths, document, rows.bytes)
    found = surprise(model, several, fast=Fast(steps=1), multiple=8, **QUIET)
    assert found.tokens.tolist() == [32] * DOCUMENTS
    assert distance([found.p_value]) < 1.63 * (1 / DOCUMENTS + 1 / TEXTS) ** 0.5 + 1 / (TEXTS + 1)
    assert {len(null) for null in found.null} == {TEXTS}
    alone = surprise(model, rows, fast=Fast(steps=1), multiple=8, **QUIET)
    np.testing.assert_allclose(found.nats, alone.nats.reshape(-1, 3).sum(1), rtol=1e-5)
    # As far apart as sums of independent texts, not as three times one text.
    full, rest = alone.null[0], alone.null[2]
    spread = (2 * full.var(ddof=1) + rest.var(ddof=1)) ** 0.5
    assert found.null[0].std(ddof=1) == pytest.approx(spread, rel=4 / (2 * TEXTS) ** 0.5)


def test_what_the_model_does_not_write_comes_first(linear):
    rows, _ = simulate(linear, torch.full((20,), 3), 5)
    tokens = rows.tokens.clone()
    tokens[4], tokens[7] = 9 * tokens[4].sign(), 1e-3  # far out, and nearer to the mean than any
    changed = Rows(tokens, rows.lengths, rows.document, rows.bytes)
    found = surprise(linear, changed, fast=Fast.quick(), **QUIET)
    frame = found.to_frame()
    assert frame["p_value"].is_monotonic_increasing
    worst = frame.iloc[0]
    assert worst["document"] == 4
    assert worst["p_value"] == 1 / (1 + TEXTS)
    assert worst["q_value"] == pytest.approx(20 / (1 + TEXTS))
    sd = found.null[4].std(ddof=1)
    assert worst["standardised"] == pytest.approx((worst["nats"] - worst["expected"]) / sd)
    assert "the least p-value that 59 texts can give is 0.017" in str(found)
    both = dataclasses.replace(found, tail="two-sided").to_frame()
    upper, either = (one.set_index("document")["p_value"][7] for one in (frame, both))
    assert upper > 0.9
    assert either < 0.2


def test_texts_go_on_for_as_long_as_the_document(model):
    like = Rows(torch.zeros(1, 6, dtype=torch.long), torch.tensor([6]), torch.tensor([0]),
                torch.tensor([0]))  # fmt: skip
    all_of_them, tried = written_texts(model, like, 30, None, 0, 64)
    assert (len(all_of_them), tried) == (30, 64)
    end = int(all_of_them.tokens.flatten().bincount().argmax())
    without, more = written_texts(model, like, 30, end, 0, 64)
    assert not (without.tokens == end).any()
    assert len(without) <= 30
    assert more >= tried
    assert without.lengths.unique().tolist() == [6]
    assert p_value(3.0, np.array([]), "upper") == 1  # no text, no evidence


def test_what_is_scored_of_a_document():
    tokens = torch.arange(1, 13).repeat(5, 1)
    lengths = torch.tensor([12, 12, 7, 3, 1])
    for row, length in enumerate([12, 12, 7, 3, 1]):
        tokens[row, length - 1] = 19 if row in (2, 3, 4) else 5
    rows = Rows(tokens, lengths, torch.tensor([0, 0, 0, 1, 2]), lengths)
    kept = scored_part(rows, 19, 4)
    # The end of a text is not scored; a full row is whole, its document's rest a multiple.
    assert kept.lengths.tolist() == [12, 12, 4, 2]
    assert kept.document.tolist() == [0, 0, 0, 1]
    assert scored_part(rows, None, 1).lengths.tolist() == lengths.tolist()


def test_p_values_by_simulation():
    null = np.array([1.0, 2.0, 3.0, 4.0])
    assert p_value(3.5, null, "upper") == 2 / 5
    assert p_value(3.0, null, "upper") == 3 / 5  # a tie is as extreme
    assert p_value(9.0, null, "upper") == 1 / 5
    assert p_value(0.0, null, "two-sided") == 2 / 5
    assert p_value(2.5, null, "two-sided") == 1


def test_windows_are_no_documents(model, rows):
    packed = Rows(rows.tokens, rows.lengths, rows.document, rows.bytes, packed=True)
    with pytest.raises(InputError, match=r"windows are no documents"):
        surprise(model, packed)
