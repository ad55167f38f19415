"""What thoughts hold, probe by probe, from a run's folder to a report."""

import dataclasses
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.data.asked import Text
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.probing import probes, reading
from ltm_pyro.experiments.probing.linear import folds_of, of_values
from ltm_pyro.experiments.studies import running
from ltm_pyro.experiments.studies.base import plain
from ltm_pyro.experiments.studies.probing import Probing

from ...conftest import strong
from ...runs.helpers import train, with_training

PARTS = ["reconstruction", "neighbours", "interpolation", "attribution", "map"]


@pytest.fixture
def other(tmp_path):
    """Sixty documents and ten copies: half of $ea, half of wood but for three of neither."""
    source = np.random.default_rng(0)
    words = {"$ea_": ["wave", "fish", "sail", "salt"], "wood": ["tree", "leaf", "root", "moss"]}
    lines = []
    for i in range(60):
        topic = list(words)[i % 2]
        text = " ".join(source.choice(words[topic], size=8))
        lines.append({"text": f"{text} {i}", "topic": topic, "size": i % 7})
    for i in (31, 33, 35):
        lines[i]["topic"] = "rare"
    path = tmp_path / "other.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in [*lines, *lines[:10]]))
    return path


@pytest.fixture
def study(run, other, tmp_path):
    text = Text(data=(str(other),), column=("topic",), number=("size",))
    return Probing(
        run_folder=str(run.path), out=tmp_path / "out", text=text, draws=2, shuffles=9, shown=1
    )


def test_a_report_of_all_probes(study):
    found = {part.name: plain(part.compute()) for part in study.parts()}
    assert sorted(found) == sorted([*PARTS, "probe-topic", "arithmetic-topic", "probe-size"])
    probe = found["probe-topic"]
    assert probe["documents"] == sum(probe["values"].values()) == 57
    assert probe["left_out"] == 3  # the rare ones; copies are no documents
    assert set(probe["probes"]) == {"thoughts", "layer 0", "layer 1", "bag of words"}
    assert probe["probes"]["bag of words"]["score"][0] > 0.9
    assert probe["neighbours"]["bag of words"]["p"] == 0.1
    assert found["probe-size"]["values"] == {}
    # A step to a value is scored on half of its documents, of 30 and of 27.
    steps = {(one["from"], one["to"]): one for one in found["arithmetic-topic"]["steps"]}
    assert len(steps) == 2
    assert steps["wood", "$ea_"]["documents"] == 15
    assert steps["$ea_", "wood"]["documents"] == 14
    assert len(found["map"]["places"]) == 60
    levels, bound = found["reconstruction"]["levels"], found["reconstruction"]["bound"]
    assert len(levels) == len(bound["ablation"]) == 3
    assert levels[0]["over_none"] == [0.0, 0.0]
    results = running.write(study, found)
    table = "\n".join(results.texts)
    assert "$ea\\_ → wood" in table  # no markup, and in pictures no mathematics
    assert "whether trained on or not" not in table
    pictures = {path.stem for path in study.out.glob("*.png")}
    assert pictures == set(results.pictures)
    assert pictures == {"reconstruction", "interpolation", "attribution-0", "columns", "map"}


def test_a_document_counts_once_and_without_its_columns(study):
    rows = study.rows
    assert len(rows) == 60
    assert len(rows.document.unique()) == 60
    assert len(study.corpus.rows("all").document.unique()) == 70
    assert study.posterior.rows.columns["topic"].tolist() == [-1] * 60
    assert study.posterior.rows.columns["size"].isnan().all()
    names, codes = study.labels["topic"]
    texts = [study.loaded.tokenizer.decode(ids.tolist()) for ids in rows.tokens]
    known = [code >= 0 and names[code] for code in codes]
    assert all(
        any(w in text for w in ("wave", "fish", "sail", "salt")) == (name == "$ea_")
        for text, name in zip(texts, known, strict=True) if name
    )  # fmt: skip


