"""Right answers are counted as they are, with each kind of thoughts, and compared by question."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.commands.cli import main
from ltm_pyro.config import Data
from ltm_pyro.experiments.reasoning.report import ARMS, report
from ltm_pyro.experiments.studies import reasoning
from ltm_pyro.experiments.studies.reasoning import Reasoning
from ltm_pyro.generation import Generation
from ltm_pyro.runs.seen import seen

from ...runs.helpers import train, with_training
from ..test_questions import sums


@pytest.fixture
def data(tmp_path):
    return Data(str(sums(tmp_path / "sums.jsonl", range(150))), fields=("question", "answer"),
                vocabulary=300)  # fmt: skip


@pytest.fixture
def run(run_config, data, tmp_path):
    architecture = dataclasses.replace(run_config.architecture, length=64, vocabulary=300)
    config = run_config.replace(architecture=architecture, data=data)
    return train(with_training(config, baseline=True, steps=2), tmp_path / "run")


def asked(run, out, *more):
    small = ["--questions", "3", "--samples", "4", "--shots", "2", "--room", "6"]
    return main(["study", "reasoning", str(run.path), "--out", str(out), *small, *more])


def test_a_run_is_asked(run, tmp_path, capsys):
    assert asked(run, tmp_path / "out") == 0
    told = capsys.readouterr()
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert set(results["arms"]) == {"posterior", "prior", "control", "guess"}
    assert "posterior - control" in results["differences"]
    for name, own in results["arms"].items():
        assert own["questions"] == 3
        assert set(own["right"]) == {"pass@1", "pass@2", "pass@3", "pass@4", "vote"}
        if name == "guess":
            continue
        # A model of two iterations: none right of three, and that is no certainty.
        assert own["right"]["pass@4"]["mean"] == 0
        assert own["right"]["pass@4"]["interval"] == pytest.approx([0, 0.5615], abs=1e-4)
    assert "0.00 [0.00, 56.15]" in told.out
    assert "3 parts, 0 of them finished" in told.err
    parts = {path.stem: json.loads(path.read_text())["found"]
             for path in (tmp_path / "out/parts").iterdir()}  # fmt: skip
    assert len(parts) == 3
    texts = {arm: [q["texts"] for name in sorted(parts) if parts[name]["arm"] == arm
                   for q in parts[name]["questions"]] for arm in ARMS}  # fmt: skip
    assert len({json.dumps(one) for one in texts.values()}) == 3  # each arm writes texts of its own
    trained = {f"{digest:016x}" for digest in seen(run.path).tolist()}
    for part in parts.values():
        for one in part["questions"]:
            assert {*one["demonstrations"]} <= trained
            assert one["id"] not in trained
    # A question alone is answered as among others.
    alone = Reasoning(run_folder=str(run.path), out=tmp_path, questions=3, samples=4, shots=2,
                      room=6, chunk=1)  # fmt: skip
    for arm, own in texts.items():
        found = alone.answered(arm, alone.exam.asked[1:2])
        assert [q["texts"] for q in found["questions"]] == own[1:2]
    # What is finished is not computed again, and the report is made of parts alone.
    (tmp_path / "out/parts/00000-control.json").unlink()
    (tmp_path / "out/report.md").unlink()
    capsys.readouterr()
    assert asked(run, tmp_path / "out") == 0
    assert "3 parts, 2 of them finished" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/results.json").read_text()) == results
    assert main(["study", "redraw", str(tmp_path / "out")]) == 0


def oracle(rights):
    """Writes right answers to the first samples of each prompt, as many as its arm has."""

    def generate(model, tokenizer, prompts, n, **given):
        arm = "control" if isinstance(model, ltm.models.AutoregressiveModel) else (
            "prior" if "thoughts" in given else "posterior"
        )  # fmt: skip
        texts = []
        for prompt in prompts:
            number = int(prompt.rpartition("question ")[2].split(":")[0])
            right = rights[arm](number)
            texts += [f"#### {3 * number}.0" if i < right else f"I say {i}" for i in range(n)]
        count = len(texts)
        none = torch.zeros(count, 1, 1, 1)
        return Generation([""] * count, texts, ["end"] * count, none[:, 0, 0], none[:, 0, 0], none)

    return generate


def test_an_oracle_of_known_accuracy_has_it(run, tmp_path, monkeypatch):
    """Even questions have three samples of four right with thoughts, odd ones none."""
    rights = {"posterior": lambda i: 3 * (i % 2 == 0), "prior": lambda i: 1, "control": lambda i: 0}
    monkeypatch.setattr(reasoning, "generate", oracle(rights))
    study = Reasoning(run_folder=str(run.path), out=tmp_path / "out", questions=5, samples=4,
                      shots=1, room=6)  # fmt: skip
    found = study.run(lambda text: None).summary
    numbers = [int(one.record.question.split(":")[0].split()[1]) for one in study.exam.asked]
    even = np.mean([i % 2 == 0 for i in numbers])
    assert 0 < even < 1
    of = {arm: {what: x["mean"] for what, x in own["right"].items()}
          for arm, own in found["arms"].items()}  # fmt: skip
    expected = {"pass@1": 0.75, "pass@2": 1.0, "pass@3": 1.0, "pass@4": 1.0, "vote": 1.0}
    assert of["posterior"] == pytest.approx({what: even * x for what, x in expected.items()})
    # One vote each for the right answer and three wrong ones: a tie of four.
    chance = {"pass@1": 0.25, "pass@2": 0.5, "pass@3": 0.75, "pass@4": 1.0, "vote": 0.25}
    assert of["prior"] == pytest.approx(chance)
    assert set(of["control"].values()) == {0.0}
    less = found["differences"]["posterior - prior"]["pass@1"]["mean"]
    assert less == pytest.approx(even * 0.75 - 0.25)
    assert found["arms"]["posterior"]["texts"]["marked"] == pytest.approx(even * 0.75)


def test_questions_without_room_are_wrong_not_left_out():
    part = {"arm": "posterior", "facts": {"of": 9, "left_out": 0, "near_training": 0,
            "commonest": ["8", "7"], "row": 64, "room": 6, "reach": None}}  # fmt: skip
    one = {"id": "a", "question": "?", "reference": "7", "demonstrations": [], "asked": True,
           "texts": ["7", "8"], "ended": ["end", "length"]}  # fmt: skip
    two = {**one, "id": "b", "asked": False, "texts": [], "ended": []}
    found = report({"p": {**part, "questions": [one, two]}}, samples=2, shots=3, split="test")
    right = found.summary["arms"]["posterior"]["right"]
    assert right["pass@1"]["mean"] == 0.25
    assert right["pass@2"]["mean"] == 0.5
    guess = found.summary["arms"]["guess"]["right"]
    assert [guess[what]["mean"] for what in ("pass@1", "pass@2", "vote")] == [0, 1, 0]
    assert found.summary["facts"]["not_asked"] == 1
    assert "not all questions have the 3 demonstrations asked for: 1 have 0." in found.texts[0]
    assert "1 do not fit by themselves" in found.texts[0]
    assert "train it with --baseline" in "".join(found.texts)
    assert found.summary["arms"]["posterior"]["texts"]["cut"] == 0.5


def test_what_is_asked_for_must_be_possible(run, tmp_path, capsys):
    assert asked(run, tmp_path / "out", "--room", "64") == 2
    assert "--room 64: a row of this run has 64 tokens" in capsys.readouterr().err
    assert asked(run, tmp_path / "out", "--room", "60") == 2
    assert "none of 3 questions leaves 60 tokens for an answer" in capsys.readouterr().err
    assert asked(run, tmp_path / "out", "--answer", "answers") == 2
    assert "did you mean 'answer'" in capsys.readouterr().err
    assert asked(run, tmp_path / "out", "--between", "") == 2
    assert "--between is empty" in capsys.readouterr().err
