"""Studies that train: what they spend, along which axes, and what each change is worth."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ltm_pyro.commands.cli import main
from ltm_pyro.config import Fast
from ltm_pyro.data.asked import Text
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.grids.grid import read_grid
from ltm_pyro.experiments.grids.paired import difference
from ltm_pyro.experiments.grids.scaling_plot import label
from ltm_pyro.experiments.grids.spending import Spending, spent_at_looks
from ltm_pyro.experiments.studies.tax import Tax
from ltm_pyro.guides import NoGuide
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.operations import count
from ltm_pyro.inference.speaking import SpeakThenThink
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.models.autoregressive import Speaking
from ltm_pyro.runs.build import build_guide, build_model
from ltm_pyro.runs.control import build_control, iteration_flops

from ...runs.helpers import train, with_training
from ..test_tax import SMALL

SCORE = {"bounds": "elbo:2,iwae:2,prior:2,same_noise", "rows": 8, "fast_steps": 1,
         "split": "train"}  # fmt: skip


def written(path, **content):
    path.write_text(json.dumps({"train": SMALL, "score": SCORE, **content}))
    return path


def test_axes_are_crossed_with_recipes(tmp_path):
    axes = {"fast.steps": [1, 4], "architecture.layers+thoughts.layers": [2]}
    grid = read_grid(written(tmp_path / "g.json", recipes={"a": ["--speak", "0.5"]}, axes=axes))
    both = "architecture.layers+thoughts.layers-2"
    assert list(grid.recipes) == [f"a_fast.steps-1_{both}", f"a_fast.steps-4_{both}"]
    one = grid.recipes[f"a_fast.steps-4_{both}"]
    assert one[: len(SMALL)] == tuple(SMALL)
    assert one[len(SMALL) :] == (
        "--speak", "0.5", "--fast.steps", "4", "--architecture.layers", "2", "--thoughts.layers",
        "2",
    )  # fmt: skip
    recipes = {"a": ["--speak", "1"], "b": ["--from=a"]}
    grown = read_grid(written(tmp_path / "i.json", recipes=recipes, axes={"slow.decay": [0, 1]}))
    assert grown.begins == {f"b_slow.decay-{i}": f"a_slow.decay-{i}" for i in (0, 1)}
    assert grown.recipes["b_slow.decay-1"] == (*SMALL, "--slow.decay", "1")
    alone = read_grid(written(tmp_path / "h.json", axes={"fast.steps": [1, 4]}))
    assert list(alone.recipes) == ["fast.steps-1", "fast.steps-4"]
    for values, told in ((3, "a list of values"), ([1, 1], "each once"), ([True], "numbers")):
        with pytest.raises(InputError, match=rf"axis fast.steps of .*: expected .*{told}"):
            read_grid(written(tmp_path / "h.json", axes={"fast.steps": values}))


@pytest.mark.parametrize(
    ("sizes", "training", "fast", "slow"),
    [
        ({}, {}, {}, {}),
        pytest.param(
            {"layers": 1, "width": 32, "window": 12},
            {"batch": 3},
            {"steps": 0},
            {"accumulate": 2},
            marks=pytest.mark.slow,
        ),
        ({"width": 8, "feedforward": 100}, {"speak": 0.5, "control": "flops"}, {"steps": 5}, {}),
    ],
)
def test_flops_are_those_that_torch_counts_in_training(
    run_config, corpus, sizes, training, fast, slow
):
    """Of all iterations together; batches differ in their longest row and in their tokens."""
    architecture = dataclasses.replace(run_config.architecture, **sizes)
    config = with_training(run_config, steps=6, **training).replace(
        architecture=architecture, fast=dataclasses.replace(run_config.fast, **fast),
        slow=dataclasses.replace(run_config.slow, **slow),
        thoughts=dataclasses.replace(run_config.thoughts, layers=architecture.layers),
    )  # fmt: skip
    model, t = build_model(config), config.training
    guide = build_guide(config.guide, model)
    spending = Spending(config, corpus, model, guide, build_control(config, model))
    found = spending.until([3, 6])
    svi = SpeakThenThink(model, guide, config.fast, config.slow, speak=t.speak)
    rows = [corpus.train.batch(i, t.batch, t.seed) for i in range(t.steps)]
    assert len({one.token_count for one in rows}) > 1
    for one in rows:  # the first iterations also trace the model
        svi.step(one, t.steps)
    svi.done = svi.spoken = 0
    flops = [count(lambda one=one: svi.step(one, t.steps)) for one in rows]
    assert found[-1]["flops"] == pytest.approx(sum(flops), rel=0.01)
    assert found[0]["flops"] == pytest.approx(sum(flops[:3]), rel=0.01)
    assert found[-1]["tokens"] == sum(one.token_count for one in rows)
    if t.control == "flops":  # as many, up to one iteration; speaking, they are one decoder
        least = sum(flops) - spending.control.of(rows[0]) * 1.3
        assert least <= found[-1]["control_flops"] <= sum(flops) * 1.15
    else:
        assert found[-1]["control_tokens"] == found[-1]["tokens"]
        assert found[-1]["control_flops"] < found[-1]["flops"]


def test_tokens_of_a_control_are_those_that_it_was_trained_on(
    run_config, corpus, tmp_path, monkeypatch
):
    """Of as many FLOPs, so that it sees batches that the model does not."""
    seen, step = {}, DualRateSVI.step

    def noted(svi, rows, *rest, **more):
        if isinstance(svi.model, AutoregressiveModel):
            seen.setdefault(id(svi), []).append(rows.token_count)
        return step(svi, rows, *rest, **more)

    monkeypatch.setattr(DualRateSVI, "step", noted)
    config = with_training(run_config, steps=4, batch=3, baseline=True, control="flops")
    run = train(config, tmp_path / "run")
    tokens = max(seen.values(), key=len)  # not the copy whose FLOPs are counted
    assert len(tokens) > 8
    (look,) = spent_at_looks(run, corpus, [{"step": 4}])
    assert look["control_tokens"] == sum(tokens)
    assert look["tokens"] == sum(line["tokens"] for line in run.log())


def cell(seed, elbo, control, tokens):
    return {"recipe": "r", "seed": seed, "corpus": "c",
            "by_document": {"tokens": tokens, "control": control, "elbo": elbo}}  # fmt: skip


def test_a_control_prepares_no_fast_steps(run_config, corpus):
    """Which it does not take: an iteration is that of the decoder alone, counted by torch."""
    model, rows = build_model(run_config), corpus.train.batch(0, 4, 0)
    control = DualRateSVI(build_control(run_config, model), NoGuide, slow=run_config.slow)
    alone = DualRateSVI(Speaking(model), NoGuide, Fast(steps=0), run_config.slow)
    assert control.fast.steps > 0
    assert iteration_flops(control, rows) == iteration_flops(alone, rows)


def test_differences_are_paired_by_document_and_by_seed():
    source = np.random.default_rng(0)
    tokens, hard = [10] * 200, 30 + 5 * source.standard_normal(200)
    noise = 0.1 * source.standard_normal((2, 200))
    ours = [cell(i, (hard + i + 0.5 + noise[i]).tolist(), [0.0] * 200, tokens) for i in (0, 1)]
    # The same bounds, told as less than another control.
    other = [cell(i, (hard + i - 7).tolist(), [7.0] * 200, tokens) for i in (1, 0)]
    found = difference(ours, other, "elbo")
    assert found.mean == pytest.approx(0.05, abs=4 * 0.1 / (2 * 200) ** 0.5 / 10)
    # Neither what makes a document hard nor what makes a seed good is in the errors.
    assert found.over_documents == pytest.approx(0.1 / 2**0.5 / 200**0.5 / 10, rel=0.2)
    assert found.over_seeds < 0.01
    assert found.verdict == "worse"
    assert dataclasses.replace(found, over_seeds=0.02).verdict == "neither"
    assert dataclasses.replace(found, over_documents=0.03).verdict == "neither"
    assert difference(ours, ours, "elbo", "control").mean > 2
    assert difference(ours[:1], other[:1], "elbo") is None  # of other seeds
    assert difference(ours, [cell(0, [1.0], [0.0], [3])], "elbo") is None
    assert difference(ours, other, "iwae") is None


def test_differences_by_hand():
    """Three seeds, four documents of unequal length, a stream, another text, few documents."""
    tokens, rises = [10, 30, 20, 40], np.array([[1.0, 3, 0, 4], [2, 0, 4, 0], [0, 5, 0, 7]])
    ours = [cell(i, (100 + rise).tolist(), [0.0] * 4, tokens) for i, rise in enumerate(rises)]
    other = [cell(i, [100.0] * 4, [0.0] * 4, tokens) for i in range(3)]
    found = difference(ours, other, "elbo")
    # 8, 6 and 12 nats of 100 tokens.
    assert found.mean == pytest.approx(0.26 / 3)
    assert found.over_seeds == pytest.approx(np.std([0.08, 0.06, 0.12], ddof=1) / 3**0.5)
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(3.182446 * found.over_documents)  # t of 3
    # Of four windows of a stream the error is that of the slowest wave along them, one cosine.
    stream = [{**one, "by_document": {**one["by_document"], "stream": True}} for one in ours]
    found = difference(stream, other, "elbo")
    left = rises.mean(0) - rises.mean(0).sum() / 100 * np.array(tokens)
    wave = (left * np.cos(np.pi * (2 * np.arange(4) + 1) / 8)).sum() * 0.5**0.5
    assert found.over_documents == pytest.approx(abs(wave) * 2 / 100)
    assert found.documents == 2  # which leaves one degree of freedom
    elsewhere = [{**one, "corpus": "d"} for one in other]
    assert difference(ours, elsewhere, "elbo") is None


def test_scaling_tells_what_was_spent_and_is_drawn_again(text_file, tmp_path, capsys):
    grid = written(tmp_path / "g.json", axes={"fast.steps": [1, 2]})
    out = tmp_path / "out"
    command = ["study", "scaling", "--grid", str(grid), "--data", str(text_file), "--out", str(out),
               "--inference-steps", "2", "--inference-steps", "0"]  # fmt: skip
    assert main(command) == 0
    told = capsys.readouterr()
    assert "2 parts, 0 of them finished" in told.err
    assert "to go, by a trial of the first" in told.err
    found = json.loads((out / "results.json").read_text())
    one, two = found["cells"]
    assert label(one) == "fast.steps 1"
    assert [line["step"] for line in two["spent"]] == [2, 3]
    assert two["spent"][-1]["flops"] > one["spent"][-1]["flops"]
    assert two["spent"][-1]["tokens"] == one["spent"][-1]["tokens"] == one["tokens_seen"]
    assert one["spent"][-1]["model_seconds"] > 0
    assert {(line["steps"], line["figure"], line["is_bound"]) for line in one["inference"]} == {
        (0, "elbo", True), (2, "elbo", True), (0, "same_noise", False), (2, "same_noise", False),
    }  # fmt: skip
    (step,) = found["steps"]
    own = [cell["figures"]["elbo"]["nats_per_token"] for cell in (one, two)]
    assert (step["axis"], step["from"], step["to"]) == ("fast.steps", 1, 2)
    assert step["elbo"]["mean"] == pytest.approx(own[1] - own[0], abs=1e-4)
    assert step["control"]["mean"] == 0  # the same decoder on the same batches
    assert "released protocol, **no bound**" in told.out
    pictures = {f"{name}.{kind}" for name in ("training", "inference", "axes")
                for kind in ("png", "svg")}  # fmt: skip
    assert pictures <= {path.name for path in out.iterdir()}
    for name in pictures:
        (out / name).unlink()
    grid.unlink()
    assert main(["study", "redraw", str(out)]) == 0  # without the grid, or the text
    assert pictures <= {path.name for path in out.iterdir()}


@pytest.mark.slow
def test_what_a_decoder_cost_that_thoughts_were_grown_on_is_spent_too(text_file, tmp_path, capsys):
    recipes = {"alone": ["--speak", "1"], "grown": ["--from", "alone"]}
    grid, out = written(tmp_path / "g.json", recipes=recipes), tmp_path / "out"
    command = ["study", "scaling", "--grid", str(grid), "--data", str(text_file), "--out", str(out)]
    assert main([*command, "--inference-steps", "0"]) == 0
    alone, grown = json.loads((out / "results.json").read_text())["cells"]
    assert [look["step"] for look in alone["spent"]] == [2, 3]
    assert [look["step"] for look in grown["spent"]] == [5, 6]
    for name in ("tokens", "control_tokens", "control_flops"):  # both on the same batches
        assert grown["spent"][-1][name] == 2 * alone["spent"][-1][name]
    assert grown["spent"][-1]["flops"] > 2 * alone["spent"][-1]["flops"]
    capsys.readouterr()


@pytest.mark.slow
def test_ablations_are_compared_with_their_reference(text_file, tmp_path, capsys):
    recipes = {"reference": [], "leaking": ["--protocol", "leaking"],
               "as-many-FLOPs": ["--control", "flops"]}  # fmt: skip
    grid = written(tmp_path / "g.json", recipes=recipes)
    command = ["study", "ablations", "--grid", str(grid), "--data", str(text_file), "--out",
               str(tmp_path / "out"), "--json"]  # fmt: skip
    assert main([*command, "--reference", "none"]) == 2
    assert "unknown reference 'none'" in capsys.readouterr().err
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reference"] == "reference"
    rows = found["recipes"]
    assert list(rows) == list(recipes)
    # The same model beside another control, whose nats are kept to 1e-4.
    assert rows["as-many-FLOPs"]["elbo"]["mean"] == 0
    assert rows["as-many-FLOPs"]["elbo"]["verdict"] == "neither (one seed)"
    assert rows["as-many-FLOPs"]["less_control"] != rows["reference"]["less_control"]
    below = rows["leaking"]["bound"] - rows["reference"]["bound"]
    assert below != 0
    assert rows["leaking"]["elbo"]["mean"] == pytest.approx(below, abs=1e-4)
    assert rows["leaking"]["elbo"]["over_documents"] > 0
    assert rows["leaking"]["elbo"]["verdict"].endswith("(one seed)")
    report = (tmp_path / "out/report.md").read_text()
    assert "| as many FLOPs | as-many-FLOPs |" in report
    assert not math.isnan(rows["reference"]["seconds"])


@pytest.mark.slow
def test_from_python_a_grid_is_read_as_on_the_command_line(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ltm_pyro.data.asked import Text\n"
        "from ltm_pyro.experiments.studies.scaling import Scaling\n"
        f"study = Scaling(grid={str(tmp_path / 'g.json')!r}, out={str(tmp_path / 'out')!r},\n"
        f"                text=Text(data=({str(tmp_path / 'a.txt')!r},)))\n"
        "print(study.corpora['fast.steps-1'][0].fast.steps, len(study.cells))\n"
        "assert not any(name.startswith('ltm_pyro.commands') for name in sys.modules)\n"
    )
    written(tmp_path / "g.json", axes={"fast.steps": [1, 4]})
    (tmp_path / "a.txt").write_text("\n\n".join(f"the owl said {i}" for i in range(40)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["1 2"], done.stderr


def test_a_grid_of_a_stranger_runs_nothing_and_writes_where_it_is_told(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n\n".join(f"the owl said {i}" for i in range(40)))
    start = ["study", "ablations", "--data", str(tmp_path / "a.txt"), "--out", str(tmp_path / "o")]
    foreign = written(tmp_path / "g.json", recipes={"a": ["--prior", "no_such_module:Evil"]})
    assert main([*start, "--grid", str(foreign)]) == 2
    assert "names code outside ltm_pyro: no_such_module:Evil;" in capsys.readouterr().err
    for name in ("../../escaped", "/tmp/x", "a/b", ".hidden", ""):
        out = written(tmp_path / "g.json", recipes={name: []})
        assert main([*start, "--grid", str(out)]) == 2
        assert "is to be the name of a folder" in capsys.readouterr().err


def test_figures_of_two_texts_never_meet(tmp_path, capsys):
    for name in ("a", "b"):
        text = "\n\n".join(f"{name} the owl said {i}, and {i * i} more" for i in range(60))
        (tmp_path / f"{name}.txt").write_text(text)
    grid = written(tmp_path / "g.json", recipes={"reference": [], "more": ["--batch", "3"]})
    start = ["study", "ablations", "--grid", str(grid), "--out", str(tmp_path / "o"), "--recipe"]
    assert main([*start, "reference", "--data", str(tmp_path / "a.txt")]) == 0
    assert f"Text: {tmp_path / 'a.txt'}: " in capsys.readouterr().out
    assert main([*start, "more", "--data", str(tmp_path / "b.txt")]) == 2
    assert "holds a study with text" in capsys.readouterr().err
    # Nor where a kill left the cell alone.
    shutil.rmtree(tmp_path / "o/parts")
    (tmp_path / "o/study.json").unlink()
    assert main([*start, "reference", "--data", str(tmp_path / "b.txt")]) == 2
    assert "cell.json is of another text" in capsys.readouterr().err


def test_a_device_that_is_not_here_is_told_before_training(tmp_path, text_file):
    grid = written(tmp_path / "g.json", recipes={"a": []})
    out = tmp_path / "out"
    with pytest.raises(InputError, match="device 'cuda:77' cannot be used"):
        Tax(grid=str(grid), text=Text(data=(str(text_file),)), out=out, device="cuda:77").run()
    assert not out.exists()


def test_the_estimate_of_the_time_counts_the_draws_of_the_scores(text_file, tmp_path, monkeypatch):
    """As fast steps of the recipe's own training, of one draw here."""
    counted = []

    def of(config, corpus, rows, steps, device):
        counted.append((rows, steps))
        return made(config, corpus, rows, steps, device)

    made = Spending.of
    monkeypatch.setattr(Spending, "of", of)
    for draws in ({}, {"fast_particles": 3}):
        grid = written(tmp_path / "g.json", recipes={"a": []}, score={**SCORE, **draws})
        study = Tax(grid=str(grid), text=Text(data=(str(text_file),)), out=tmp_path / "out")
        assert study._work["a"] > 0
    assert counted == [(8, 2), (8, 6)]  # of the fit, and of the released protocol