def test_a_column_that_the_prior_reads_is_not_given_to_it(run_config, other, tmp_path):
    data = dataclasses.replace(run_config.data, source=str(other), columns={"topic": ()})
    corpus = ltm.load_corpus(data, length=12)
    config = ltm.runs.training.for_corpus(run_config.replace(data=data), corpus)
    config = with_training(
        config.replace(prior=ltm.config.Named("conditional", {"column": "topic"})), steps=1
    )
    run = train(config, tmp_path / "of-topics", corpus=corpus)
    with torch.no_grad():  # so that a prior that was told would give the label away
        for parameter in run.model.prior.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) % 5 - 2.0)
    study = Probing(
        run_folder=str(run.path), out=tmp_path / "out", split="all", fast_steps=8,
        text=Text(), draws=2,
    )  # fmt: skip
    object.__setattr__(study, "loaded", run)
    # The model has learnt nothing: without its label a document's thoughts do not tell it.
    means = study.flat - study.flat.mean(0)
    names, codes = study.labels["topic"]
    apart = [means[codes == code].mean(0) for code in range(len(names))]
    error = means.std(0) * (2 / 29) ** 0.5
    assert (np.abs(apart[0] - apart[1]) < 5 * error + 1e-6).all()


def test_interpolation_ends_are_the_documents_own(study):
    found = dict(zip(PARTS, study.parts(), strict=False))["interpolation"].compute()
    places = found["places"]
    assert places[0]["documents"][0] == [0.0, 0.0]
    assert places[-1]["documents"][1] == [0.0, 0.0]
    assert [place["share"] for place in places] == [0.0, 0.25, 0.5, 0.75, 1.0]
    pairs = {text: i for i, text in enumerate(_texts(study))}
    firsts = [pairs[text] for text in found["ends"][0]]
    run = study.loaded
    own = ltm.generate(
        run.model, run.tokenizer, n=1, thoughts=study.means[firsts],
        length=study.rows.tokens.shape[1], sampling=ltm.Sampling(temperature=0),
    )  # fmt: skip
    assert [" ".join(text.split()) for text in own.continuations] == found["texts"][0]


def test_the_bound_by_layer_is_that_of_the_diagnostic(study):
    from ltm_pyro.diagnostics import thought_use

    found = study.parts()[0].compute()
    use = thought_use(study.posterior, 2, seed=0)
    assert np.array(found["bound"]["ablation"]) == pytest.approx(use.ablation)


@pytest.fixture
def lively(study):
    """A study of a decoder to which thoughts matter, a part of its rows at a time."""
    study = dataclasses.replace(study, chunk=7, fast_steps=8)
    strong(study.loaded.model)
    strong(study.loaded.baseline)
    return study


def one_by_one(study):
    """Each document alone, without padding."""
    rows = study.posterior.rows
    return [rows[i : i + 1].first(int(rows.lengths[i])) for i in range(len(rows))]


@torch.no_grad()
def hits(model, row, z):
    """Of a document's tokens how many are the likeliest."""
    logits = model.decoder(row.tokens, z) @ model.decoder.head.T
    return int((logits.argmax(-1) == row.tokens).sum())


def test_reconstruction_by_hand(lively):
    found = probes.reconstruction(lively)
    q = lively.posterior.sample(2)
    p = reading.prior_draws(lively.posterior, 2, lively.seed)
    run, rows, accuracy = lively.loaded, one_by_one(lively), []
    tokens = sum(int(row.lengths) for row in rows)
    for thoughts in ([p, p], [q, p], [q, q]):  # none of the layers are the document's own, one, two
        z = torch.stack([of[:, :, layer] for layer, of in enumerate(thoughts)], 2)
        each = [hits(run.model, row, z[d, i : i + 1]) for d in (0, 1) for i, row in enumerate(rows)]
        accuracy.append(sum(each) / 2 / tokens)
    assert len(set(accuracy)) == 3
    assert [level["accuracy"][0] for level in found["levels"]] == pytest.approx(accuracy)
    control = sum(hits(run.baseline, row, None) for row in rows) / tokens
    assert found["control"]["accuracy"][0] == pytest.approx(control)
    assert found["control"]["less"][0] == pytest.approx(accuracy[2] - control)


def test_a_text_is_compared_with_its_own_document_and_with_another(study, monkeypatch):
    """Were each text its own document: all words of its own, and those that any two share."""
    rows = study.rows
    copied = SimpleNamespace(
        tokens=rows.tokens, lengths=rows.lengths, continuations=["a text"] * len(rows)
    )
    monkeypatch.setattr(reading, "written", lambda *given: copied)
    level = probes.reconstruction(study)["levels"][2]
    assert level["overlap"] == [1.0, 0.0]
    bags = [Counter(row.tokens[0].tolist()) for row in one_by_one(study)]
    shared = np.array([
        [2 * (a & b).total() / (a.total() + b.total()) for b in bags] for a in bags
    ])  # fmt: skip
    others = (shared.sum() - 60) / (60 * 59)
    over, error = level["over_another"]
    assert 0 < 10 * error < over
    assert abs(over - (1 - others)) < 4 * error


