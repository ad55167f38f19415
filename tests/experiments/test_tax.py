"""The study of what thoughts cost: its cells, its table, its command."""

import dataclasses
import json
from shutil import rmtree

import numpy as np
import pytest

from ltm_pyro.bounds import evaluate
from ltm_pyro.commands.cli import main
from ltm_pyro.config import Named
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.grids import paired, tax, tax_tables
from ltm_pyro.runs.checkpoint import load

from ..processes import together

SMALL = [
    "--length", "12", "--vocabulary", "300", "--architecture.width", "16", "--architecture.heads",
    "2", "--architecture.feedforward", "24", "--thoughts.dim", "3", "--fast.steps", "1", "--batch",
    "4", "--steps", "3", "--check-every", "2", "--check-rows", "4",
]  # fmt: skip
SCORE = {"bounds": "elbo:2,iwae:2", "rows": 8, "fast_steps": 2, "split": "train",
         "guides": [{"name": "covariance"}]}  # fmt: skip


@pytest.fixture
def grid(tmp_path):
    place = tmp_path / "grid.json"
    recipes = {"together": [], "grown": ["--speak", "0.5"]}
    place.write_text(json.dumps({"train": SMALL, "recipes": recipes, "score": SCORE}))
    return place


def test_cells_are_done_once_and_go_on(grid, text_file, tmp_path, capsys, monkeypatch):
    out = tmp_path / "study"
    command = ["study", "tax", "--grid", str(grid), "--data", str(text_file), "--out", str(out)]
    begun = []
    train = tax.train

    def halted(config, place, *rest, **more):
        begun.append((place.parent.parent.name, config.training.seed, more["resume"]))
        if len(begun) == 3:
            raise KeyboardInterrupt
        return train(config, place, *rest, **more)

    monkeypatch.setattr(tax, "train", halted)
    assert main([*command, "--seeds", "2"]) == 130
    assert main([*command, "--seeds", "2", "--json"]) == 0
    assert begun == [
        ("together", 0, False), ("grown", 0, False), ("together", 1, False),
        ("together", 1, False), ("grown", 1, False),
    ]  # fmt: skip
    table = json.loads(capsys.readouterr().out)
    assert list(table) == ["together", "grown"]
    assert list(table["grown"]) == ["elbo", "iwae", "elbo, covariance"]
    cells = [json.loads((out / f"grown/seed-{i}/cell.json").read_text()) for i in (0, 1)]
    each = [cell["tax"]["elbo"]["nats_per_token"] for cell in cells]
    assert table["grown"]["elbo"]["by_seed"] == each
    assert table["grown"]["elbo"]["mean"] == pytest.approx(np.mean(each))
    assert table["grown"]["elbo"]["over_seeds"] == pytest.approx(abs(each[0] - each[1]) / 2)
    assert (out / "tax.png").stat().st_size > 1000
    assert json.loads((out / "tax.json").read_text()) == table
    begun.append(None)
    assert main([*command, "--recipe", "grown"]) == 0  # nothing is left to do
    assert begun[-1] is None
    # Another grid does not take these cells for its own.
    content = json.loads(grid.read_text())
    grid.write_text(json.dumps({**content, "train": [*SMALL, "--slow.lr", "0.1"]}))
    assert main(command) == 2
    assert "was made by another configuration" in capsys.readouterr().err


ALONE, GROWN = ["--speak", "1"], ["--from", "alone", "--slow.lr", "1e-3"]


