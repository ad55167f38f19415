"""P-values are uniform on the model's own documents, and not beside another null."""

import dataclasses

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from ltm_pyro.config import Fast, Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.diagnostics import surprise
from ltm_pyro.diagnostics.null_texts import by_kind, scored_part, written_texts
from ltm_pyro.diagnostics.surprising import Surprise, _joined, p_value
from ltm_pyro.errors import InputError
from ltm_pyro.models import LinearGaussianModel, TextModel
from ltm_pyro.models.priors.normal import StandardNormal
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


class Ending(TextModel):
    """Tokens 1 to 8 and an end, 0: the larger z is, the sooner a text ends, and the plainer."""

    samples_prior_alone = True

    def __init__(self):
        super().__init__()
        self.thoughts = Thoughts(1, 1, 1)
        self.prior = StandardNormal(self.thoughts)
        self.weight = torch.nn.Parameter(torch.tensor([8.0, 8.0] + [0.0] * 7))
        self.bias = torch.nn.Parameter(torch.tensor([-2.0] + [0.0] * 8))

    def forward(self, batch, prelude=None):
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            logits = (z.flatten(-3) * self.weight + self.bias)[..., None, :]
            logits = logits.expand(*logits.shape[:-2], batch.tokens.shape[1], 9)
            tokens = dist.Categorical(logits=logits).mask(batch.mask).to_event(1)
            pyro.sample("tokens", tokens, obs=batch.tokens)
        return z

    def read(self, batch):
        """Nothing here is independent of z."""


class ZeroEnds(Tokenizer):
    """What `surprise` reads of a tokenizer: its end of text."""

    def __init__(self):
        self.end = 0


def whole_texts(model, seed, least=4, most=16):
    """Texts of the model's own that end after some tokens: what may follow an end is cut off."""
    written, _ = simulate(model, torch.full((12 * DOCUMENTS,), most), seed)
    ends = written.tokens == 0
    lengths = ends.long().argmax(1) + 1
    there = (ends.any(1) & (lengths > least)).nonzero()[:DOCUMENTS, 0]
    return Rows(written.tokens, lengths, written.document, lengths)[there]


def test_whole_texts_of_the_model_have_uniform_p_values():
    model, right, twice, going_on = Ending(), [], [], []
    options = {**QUIET, "fast": Fast.quick(), "tokenizer": ZeroEnds()}
    for seed in range(SEEDS):
        rows = whole_texts(model, 200 + seed)
        found = surprise(model, rows, multiple=4, seed=seed, **options)
        right.append(found.p_value)
        twice.append(dataclasses.replace(found, tail="two-sided").p_value)
        part, _ = scored_part(rows, 0, 4)
        another = surprise(model, part, multiple=4, seed=seed, **options)
        going_on.append(dataclasses.replace(found, null=another.null).p_value)
    assert len(np.concatenate(right)) == SEEDS * DOCUMENTS
    assert distance(right) < PASSED
    assert distance(twice) < PASSED + 1 / (TEXTS + 1)
    # Beside texts that go on for longer, whether the document does or not, they are not.
    assert distance(going_on) > 1.5 * PASSED


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


class Labelled(Ending):
    """Documents of label 1 repeat token 1 more often than those of label 0."""

    def forward(self, batch, prelude=None):
        with pyro.plate("documents", len(batch), dim=-1):
            z = self.prior(batch)
            told = (1 + 3 * batch.columns["label"])[:, None] * torch.tensor([0.0, 1.0] + [0.0] * 7)
            logits = (z.flatten(-3) * self.weight / 8 + told)[..., None, :]
            logits = logits.expand(*logits.shape[:-2], batch.tokens.shape[1], 9)
            tokens = dist.Categorical(logits=logits).mask(batch.mask).to_event(1)
            pyro.sample("tokens", tokens, obs=batch.tokens)
        return z


def test_documents_are_beside_texts_with_their_own_columns():
    model, label = Labelled(), torch.arange(DOCUMENTS) % 2
    rows, _ = simulate(model, torch.full((DOCUMENTS,), 12), 8, {"label": label})
    found = surprise(model, rows, fast=Fast(steps=1), **QUIET)
    passed = 1.63 * (2 / DOCUMENTS + 1 / TEXTS) ** 0.5 + 1 / (TEXTS + 1)
    for one in (0, 1):
        own = label.numpy() == one
        assert distance([found.p_value[own]]) < passed
        other = [p_value(nats, found.null[1 - one], "upper") for nats in found.nats[own]]
        assert distance([np.array(other)]) > 1.5 * passed