def test_each_end_of_a_line_suits_its_own(lively):
    places = probes.interpolation(lively)["places"]
    for place, sign in ((places[0], 1), (places[-1], -1)):
        less, error = place["text_first_less_last"]
        assert sign * less > 2 * error
    for document, place in ((0, places[-1]), (1, places[0])):
        lost, error = place["documents"][document]
        assert lost < -2 * error
    rows, means = lively.posterior.rows, lively.means
    each = [
        float(reading.token_scores(lively.loaded.model, row, means[i : i + 1]).mean())
        for i, row in enumerate(one_by_one(lively))
    ]
    found = probes._per_token(lively.loaded.model, rows, means)
    assert found == pytest.approx(np.array(each), rel=1e-4)


def test_what_all_slots_give_together_by_hand(lively):
    found = probes.attribution(lively)
    q = lively.posterior.sample(2)
    p = reading.prior_draws(lively.posterior, 2, lively.seed)
    model, rows = lively.loaded.model, one_by_one(lively)

    def nats(z):
        return sum(
            float(reading.token_scores(model, row, z[d, i : i + 1]).sum()) / 2
            for d in (0, 1) for i, row in enumerate(rows)
        )  # fmt: skip

    tokens = sum(int(row.lengths) for row in rows)
    assert found["slots"]["all"][0] == pytest.approx((nats(q) - nats(p)) / tokens, rel=1e-3)
    changed = q.clone()
    changed[:, :, 1, 0] = p[:, :, 1, 0]
    assert found["slots"]["1.0"][0] == pytest.approx((nats(q) - nats(changed)) / tokens, rel=1e-3)
    # The map is of the first document, slots as they are counted.
    words = "".join(found["maps"][0]["tokens"])
    assert _texts(lively)[0].startswith(" ".join(words.split())[:20])


def test_words_of_neighbours_and_layers_of_columns(study):
    rows = one_by_one(study)
    bags = [Counter(row.tokens[0].tolist()) for row in rows]

    def likeness(a, b):
        return sum((a[t] * b[t]) ** 0.5 for t in a) / (a.total() * b.total()) ** 0.5

    apart = np.square(study.flat[:, None] - study.flat).sum(-1)
    near = apart.argsort(1)[:, 1:6]  # itself comes first
    expected = np.mean([likeness(bags[i], bags[j]) for i in range(60) for j in near[i]])
    assert probes.neighbours(study)["words"]["found"][0] == pytest.approx(expected)
    found = probes.column(study, "topic")["probes"]
    _, codes = study.labels["topic"]
    known = codes >= 0
    folds = folds_of(codes[known], study.folds, study.seed)
    for layer in (0, 1):
        own = study.means[known][:, layer].flatten(1).double().numpy()
        score = of_values(own, codes[known][None], folds)[0]
        assert found[f"layer {layer}"]["score"] == pytest.approx(score.told())


def test_what_is_asked_for_must_be_there(run, other, tmp_path):
    def asked(**text):
        return Probing(
            run_folder=str(run.path), out=tmp_path / "o", text=Text(data=(str(other),), **text)
        ).parts()

    with pytest.raises(
        InputError, match=r"unknown column of .* 'none': known are size, text, topic"
    ):
        asked(column=("none",))
    with pytest.raises(InputError, match=r"column 'text': too few of 60 documents have one of two"):
        asked(column=("text",))
    few = tmp_path / "few.jsonl"
    few.write_text('{"text": "a fox"}\n{"text": "an owl"}\n' * 9)
    with pytest.raises(InputError, match=r"has 2 documents to probe: expected 10 or more"):
        Probing(run_folder=str(run.path), out=tmp_path / "o", text=Text(data=(str(few),))).parts()


def _texts(study):
    rows, tokenizer = study.rows, study.loaded.tokenizer
    pairs = zip(rows.tokens.tolist(), rows.lengths.tolist(), strict=True)
    return [
        " ".join(tokenizer.decode([t for t in ids[:n] if t != tokenizer.end]).split())
        for ids, n in pairs
    ]