def test_thoughts_are_grown_on_the_decoder_of_another_recipe(grid, text_file, tmp_path, capsys):
    """Of the same seed, which is trained first though it was not asked for."""
    content, out = json.loads(grid.read_text()), tmp_path / "study"
    score = {"bounds": "elbo:2", "rows": 8, "fast_steps": 1, "split": "train"}
    recipes = {"other": [], "alone": ALONE, "grown": GROWN}
    grid.write_text(json.dumps({**content, "recipes": recipes, "score": score}))
    command = ["study", "tax", "--grid", str(grid), "--data", str(text_file), "--out", str(out)]
    assert main([*command, "--recipe", "grown", "--seeds", "2"]) == 0
    for seed in (0, 1):
        places = [out / name / f"seed-{seed}" for name in ("alone", "grown")]
        alone, grown = (json.loads((place / "cell.json").read_text()) for place in places)
        record = json.loads((places[1] / "run/config.json").read_text())["grown_on"]
        own = json.loads((places[0] / "run/config.json").read_text())["id"]
        assert (record["id"], record["of"]) == (own, "its control")
        assert alone["tax"]["elbo"]["nats_per_token"] == pytest.approx(0, abs=1e-5)
        assert grown["before"] == tax.cost_of(alone)
        assert grown["before"]["iterations"] == 3
        assert tax.cost_of(grown)["iterations"] == 6
    assert not (out / "other").exists()
    # Figures of thoughts follow from the decoder that they were grown on.
    recipes["alone"] = [*ALONE, "--slow.decay", "1"]
    grid.write_text(json.dumps({**content, "recipes": recipes, "score": score}))
    assert main([*command, "--recipe", "grown"]) == 2
    assert "was made by another configuration of 'alone'" in capsys.readouterr().err
    rmtree(out / "alone")
    assert main([*command, "--recipe", "grown"]) == 2
    assert "was made by another configuration of 'grown'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipes", "told"),
    [
        ({"grown": GROWN, "alone": ALONE}, "begins with 'alone', and none stands before it"),
        ({"a": ALONE, "grown": GROWN}, "unknown recipe before grown 'alone'"),
        ({"alone": [], "grown": GROWN}, "begins with 'alone', which thinks: give that --speak 1"),
        ({"alone": [*ALONE, "--control", "parameters"], "grown": GROWN}, "take the control"),
        ({"alone": ALONE, "grown": [*GROWN, "--control", "parameters"]}, "take the control"),
        ({"alone": ALONE, "grown": [*GROWN, "--overwrite"]}, "recipe 'grown' of "),
        ({"alone": ALONE, "grown": ["--from"]}, 'expected "--from", "RECIPE" once'),
        ({"alone": ALONE, "grown": [*GROWN, *GROWN]}, 'expected "--from", "RECIPE" once'),
        ({"alone": ALONE, "grown": [*GROWN, "--architecture.width", "24"]},
         "begins with 'alone', whose decoder is another"),
    ],
)  # fmt: skip
def test_a_recipe_begins_with_one_before_it(grid, text_file, tmp_path, capsys, recipes, told):
    content, out = json.loads(grid.read_text()), tmp_path / "study"
    grid.write_text(json.dumps({**content, "recipes": recipes}))
    command = ["study", "tax", "--grid", str(grid), "--data", str(text_file), "--out", str(out)]
    assert main(command) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_what_is_half_grown_goes_on_from_the_decoder_it_began_with(
    grid, text_file, tmp_path, capsys, monkeypatch
):
    content, out = json.loads(grid.read_text()), tmp_path / "study"
    score = {"bounds": "elbo:2", "rows": 8, "fast_steps": 1, "split": "train"}
    recipes = {"alone": ALONE, "grown": GROWN}
    grid.write_text(json.dumps({**content, "recipes": recipes, "score": score}))
    command = ["study", "tax", "--grid", str(grid), "--data", str(text_file), "--out", str(out)]

    def halted(*rest, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        assert main([*command, "--recipe", "alone"]) == 0
        patch.setattr(tax, "evaluate", halted)
        assert main(command) == 130  # grown is trained, and not scored
    kept = (out / "alone/seed-0/cell.json").read_bytes()
    (out / "alone/seed-0/cell.json").unlink()
    capsys.readouterr()
    assert main(command) == 2
    assert "has no cell.json: remove parts/alone-seed-0.json" in capsys.readouterr().err
    (out / "alone/seed-0/cell.json").write_bytes(kept)
    assert main(command) == 0
    # The decoder is trained anew: thoughts that were grown on the one before do not go on.
    rmtree(out / "alone")
    (out / "parts/alone-seed-0.json").unlink()
    (out / "grown/seed-0/cell.json").unlink()
    (out / "parts/grown-seed-0.json").unlink()
    assert main(command) == 2
    assert "was begun on another decoder than recipe 'grown'" in capsys.readouterr().err
    rmtree(out / "grown")
    assert main(command) == 0


def test_thoughts_are_not_grown_on_a_decoder_that_was_trained_on_by_hand(
    grid, text_file, tmp_path, capsys
):
    """What it had cost would be told as what its recipe cost."""
    content, out = json.loads(grid.read_text()), tmp_path / "study"
    score = {"bounds": "elbo:2", "rows": 8, "fast_steps": 1, "split": "train"}
    recipes = {"alone": ALONE, "grown": GROWN}
    grid.write_text(json.dumps({**content, "recipes": recipes, "score": score}))
    command = ["study", "tax", "--grid", str(grid), "--data", str(text_file), "--out", str(out)]
    assert main([*command, "--recipe", "alone"]) == 0
    alone = out / "alone/seed-0/run"
    steps = load(alone).step
    assert main(["train", "--resume", "--out", str(alone), "--steps", str(steps + 2)]) == 0
    capsys.readouterr()
    assert main(command) == 2
    told = capsys.readouterr().err
    assert f"has {steps + 2} iterations, where recipe 'alone' asks for {steps}" in told
    assert not (out / "grown/seed-0/cell.json").exists()


def test_a_cell_is_scored_as_it_is_asked(run_config, corpus, tmp_path):
    (own,) = tax.cells_of({"a": run_config}, [5], tmp_path)
    score = tax.Score("elbo:2", rows=3, fast_steps=2, split="test", guides=(Named("covariance"),))
    found = own.run(corpus, score, lambda _: None)
    by, figures = found["by_document"], found["figures"]
    rows = corpus.test[:3]
    assert len(corpus.test) > 3
    documents = rows.document.unique(sorted=True)
    assert by["tokens"] == [int(rows.lengths[rows.document == one].sum()) for one in documents]
    for name, nats in (("baseline", by["control"]), ("elbo", np.add(by["control"], by["elbo"]))):
        per_token = sum(nats) / sum(by["tokens"])  # rounded to 1e-4 of a document
        assert figures[name]["nats_per_token"] == pytest.approx(per_token, abs=1e-4)
    assert "MeanField, 2 fast steps" in figures["elbo"]["protocol"]
    assert "Covariance, 2 fast steps" in figures["elbo, covariance"]["protocol"]
    batches = [corpus.train.batch(i, 4, 5).token_count for i in range(4)]
    assert found["tokens_seen"] == found["looks"][-1]["tokens"] == sum(batches)
    assert found["looks"][0]["tokens"] == sum(batches[:2])
    assert found["looks"][0]["seconds"] > 0
    assert found["passes"] > 1  # a model that thinks takes more than its decoder alone


def test_a_cell_may_be_scored_by_more_draws_than_it_was_trained_with(run_config, corpus, tmp_path):
    own = run_config.fast.particles
    (cell,) = tax.cells_of({"a": run_config}, [5], tmp_path)
    score = tax.Score("elbo:2", rows=3, fast_steps=2, split="test")
    found = cell.run(corpus, score, lambda _: None)
    place = tmp_path / "a/seed-5/cell.json"
    found["made"]["score"].pop("fast_particles")  # as one written before they could be asked for
    place.write_text(json.dumps(found))
    assert cell.read(score) == found
    more = dataclasses.replace(score, fast_particles=own + 3)
    with pytest.raises(InputError, match="scored otherwise"):
        cell.read(more)
    place.unlink()
    (again,) = tax.cells_of({"a": run_config}, [5], tmp_path)
    other = again.run(corpus, more, lambda _: None)
    fast = dataclasses.replace(run_config.fast, steps=2, particles=own + 3)
    run = load(tmp_path / "a/seed-5/run")
    expected = evaluate(
        run.model, corpus.test[:3], "elbo:2", guide=run.guide, fast=fast, seed=0, repeat=0,
        progress=False,
    )  # fmt: skip
    assert other["figures"]["elbo"]["nats_per_token"] == expected["elbo"].nats_per_token
    assert other["figures"]["elbo"] != found["figures"]["elbo"]
    assert run.config.fast == run_config.fast  # training is as it was


def cell(recipe, seed, nats, tokens):
    each = {"nats_per_token": sum(nats) / sum(tokens), "standard_error": 0.1,
            "kl_per_token": 0.06, "text_per_token": sum(nats) / sum(tokens) - 0.06}  # fmt: skip
    return {"recipe": recipe, "seed": seed, "tax": {"elbo": each},
            "by_document": {"tokens": tokens, "elbo": nats},
            "figures": {"baseline": {"nats_per_token": 3.0}}}  # fmt: skip


def test_errors_over_documents_and_over_seeds_are_apart():
    """Where seeds differ and documents do not, and the other way round."""
    tokens = [10.0] * 50
    apart = [cell("seeds", i, [-1.0 - i] * 50, tokens) for i in range(3)]
    source = np.random.default_rng(0)
    nats = source.standard_normal(50).tolist()
    alike = [cell("documents", i, nats, tokens) for i in range(3)]
    table = tax_tables.summary([*apart, *alike])
    seeds, documents = table["seeds"]["elbo"], table["documents"]["elbo"]
    assert seeds["over_documents"] == pytest.approx(0, abs=1e-12)
    assert seeds["over_seeds"] == pytest.approx(0.1 / 3**0.5)
    assert seeds["mean"] == pytest.approx(-0.2)
    assert documents["over_seeds"] == pytest.approx(0, abs=1e-12)
    assert documents["over_documents"] == pytest.approx(np.std(nats, ddof=1) / 50**0.5 / 10)
    # Of three seeds 3.5 errors are not enough: Student's t with 2 degrees of freedom has 4.3.
    assert seeds["interval"] == pytest.approx(
        [-0.2 - 4.30265273 / 300**0.5, -0.2 + 4.30265273 / 300**0.5]
    )
    assert seeds["verdict"] == "neither"
    reach = 2.00957524 * documents["over_documents"]  # 49 degrees of freedom
    middle = documents["mean"]
    assert documents["interval_over_documents"] == pytest.approx([middle - reach, middle + reach])
    assert documents["verdict"] == "neither"
    assert tax_tables.summary(apart[:1])["seeds"]["elbo"]["verdict"] == "one seed"
    for sign, told in ((-1, "earn"), (1, "cost")):
        near = [cell("near", i, [sign * (1 + i / 3)] * 50, tokens) for i in range(3)]  # 6.9 errors
        assert tax_tables.summary(near)["near"]["elbo"]["verdict"] == told


def test_few_documents_are_judged_by_students_t():
    """Four documents: 3 degrees of freedom, 3.18 errors; the seeds agree to the last digit."""
    tokens, at = [10.0] * 4, np.array([-1.0, 0.0, 0.0, 1.0])
    error = np.std(at, ddof=1) / 2
    for errors, told in ((-2.5, "neither"), (-3.5, "earn"), (3.5, "cost")):
        nats = (at + errors * error).tolist()
        table = tax_tables.summary([cell("few", i, nats, tokens) for i in range(2)])
        assert table["few"]["elbo"]["verdict"] == told


def test_thoughts_of_no_use_seldom_earn_however_errors_are_mixed():
    """No effect, five seeds, documents and starts of like weight: told in 5 of 100, not in 10."""
    source, tokens, told = np.random.default_rng(0), [10.0] * 30, 0
    for _ in range(400):
        own = source.standard_normal(30)
        starts = (5 / 30) ** 0.5 * source.standard_normal(5)
        cells = [cell("none", i, (own + start).tolist(), tokens) for i, start in enumerate(starts)]
        for one in cells:
            one["corpus"], one["by_document"]["control"] = "x", [0.0] * 30
        elbo = tax_tables.summary(cells)["none"]["elbo"]["verdict"] != "neither"
        both = paired.difference(cells, cells, "elbo", "control")
        assert elbo == (both.verdict != "neither")
        told += elbo
    assert told < 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5  # 33; by each error alone about 40


def test_where_the_nats_go_is_traced():
    cells = [cell("one", i, [1.0] * 5, [10.0] * 5) for i in range(2)]
    cost = {"nats_per_token": 0.15, "standard_error": 0.1}
    for one in cells:
        one["tax"]["prior"] = cost
        one["tax"]["iwae"] = {**cost, "nats_per_token": 0.08}
        one["by_document"] |= {"prior": [1.5] * 5, "iwae": [0.8] * 5}
    row = tax_tables.traced(tax_tables.summary(cells)).splitlines()[-1]
    assert row == "| one | +0.1500 | +0.0400 | +0.0600 | +0.1000 | +0.0200 |"


def test_a_control_that_has_flattened_or_risen_is_seen():
    curve = [5.0, 4.0, 3.5, 3.4, 3.2, 3.1, 3.15]
    looks = [{"step": i, "baseline": nats} for i, nats in enumerate(curve)]
    row = tax_tables.controls([{"recipe": "one", "looks": looks}]).splitlines()[-1]
    assert row == "| one | 3.1500 | +0.0500 | +0.0500 |"


def test_what_a_bound_cost_is_told_in_passes():
    looks = [{"step": 100 * i, "seconds": 10.0 * i, "model_seconds": 4.0 * i, "elbo": 5 - i}
             for i in range(1, 5)]  # fmt: skip
    one = {"looks": looks, "passes": 3.0, "made": {"config": {"training": {"speak": 0.5}}}}
    spent = {"iterations": 200, "seconds": 20.0, "model_seconds": 8.0, "passes": 200}
    assert tax.cost_of(one, 3.0) == spent
    whole = {"iterations": 400, "seconds": 40.0, "model_seconds": 16.0, "passes": 200 + 600}
    assert tax.cost_of(one, 1.5) == whole
    assert tax.cost_of(one, 0.5) is None
    assert tax.cost_of(one) == whole
    before = {"iterations": 50, "seconds": 5.0, "model_seconds": 2.0, "passes": 70}
    grown = {**one, "before": before}
    assert tax.cost_of(grown, 3.0) == {n: value + before[n] for n, value in spent.items()}
    # The other stops at 3.0, which both reach; only its control does.
    alone = [{**look, "baseline": 2.9, "control_seconds": 0.03 * look["step"]} for look in looks]
    other = {**one, "looks": alone[:2]}
    first, second = ({**cell, "recipe": name} for cell, name in ((one, "all"), (other, "half")))
    rows = tax_tables.costs([first, second]).splitlines()
    assert rows[0].startswith("| until the bound is 3.000 |")
    assert rows[2:] == ["| all | 200 | 200 | 8 |  |  |", "| half | 200 | 400 | 8 | 100 | 3 |"]
    rows = tax_tables.costs([first, {**second, "before": before}]).splitlines()
    assert rows[3] == "| half | 250 | 470 | 10 | 150 | 5 |"  # the control has come from there too


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "expected an object with recipes"),
        ("{", "expected JSON"),
        ('{"recipes": {}}', "has no recipes"),
        ('{"recipes": {"a": []}, "rows": 3}', "unknown part"),
        ('{"recipes": {"a": ["--steps", "many"]}}', "steps"),
        ('{"recipes": {"a": []}, "score": {"rows": 0}}', "score.rows"),
        ('{"recipes": {"a": "--steps 3"}}', "recipe a"),
    ],
)
def test_a_grid_that_is_none_is_told(content, told, tmp_path, capsys):
    grid = tmp_path / "grid.json"
    grid.write_text(content)
    assert main(["study", "tax", "--grid", str(grid), "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_who_grows_thoughts_waits_for_the_decoder(grid, text_file, tmp_path):
    """Two processes take the two cells at once."""
    content, out = json.loads(grid.read_text()), tmp_path / "study"
    score = {"bounds": "elbo:2", "rows": 8, "fast_steps": 1, "split": "train"}
    recipes = {"alone": ALONE, "grown": GROWN}
    grid.write_text(json.dumps({**content, "recipes": recipes, "score": score}))
    words = ["study", "tax", "--grid", str(grid), "--data", str(text_file), "--out", str(out)]
    assert together(main, words) == [0, 0]
    grown = json.loads((out / "grown/seed-0/cell.json").read_text())
    assert grown["before"] == tax.cost_of(json.loads((out / "alone/seed-0/cell.json").read_text()))
