"""What a run writes beside held-out text, and whether fitting thoughts on the way changes it."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from ltm_pyro.commands.cli import main
from ltm_pyro.data.asked import Text
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.quality.report import (
    Mean,
    _others,
    _perplexity,
    _progressive,
    beyond,
    less,
    tell,
    verdict,
)
from ltm_pyro.experiments.quality.scorers import HuggingFace
from ltm_pyro.experiments.studies.quality import Quality

from ...runs.helpers import train, with_training
from ..test_scorers import saved

FEW = {"texts": 4, "set_size": 2, "prompt_tokens": 3, "tokens": 8, "rounds": 1, "split": "all"}


def test_all_ways_of_writing_stand_beside_held_out_text(run, tmp_path, capsys):
    out = tmp_path / "out"
    options = [w for k, v in FEW.items() for w in (f"--{k.replace('_', '-')}", str(v))]
    assert main(["study", "quality", str(run.path), "--out", str(out), *options,
                 "--progressive", "4"]) == 0  # fmt: skip
    told = capsys.readouterr().out
    parts = {p.stem: json.loads(p.read_text())["found"] for p in (out / "parts").iterdir()}
    assert set(parts) == {
        "held-out", "unconditional", "conditional", "progressive", "rethinking", "control",
    }  # fmt: skip
    held, plain, again = (parts[name] for name in ("held-out", "conditional", "progressive"))
    # Of the same prompts, and the first four tokens of a text are those of the plain one.
    prompts = [one["prompt"] for one in held["texts"]]
    assert len(set(prompts)) == 4
    for name in ("conditional", "progressive", "rethinking", "control"):
        assert [one["prompt"] for one in parts[name]["texts"]] == prompts
    assert not any(one["prompt"] for one in parts["unconditional"]["texts"])
    assert "search, no draw of the model and no likelihood" in parts["rethinking"]["protocol"]
    assert "every 4 tokens" in again["protocol"]
    assert max(held["of_text"]["tokens"]) <= 8
    # The answer is the mean of paired differences.
    assert "of split all, trained on or not" in told
    found = json.loads((out / "results.json").read_text())
    change = np.subtract(again["of_text"]["control"], plain["of_text"]["control"])
    one = found["progressive"]["control"]
    assert one["value"] == pytest.approx(change.mean())
    assert one["standard_error"] == pytest.approx(change.std(ddof=1) / 2)
    assert f"{change.mean():+.4f} ± {change.std(ddof=1) / 2:.4f}" in told
    assert told.startswith("**Does progressive fitting help?**")
    assert "Rethinking is a search" in told
    mean = np.mean(held["of_text"]["control"])
    assert f"| {math.exp(mean):.2f} ±" in told
    assert (out / "quality.png").stat().st_size > 5000
    # It is told again without the run.
    before = (out / "report.md").read_text()
    for path in run.path.iterdir():
        if path.is_file():
            path.unlink()
    assert main(["study", "redraw", str(out)]) == 0
    assert (out / "report.md").read_text() == before


def test_fitting_after_the_last_token_changes_nothing(run, tmp_path):
    study = Quality(run_folder=str(run.path), out=tmp_path / "out", progressive=8, **FEW)
    plain, again = study.judge("conditional"), study.judge("progressive")
    assert plain["texts"] == again["texts"]
    held = study.judge("held-out")
    results = tell({"held-out": held, "conditional": plain, "progressive": again}, study)
    changes = results.summary["progressive"]
    assert all(one["value"] == 0 for one in changes.values() if one["units"])
    assert all(one["verdict"] == "no change shown" for one in changes.values())
    assert "no help is shown" in results.texts[0]


def test_held_out_text_is_what_follows_the_prompt(run, text_file, tmp_path):
    study = Quality(run_folder=str(run.path), out=tmp_path / "out", **FEW)
    documents = [json.loads(line)["text"] for line in text_file.read_text().splitlines()]
    for one in study.judge("held-out")["texts"]:
        assert sum(text.startswith(one["prompt"] + one["text"]) for text in documents) >= 1
    # Text that the run was trained on has no new n-gram; what no text has is all new.
    row = study.corpus.train[0]
    known = row.tokens[0, : int(row.lengths)].tolist()
    end = study.loaded.tokenizer.end
    assert study._copied([known, [end] * 5]) == {"new": [0.0, 1.0], "longest": [len(known), 1.0]}
    assert study._copied([[], known[:3]]) == {"new": [None, None], "longest": [0.0, 3.0]}


def test_without_a_control_nothing_is_scored_by_it(run_config, tmp_path):
    run = train(with_training(run_config, steps=1), tmp_path / "run")
    study = Quality(run_folder=str(run.path), out=tmp_path / "out", **FEW)
    assert "control" not in study.ways()
    assert "control" not in study.judge("held-out")["of_text"]


def test_a_scorer_stands_beside_the_control(run, tmp_path):
    scorer = saved(tmp_path / "scorer")
    study = Quality(run_folder=str(run.path), out=tmp_path / "out", scorer=scorer, **FEW)
    found = study.judge("held-out")
    other = HuggingFace(scorer)
    for one, nats in zip(found["texts"], found["of_text"]["scorer"], strict=True):
        total, number = other.score(one["prompt"], one["text"])
        assert nats == pytest.approx(total / number)
    table = "\n".join(tell({"held-out": found}, study).texts)
    perplexity = math.exp(np.mean(found["of_text"]["scorer"]))
    assert f"| perplexity under the scorer | {perplexity:.2f} ±" in table


def test_another_scorer_in_the_same_folder_is_another_study(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Quality, "ways", lambda _: {"held-out": 1.0})
    some, lines = {"run_folder": str(run.path), "out": tmp_path / "out", **FEW}, []
    scorer = saved(tmp_path / "scorer")
    Quality(**some, scorer=scorer).run(lambda _: None)
    moved = Quality(**some, scorer=scorer.rename(tmp_path / "moved"))
    moved.run(lines.append)
    assert "1 part, 1 of them finished" in lines[0]
    weights = tmp_path / "moved" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match=r"scorer 'files of SHA-256 \w+', and 'files of"):
        moved.run(lines.append)


def test_change_is_told_for_sure_as_often_as_it_says():
    """Of no change, 5 % by chance: eight sets with two standard errors would say so in 8.6 %."""
    generator, trials = np.random.default_rng(0), 4000
    draws = generator.normal(size=(trials, 8))
    far = Mean(1.0, 0.0, 8)
    told = [verdict(Mean.of(one), far, 1) != "no change shown" for one in draws]
    assert abs(np.mean(told) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / trials)
    grown, below, above = Mean.of(draws[0] + 9), Mean.of(draws[1] - 9), Mean.of(draws[1] + 9)
    assert verdict(grown, below, 11) == "nearer"
    assert verdict(grown, above, 11) == "further"
    assert verdict(Mean.of(-draws[0] - 9), above, 11) == "nearer"
    assert verdict(grown, Mean(9.0, math.nan, 1), 11) == "changed"


@pytest.mark.parametrize("truth", [0.0, 0.05])
def test_nearer_is_said_no_more_often_in_error_than_it_says(truth):
    """Held-out text is as far from one way as from the other, or a little nearer to the first.

    Its mean of 16 texts has an error of 0.25: by means alone one word or the other is always said.
    """
    generator, trials = np.random.default_rng(1), 1000
    wrong = changed = 0
    for _ in range(trials):
        base = generator.normal(0, 0.1, 16)
        ways = [0.5 + base, -0.5 + base, generator.normal(truth, 1.0, 16)]
        before, after, held = ({"of_text": {"new": one}, "of_set": {}} for one in ways)
        told = verdict(less(after, before, "new"), beyond(after, before, held, "new"), 1)
        wrong += told == "nearer" or (told == "further" and not truth)
        changed += told == "changed"
    assert wrong / trials < 0.05 + 4 * math.sqrt(0.05 * 0.95 / trials)
    assert changed > 0.85 * trials


def test_one_verdict_is_for_all_measures_together():
    """Of eight texts 2.5 errors are shown of one measure, and of two not: Student's t needs 2.84.

    One that needs 2.36 errors is not shown by 2.33, which eight degrees of freedom would do.
    """
    noise = 7**0.5 * np.tile([1.0, -1.0], 4)  # the error of its mean is one
    after, held = 2.5 + noise, np.full(8, 100.0)
    ways = {"conditional": np.zeros(8), "progressive": after, "held-out": held}
    found = {n: {"of_text": {"new": x, "longest": x}, "of_set": {}} for n, x in ways.items()}
    for known, told in ((["new"], "nearer"), (["new", "longest"], "no change shown")):
        means = {n: dict.fromkeys(known, Mean.of(x)) for n, x in ways.items()}
        _, _, changes = _progressive(found, means, known, SimpleNamespace(progressive=8))
        assert changes["new"] == {
            "value": pytest.approx(2.5), "standard_error": pytest.approx(1), "units": 8,
            "verdict": told,
        }  # fmt: skip
    assert verdict(Mean(2.33, 1.0, 8), Mean(-9.0, 0.0, 8), 1) == "no change shown"
    assert verdict(Mean(2.4, 1.0, 8), Mean(-9.0, 0.0, 8), 1) == "nearer"


def test_means_and_differences_of_ways_by_hand():
    some = Mean.of(np.array([1.0, 2.0, 6.0, math.nan]))
    assert (some.value, some.error, some.units) == (3, pytest.approx((7 / 3) ** 0.5), 3)
    one, other, aim = ({"of_text": {"new": [x, x]}, "of_set": {}} for x in (5.0, 2.0, 1.5))
    assert beyond(one, other, aim, "new").value == 2  # 3.5, the middle, less the aim
    assert _perplexity(Mean(math.log(50), 0.01, 9)) == "50.00 ± 0.50"
    found = {"conditional": one, "control": other, "held-out": aim}
    assert "| +3.0000 ± 0.0000 | +3.5000 ± 0.0000 |" in _others(found, ["new"])[1]


def test_differences_are_paired():
    base = np.arange(10.0) * 100
    one = {"of_text": {"new": [*(base + 1.0), None]}, "of_set": {}}
    other = {"of_text": {"new": [*base, 4.0]}, "of_set": {}}
    change = less(one, other, "new")
    assert (change.value, change.error, change.units) == (1.0, 0.0, 10)
    assert less(one, other, "scorer") is None


def test_what_is_asked_for_must_be_there(run, tmp_path):
    some = {"run_folder": str(run.path), "out": tmp_path / "out"}
    with pytest.raises(InputError, match=r"--texts 8 are no two sets of --set-size 8"):
        Quality(**some, texts=8)
    with pytest.raises(InputError, match=r"--scorer .*nothing: expected .*|--scorer needs trans"):
        Quality(**some, **FEW, scorer=tmp_path / "nothing").parts()
    with pytest.raises(InputError, match=r"--prompt-tokens 3 and --tokens 10: a row .* has 12"):
        Quality(**some, **{**FEW, "tokens": 10}).parts()
    other = tmp_path / "other.txt"
    other.write_text("a crow is a bird\n\nno fox is a bird, said the crow\n\n" * 4)
    with pytest.raises(InputError, match=r"other.txt is not the text that .* was trained on"):
        Quality(**some, **FEW, text=Text(data=(str(other),))).parts()
    with pytest.raises(InputError, match=r"has 3 held-out documents .*: fewer than two sets of 2"):
        Quality(**some, **{**FEW, "split": None}).parts()