def test_of_equal_p_values_the_farther_out_comes_first():
    null = [np.arange(-4.0, 5.0)] * 3
    frame = Surprise(
        np.arange(3), np.array([20.0, 30.0, 10.0]), np.array([2, 5, 4]), null, 9, "upper", ""
    ).to_frame()
    assert frame["p_value"].tolist() == [0.1] * 3
    assert frame["document"].tolist() == [1, 0, 2]
    assert frame["nats_per_token"].tolist() == [6.0, 10.0, 2.5]
    both = Surprise(
        np.arange(3), np.array([20.0, -30.0, 10.0]), np.array([2, 5, 4]), null, 9, "two-sided", ""
    ).to_frame()
    assert both["document"].tolist() == [1, 0, 2]


def test_how_far_out_a_document_lies_is_not_known_of_one_text_or_of_equal_ones():
    null = [np.array([2.0]), np.array([2.0, 2.0]), np.array([1.0, 3.0]), np.array([])]
    found = Surprise(np.arange(4), np.full(4, 1.0), np.ones(4, int), null, 1, "upper", "")
    assert found.standardised.tolist() == pytest.approx([np.nan, np.nan, -(0.5**0.5), np.nan],
                                                        nan_ok=True)  # fmt: skip
    # Of equal p-values those come last that nothing is known of beside.
    null = [np.array([2.0, 2.0])] * 2 + [np.array([1.0, 1.5]), np.array([])]
    order = dataclasses.replace(found, null=null).to_frame()["document"]
    assert order.tolist() == [2, 0, 1, 3]
    plenty = dataclasses.replace(found, null=[np.array([2.0])] * 4)
    assert "fewer than" not in plenty.told
    assert "two-sided" not in plenty.told


def test_no_text_is_in_two_sums_of_a_document():
    """A document of two rows of one kind and one of another: two sums, as few as the texts give."""
    rows = Rows(torch.zeros(3, 4), torch.tensor([4, 4, 2]), torch.tensor([7, 7, 7]), torch.zeros(3))
    groups = {"long": torch.tensor([0, 1]), "short": torch.tensor([2])}
    null = {"long": np.array([1.0, 2.0, 4.0, 8.0, 16.0]), "short": np.array([100.0, 200.0, 300.0])}
    found = _joined(rows, np.array([1.0, 10.0, 100.0]), groups, null, 4, "upper", "")
    assert (found.nats.tolist(), found.tokens.tolist()) == ([111.0], [10])
    assert found.null[0].tolist() == [1 + 2 + 100, 4 + 8 + 200]


def test_texts_go_on_for_as_long_as_the_document(model):
    like = Rows(torch.zeros(1, 6, dtype=torch.long), torch.tensor([6]), torch.tensor([0]),
                torch.tensor([0]))  # fmt: skip
    all_of_them, tried = written_texts(model, like, 0, 30, None, 0, 64)
    assert (len(all_of_them), tried) == (30, 64)
    end = int(all_of_them.tokens.flatten().bincount().argmax())
    without, more = written_texts(model, like, 0, 30, end, 0, 64)
    assert not (without.tokens == end).any()
    assert len(without) <= 30
    assert more >= tried
    assert without.lengths.unique().tolist() == [6]


def test_texts_end_where_the_document_does():
    rows = whole_texts(Ending(), 3)[:1].first(4)
    some, _ = written_texts(Ending(), rows, 8, 500, 0, 0, 512)
    every, _ = simulate(Ending(), torch.full((5000,), 8), 1)
    assert some.tokens.shape == (500, 4)
    assert not (some.tokens == 0).any()
    ends = (every.tokens == 0).long()
    asked = (ends[:, :4].sum(1) == 0) & (ends.sum(1) > 0)
    plain, usual = ((tokens == 1).double().mean().item()
                    for tokens in (some.tokens, every.tokens[asked, :4]))  # fmt: skip
    assert plain == pytest.approx(usual, abs=0.06)
    going_on = every.tokens[(ends.sum(1) == 0), :4]
    assert plain - (going_on == 1).double().mean().item() > 0.2


