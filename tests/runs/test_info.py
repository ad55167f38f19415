"""What `ltm info` tells of a run, also of one that is not finished or is damaged."""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.config import Named
from ltm_pyro.runs import folder
from ltm_pyro.runs.info import info_run
from ltm_pyro.runs.info_words import LINES, run_text

ROOT = Path(__file__).parent.parent.parent


def train(config, out, **changes):
    training = dataclasses.replace(config.training, **changes)
    return ltm.train(config.replace(training=training), out, progress=False)


def info(capsys, path):
    capsys.readouterr()
    assert cli.main(["info", str(path)]) == 0
    return capsys.readouterr().out


@pytest.fixture
def run(run_config, tmp_path):
    return train(run_config, tmp_path / "run", steps=6, baseline=True, save_every=4)


def test_facts_are_those_of_the_run(run, corpus, run_config, capsys):
    assert cli.main(["info", str(run.path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == info_run(run.path)
    log = run.log()
    assert facts["data"]["source"] == corpus.name
    assert facts["data"]["fingerprint"] == corpus.fingerprint
    splits = {name: corpus.rows(name) for name in ("train", "valid", "test")}
    assert facts["data"]["splits"] == {
        name: {"rows": len(one), "tokens": one.token_count, "bytes": int(one.bytes.sum())}
        for name, one in splits.items()
    }
    assert (facts["iterations"], facts["of"], facts["logged"]) == (6, 6, 6)
    assert facts["tokens_seen"] == sum(line["tokens"] for line in log)
    assert facts["epochs"] == 6 * 4 / len(corpus.train)
    assert facts["parameters"] == run.model.parameter_count()
    assert facts["parameters_without_latents"] == run.baseline.parameter_count()
    assert (facts["prior"], facts["guide"]) == ("standard-normal", "mean-field")
    assert facts["fast"] == dataclasses.asdict(run_config.fast)
    assert facts["slow"] == dataclasses.asdict(run_config.slow)
    assert [look["step"] for look in facts["history"]] == [2, 4, 6]
    for look in facts["history"]:
        line = log[look["step"] - 1]
        figures = {k: v for k, v in line.items() if k.startswith("held_out_")}
        assert len(figures) == 10
        assert figures.items() <= look.items()
        before = log[: look["step"]]
        assert look["tokens_seen"] == sum(one["tokens"] for one in before)
        assert look["minutes"] == pytest.approx(sum(one["seconds"] for one in before) / 60)
    best = ltm.load(run.path, "best").step
    assert facts["best"] == {"step": best, "held_out_elbo": log[best - 1]["held_out_elbo"]}
    assert facts["held_out_elbo"] == log[-1]["held_out_elbo"]
    assert facts["versions"] == run.record["versions"]


def test_the_text_has_all_that_a_reader_asks(run, capsys):
    told = info(capsys, run.path)
    parameters = f"{run.model.parameter_count():,} parameters"
    for part in (
        "6 of 6 iterations saved", "documents.jsonl, document rows of up to 12 tokens", "train ",
        "SHA-256 ", "epochs", parameters, "standard-normal", "mean-field",
        "1 step of Adam, lr 0.3",
        "1 step of AdamW, lr 0.0004 to 4e-05 on each batch of 4", "± s.e.", "no latents",
        "bits/byte", "minutes", "  best", f"ltm train --resume --out {run.path}",
        f"ltm train --config {run.path}/config.json --out {run.path}-again", "Kong, D.",
    ):  # fmt: skip
        assert part in told
    assert "not the same" not in told


def test_the_table_is_small_and_has_the_last_and_the_best(run):
    facts = info_run(run.path)
    look = facts["history"][-1]
    for count in (1, 2, 11, 12, 13, 40, 500):
        history = [{**look, "step": i + 1} for i in range(count)]
        best = {"step": max(1, count - 3), "held_out_elbo": 1.0}
        told = run_text({**facts, "history": history, "best": best})
        lines = re.findall(r"^ +(\d+) .*?( best)?$", told, re.M)
        steps = [int(step) for step, _ in lines if int(step) <= count]
        assert len(steps) <= LINES
        assert {1, count, best["step"]} <= set(steps)
        assert [int(step) for step, mark in lines if mark] == [best["step"]]


def test_the_commands_told_are_the_ones_that_work(run, tmp_path, capsys, monkeypatch):
    facts = info_run(run.path)
    for name in ("resume", "repeat"):
        program, *arguments = shlex.split(facts[name])
        assert program == "ltm"
        assert cli.main([*arguments, "--quiet"]) == 0
    again = Path(f"{run.path}-again")
    for name in (folder.MODEL,):
        assert (again / name).read_bytes() == (run.path / name).read_bytes()


def test_a_resume_that_changed_the_end_is_told(run, run_config, capsys):
    training = dataclasses.replace(run.config.training, steps=8)
    ltm.train(run.config.replace(training=training), run.path, resume=True, progress=False)
    told = info(capsys, run.path)
    assert "at step 6 to reach 8" in told
    assert "(not the same: a resume changed the number of iterations" in told


def test_a_run_that_was_stopped_is_told_so(run_config, tmp_path, capsys):
    class Stop(Exception):
        pass

    def stop(line):
        if line.startswith("step 4"):
            raise Stop

    training = dataclasses.replace(run_config.training, steps=6, save_every=3)
    config = run_config.replace(training=training)
    with pytest.raises(Stop):
        ltm.train(config, tmp_path / "run", progress=False, note=stop)
    facts = info_run(tmp_path / "run")
    assert (facts["iterations"], facts["logged"]) == (3, 3)
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 4, "tokens": 5, "seconds": 1}\n{"step": 5, "tok')
    told = info(capsys, tmp_path / "run")
    assert "3 of 6 iterations saved; the log reaches 4: it is still running, or was st" in told
    assert info_run(tmp_path / "run")["tokens_seen"] == facts["tokens_seen"]
    for name in ("trainer.pt", "model.safetensors", "best.safetensors"):
        (tmp_path / "run" / name).unlink()
    assert "0 of 6 iterations saved yet; the log reaches 4" in info(capsys, tmp_path / "run")


def test_missing_and_damaged_files_are_told(run, capsys):
    log = run.path / "log.jsonl"
    whole = log.read_text()
    log.unlink()
    assert "its log.jsonl is missing, so what it saw over time is not known" in info(
        capsys, run.path
    )
    log.write_text("nonsense\n" + whole)
    assert cli.main(["info", str(run.path)]) == 2
    assert "log.jsonl is damaged in line 1" in capsys.readouterr().err
    for line in ('{"tokens": 3}', '{"step": 1, "nats_per_token": "low"}'):
        log.write_text(f"{line}\n" + whole)
        folder.seal(run.path)
        assert cli.main(["info", str(run.path)]) == 2
        assert "log.jsonl is damaged in line 1" in capsys.readouterr().err
    log.write_text("")
    assert cli.main(["info", str(run.path)]) == 2
    assert "log.jsonl is damaged, or another run's" in capsys.readouterr().err
    folder.seal(run.path)
    assert "No look at held-out text is logged." in info(capsys, run.path)
    (run.path / "best.safetensors").write_bytes(b"123")
    assert cli.main(["info", str(run.path)]) == 2
    assert "best.safetensors is damaged" in capsys.readouterr().err


def test_sizes_that_no_tensor_has_are_told(run, capsys):
    record = json.loads((run.path / "config.json").read_text())
    record["config"]["architecture"] |= {"width": 2**31, "feedforward": 2**33}
    (run.path / "config.json").write_text(json.dumps(record))
    folder.seal(run.path)
    assert cli.main(["info", str(run.path)]) == 2
    assert "these sizes make a tensor of more than 2^63 bytes" in capsys.readouterr().err


def test_a_split_that_is_no_split_is_told(run, capsys):
    record = json.loads((run.path / "config.json").read_text())
    record["data"]["splits"]["more"] = {"rows": 3}
    (run.path / "config.json").write_text(json.dumps(record))
    folder.seal(run.path)
    assert cli.main(["info", str(run.path)]) == 2
    assert "data.splits.more has no 'tokens'" in capsys.readouterr().err


def test_how_to_cite_agrees_with_the_citation_file(run):
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    software, paper = info_run(run.path)["cite"]
    assert cff["title"] in software
    assert cff["authors"][0]["name"] in software
    assert f"version {cff['version']}" in software
    assert cff["version"] == ltm.__version__
    [article] = cff["references"]
    names = [f"{one['family-names']}, " + " ".join(f"{n[0]}." for n in one["given-names"].split())
             for one in article["authors"]]  # fmt: skip
    assert paper.startswith(", ".join(names) + f" ({article['year']}). {article['title']}.")
    assert article["url"].endswith("2502.01567")
    assert "arXiv:2502.01567" in paper


def test_a_decoder_without_a_window_has_none(run_config, tmp_path):
    run = ltm.train(
        run_config.replace(decoder=Named("lstm")), tmp_path / "run", progress=False
    )  # fmt: skip
    facts = info_run(run.path)
    assert (facts["decoder"], facts["window"]) == ("lstm", None)
    assert "the whole row in view" in run_text(facts)


def test_draws_in_pairs_are_told(run_config, tmp_path):
    for pairs in (False, True):
        fast = dataclasses.replace(run_config.fast, particles=2, antithetic=pairs)
        config = run_config.replace(fast=fast)
        told = run_text(info_run(ltm.train(config, tmp_path / str(pairs), progress=False).path))
        assert "particles: 2" in told
        assert ("particles: 2 in pairs" in told) == pairs
