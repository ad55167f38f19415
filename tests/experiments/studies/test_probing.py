"""What thoughts hold, probe by probe, from a run's folder to a report."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.data.asked import Text
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.studies import running
from ltm_pyro.experiments.studies.base import plain
from ltm_pyro.experiments.studies.probing import Probing

from ...runs.helpers import train, with_training

PARTS = ["reconstruction", "neighbours", "interpolation", "attribution", "map"]


@pytest.fixture
def other(tmp_path):
    """Sixty documents and ten copies; half of them of $ea, half of wood, one of neither."""
    source = np.random.default_rng(0)
    words = {"$ea_": ["wave", "fish", "sail", "salt"], "wood": ["tree", "leaf", "root", "moss"]}
    lines = []
    for i in range(60):
        topic = list(words)[i % 2]
        text = " ".join(source.choice(words[topic], size=8))
        lines.append({"text": f"{text} {i}", "topic": topic, "size": i % 7})
    lines[-1]["topic"] = "rare"
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
    assert probe["documents"] == sum(probe["values"].values()) == 59
    assert probe["left_out"] == 1  # the rare one; copies are no documents
    assert set(probe["probes"]) == {"thoughts", "layer 0", "layer 1", "bag of words"}
    assert probe["probes"]["bag of words"]["score"][0] > 0.9
    assert probe["neighbours"]["bag of words"]["p"] == 0.1
    assert found["probe-size"]["values"] == {}
    assert len(found["arithmetic-topic"]["steps"]) == 2
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