def test_documents_that_end_where_the_model_does_not_have_no_p_value():
    model = Ending()
    rows = whole_texts(model, 4)[:6]
    model.bias.data[0] = -1e9
    never = surprise(model, rows, multiple=4, tokenizer=ZeroEnds(), fast=Fast(steps=0), **QUIET)
    assert np.isnan(never.p_value).all()
    assert np.isnan(never.q_value).all()
    assert "6 documents have no text beside them, and so no p-value" in str(never)
    # Some have texts: the others are not counted, and come last.
    found = dataclasses.replace(never, nats=np.arange(6.0), null=[np.arange(-3.0, 0.0)] * 2
                                + [np.array([])] * 4, tail="two-sided")  # fmt: skip
    assert found.to_frame()["p_value"].isna().tolist() == [False] * 2 + [True] * 4
    assert found.q_value[:2].tolist() == [0.5, 0.5]
    told = str(found)
    assert "each beside 0 to 3 texts" in told
    assert f"6 documents have fewer than {TEXTS} texts" in told
    assert "for two-sided p-values it is not" in told


def test_what_is_scored_of_a_document():
    tokens = torch.arange(1, 13).repeat(5, 1)
    lengths = torch.tensor([12, 12, 7, 3, 1])
    for row, length in enumerate([12, 12, 7, 3, 1]):
        tokens[row, length - 1] = 19 if row in (2, 3, 4) else 5
    rows = Rows(tokens, lengths, torch.tensor([0, 0, 0, 1, 2]), lengths)
    kept, before = scored_part(rows, 19, 4)
    # The end of a text is not scored; a full row is whole, its document's rest a multiple.
    assert kept.lengths.tolist() == [12, 12, 4, 2]
    assert kept.document.tolist() == [0, 0, 0, 1]
    # Texts beside it end where it does, or go on.
    assert before.tolist() == [0, 0, 8, 3]
    whole, before = scored_part(rows, None, 1)
    assert whole.lengths.tolist() == lengths.tolist()
    assert before.tolist() == [0] * 5
    whole, before = scored_part(rows, None, 4)  # a row that is full, and what has no multiple
    assert whole.lengths.tolist() == [12, 12, 4, 3, 1]
    assert before.tolist() == [0] * 5
    # A row of the model's has no place for a later end: 12 tokens, where one goes on after them.
    assert scored_part(rows[:3], 19, 5)[1].tolist() == [0, 0, 10]
    assert scored_part(rows[:3], 19, 6)[1].tolist() == [0, 0, 12]
    eleven = Rows(rows.tokens[[0, 2]], torch.tensor([12, 11]), torch.tensor([0, 1]), lengths[:2])
    eleven.tokens[1, 10] = 19
    some, before = scored_part(eleven, 19, 8)
    assert (some.lengths.tolist(), before.tolist()) == ([12, 8], [0, 12])
    last = rows[2:]
    assert [scored_part(last, 19, 5, room)[1].tolist() for room in (None, 9, 64)] == [
        [10, 3], [9, 3], [10, 3]
    ]  # fmt: skip
    assert by_kind(kept, torch.tensor([0, 0, 8, 3])).keys() == {
        "2-tokens-end-before-3", "4-tokens-end-before-8", "12-tokens"
    }  # fmt: skip


def test_p_values_by_simulation():
    null = np.array([1.0, 2.0, 3.0, 4.0])
    assert p_value(3.5, null, "upper") == 2 / 5
    assert p_value(3.0, null, "upper") == 3 / 5  # a tie is as extreme
    assert p_value(9.0, null, "upper") == 1 / 5
    assert p_value(0.0, null, "two-sided") == 2 / 5
    assert p_value(2.5, null, "two-sided") == 1
    assert p_value(1.0, null, "two-sided") == 4 / 5  # a tie, on the other side too


def test_windows_are_no_documents(model, rows):
    packed = Rows(rows.tokens, rows.lengths, rows.document, rows.bytes, packed=True)
    with pytest.raises(InputError, match=r"windows are no documents"):
        surprise(model, packed)
