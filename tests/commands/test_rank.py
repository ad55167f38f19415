"""`ltm rank`: documents by name, the most surprising first; resumed, and interrupted."""

import json

import pandas as pd
import pytest

from ltm_pyro.commands.cli import main

from ..runs.helpers import train, with_training


@pytest.fixture
def run(run_config, tmp_path):
    return train(run_config, tmp_path / "run")


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "texts"
    (place / "sub").mkdir(parents=True)
    (place / "a.txt").write_text("a crow is a bird")
    (place / "sub" / "b.txt").write_text("zzz qqq xxx!")
    lines = [json.dumps({"text": f"sea 7: wave fish {word}"}) for word in ("salt", "sail", "salt")]
    (place / "c.jsonl").write_text("\n".join(lines))
    return place


def test_a_folder_is_ranked_by_name(run, folder, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["rank", str(run.path), "--data", str(folder), "--texts", "9", "--bound", "elbo:2",
               "--multiple", "8", "--fast.steps", "1", "--out", str(out)]  # fmt: skip
    assert main([*command, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    found = pd.DataFrame(first["documents"])
    assert set(found["name"]) == {"a.txt", "sub/b.txt", "c.jsonl:1", "c.jsonl:2", "c.jsonl:3"}
    assert dict(zip(found["name"], found["text"], strict=True))["sub/b.txt"] == "zzz qqq xxx!"
    known = found[found["texts"] > 0]  # such a model ends nowhere in particular
    assert len(known) >= 2
    assert found["p_value"].notna().tolist() == [True] * len(known) + [False] * (5 - len(known))
    assert known["p_value"].is_monotonic_increasing
    assert (known["q_value"] >= known["p_value"]).all()
    assert "upper tail" in first["protocol"][0]
    pd.testing.assert_frame_equal(pd.read_csv(out / "ranks.csv"), found, check_dtype=False)
    # What is there is not scored again; what is damaged or follows from something else is told.
    parts = sorted((out / "parts").glob("*.json"))
    assert len(parts) > 1
    content = json.loads(parts[0].read_text())
    parts[0].write_text(json.dumps({**content, "nats": [999.0] * len(content["nats"])}))
    assert main([*command, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert max(one["nats"] for one in again["documents"]) >= 999
    parts[0].write_text("{}")
    assert main(command) == 2
    assert "remove it to score it again" in capsys.readouterr().err
    parts[0].unlink()
    assert main(command) == 0
    assert "sub/b.txt" in capsys.readouterr().out
    assert json.loads((out / "ranks.json").read_text()) == first
    assert main([*command, "--seed", "1"]) == 2
    assert "seed 0, and 1 is asked for" in capsys.readouterr().err


def test_what_was_scored_is_not_taken_for_another_ranking(
    run, run_config, folder, tmp_path, capsys
):
    other = train(with_training(run_config, steps=1), tmp_path / "other")
    command = ["rank", str(run.path), "--data", str(folder), "--texts", "2", "--bound", "elbo:1",
               "--multiple", "8", "--fast.steps", "0", "--out", str(tmp_path / "out")]  # fmt: skip
    assert main(command) == 0
    capsys.readouterr()
    for name, changed in (
        ("texts", ["--texts", "3"]), ("bound", ["--bound", "elbo:2"]),
        ("multiple", ["--multiple", "4"]), ("fast.steps", ["--fast.steps", "1"]),
        ("fast.particles", ["--fast.particles", "2"]),
        ("fast.antithetic", ["--fast.particles", "2", "--fast.antithetic", "True"]),
        ("weights", []), ("text", ["--limit", "2"]),
    ):  # fmt: skip
        at = other if name == "weights" else run
        assert main(["rank", str(at.path), *command[2:], *changed]) == 2
        assert f"holds a ranking with {name}" in capsys.readouterr().err
    assert main([*command, "--tail", "two-sided"]) == 0  # of the same texts


def test_bad_input_is_told(run, folder, tmp_path, capsys):
    for options, told in (
        (["--data", str(tmp_path / "none.txt")], "no file or folder"),
        (["--data", str(folder), "--bound", "elbow"], "unknown bound"),
        (["--data", str(folder), "--texts", "0"], "--texts"),
        (["--data", str(folder), "--tail", "lower"], "--tail"),
    ):
        assert main(["rank", str(run.path), *options]) == 2
        assert told in capsys.readouterr().err


def test_stopped_it_keeps_what_is_scored(run, folder, tmp_path, monkeypatch, capsys):
    from ltm_pyro.diagnostics import surprising

    out, score, calls = tmp_path / "out", surprising.evaluate, []

    def stop(*given, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(*given, **options)

    command = ["rank", str(run.path), "--data", str(folder), "--texts", "5", "--bound", "elbo:1",
               "--multiple", "8", "--fast.steps", "0", "--out", str(out)]  # fmt: skip
    monkeypatch.setattr(surprising, "evaluate", stop)
    assert main(command) == 130
    assert "ltm: interrupted" in capsys.readouterr().err
    assert len(list((out / "parts").glob("*.json"))) == 1
    assert main(command) == 0
    whole = capsys.readouterr().out
    assert main(["rank", *command[1:-1], str(tmp_path / "other")]) == 0
    assert capsys.readouterr().out == whole
