"""A run in lm-evaluation-harness: code lengths, and the same scores as `ltm evaluate`."""

import json
import math
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.commands.cli import main
from ltm_pyro.data.laying import rows_of_documents
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.harness import Scorer, adapter, register
from ltm_pyro.programs.densities import token_log_prob

from ..conftest import strong
from ..runs.helpers import train

TASKS = Path(__file__).parents[2] / "examples" / "lm_eval"


@pytest.fixture
def run(run_config, tmp_path):
    found = train(run_config, tmp_path / "run")
    strong(found.model)
    return found


def test_continuations_of_a_context_have_probability_one_together(run):
    scorer = Scorer(run, draws=4)
    words = range(scorer.tokenizer.vocabulary)
    found = scorer.continuations([([], [word]) for word in words])
    # A fit that had seen the continuation would give more than one.
    assert sum(math.exp(score) for score, _ in found) == pytest.approx(1, abs=1e-5)
    likeliest = max(words, key=lambda word: found[word][0])
    assert [word for word in words if found[word][1]] == [likeliest]
    # Two tokens: the second is predicted by the draws that predicted the first.
    context = scorer.tokenizer.encode("sea 7:")
    ((first, _),) = scorer.continuations([(context, [likeliest])])
    second = scorer.continuations([(context, [likeliest, word]) for word in words])
    total = sum(math.exp(score) for score, _ in second)
    assert total == pytest.approx(math.exp(first), rel=1e-5)


def test_the_score_is_the_log_of_a_mean_over_draws(run):
    scorer = Scorer(run, draws=5)
    context, rest = (5, 6, 7), (8, 9)
    (z,) = scorer._thoughts([context])
    assert z.shape == (5, *run.model.thoughts.shape)
    rows = rows_of_documents([([*context, *rest], [0] * 5)], 12)
    with torch.no_grad():
        each = token_log_prob(run.model, {"z": z[:, None]}, rows)[:, 0, 3:5].sum(-1)
    ((score, _),) = scorer.continuations([(list(context), list(rest))])
    assert score == pytest.approx(float(torch.logsumexp(each, 0)) - math.log(5), abs=1e-5)
    assert score != pytest.approx(float(each.mean()), abs=1e-5)
    # Another seed has other draws, of whole texts too.
    other = Scorer(run, draws=5, seed=1)
    assert other.continuations([(list(context), list(rest))])[0][0] != score
    assert other.rolling("sea 7: wave") != scorer.rolling("sea 7: wave")


def test_a_score_does_not_depend_on_what_is_asked_beside(run):
    pairs = [([5, 6], [7]), ([8, 9, 10], [11]), ([12], [13, 14])]
    found = [score for score, _ in Scorer(run, draws=3).continuations(pairs)]
    assert len({round(score, 3) for score in found}) == 3
    for chunk in (1, 2):
        again = Scorer(run, draws=3, chunk=chunk).continuations(pairs)
        assert [score for score, _ in again] == pytest.approx(found, rel=1e-4)


def test_a_token_is_greedy_if_no_other_is_likelier_after_the_ones_before(run):
    """By scores of all other tokens there; draws that predicted what stands before count more."""
    scorer, apart = Scorer(run, draws=4), 0
    words = range(scorer.tokenizer.vocabulary)
    for context in ((5,), (6, 7), (8, 9, 10), (11,)):
        z = 9 * torch.randn(4, *run.model.thoughts.shape)
        first = [scorer._score(context, (word,), z)[0] for word in words]
        best = max(words, key=first.__getitem__)
        found = [scorer._score(context, (best, word), z) for word in words]
        likeliest = max(words, key=lambda word: found[word][0])
        assert [word for word in words if found[word][1]] == [likeliest]
        alone = torch.tensor([[scorer._score((*context, best), (word,), one[None])[0]
                               for word in words] for one in z])  # fmt: skip
        apart += int(alone.logsumexp(0).argmax()) != likeliest
    assert apart > 0  # draws that all count alike would say otherwise


def test_what_does_not_fit_a_row_is_scored_in_pieces(run, monkeypatch):
    scorer = Scorer(run, draws=2)
    context, rest = tuple(range(20)), tuple(range(30, 37))
    (piece,) = scorer._pieces(list(context), list(rest[:6]))
    assert piece == (context[-6:], rest[:6])  # a row has 12 tokens
    first, second = scorer._pieces(list(context), list(rest))
    assert first == (context[-6:], rest[:6])
    assert second == ((*context[-5:], *rest[:6]), rest[6:])
    (whole,) = scorer._pieces([1, 2], list(range(10)))
    assert whole == ((1, 2), tuple(range(10)))
    ((score, _),) = scorer.continuations([(list(context), list(rest))])
    parts = scorer.continuations([(list(a), list(b)) for a, b in (first, second)])
    assert score == pytest.approx(sum(one for one, _ in parts))
    monkeypatch.setattr(scorer, "_score", lambda before, piece, z: (-1.0, piece == first[1]))
    assert scorer.continuations([(list(context), list(rest))]) == [(-2.0, False)]


def test_whole_texts_have_the_scores_of_ltm_evaluate(run_config, tmp_path, capsys):
    run = train(run_config, tmp_path / "run")
    text = "sea 91: wave fish sail salt wave fish sail salt"
    (tmp_path / "new.jsonl").write_text(json.dumps({"text": text}))
    assert main(["evaluate", str(run.path), "--data", str(tmp_path / "new.jsonl"), "--bounds",
                 "predictive:8", "--fast.steps", "2", "--json"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)["predictive"]
    own = Scorer(run, block=8, fast_steps=2).rolling(text)
    assert -own / found["tokens"] == pytest.approx(found["nats_per_token"], rel=1e-6)


def test_blank_text_has_the_score_that_it_has_beside_other_text(run):
    scorer, texts = Scorer(run, block=4, fast_steps=1), ["", " ", "\n \n  \n", "sea 7: wave"]
    report = ltm.evaluate(
        run.model, texts, ["predictive:4"], guide=run.guide, fast=scorer.fast, repeat=0,
        progress=False, tokenizer=run.tokenizer,
    )  # fmt: skip
    found = [scorer.rolling(one) for one in texts]
    assert found == pytest.approx((-report["predictive"].nats).tolist(), rel=1e-5)
    assert max(found) < -0.1


def test_text_is_written_until_it_is_to_stop(run):
    scorer = Scorer(run, fast_steps=0)
    plain = scorer.text("sea 7:", {"max_gen_toks": 4})
    assert scorer.text("sea 7:", {"max_gen_toks": 4}) == plain
    assert len(scorer.tokenizer.encode(plain)) <= 4
    assert plain
    assert scorer.text("sea 7:", {"max_gen_toks": 0}) == ""
    assert scorer.text("sea 7:", {"max_gen_toks": 4, "until": [plain[0]]}) == ""
    drawn = {"do_sample": True, "temperature": 9.0, "max_gen_toks": 4}
    assert len({scorer.text(f"sea {i}:", drawn) for i in range(3)}) == 3
    assert scorer.text("sea 7:", {**drawn, "do_sample": False}) == plain
    assert scorer.text("wave fish " * 40, {"max_gen_toks": 100}) is not None


def test_what_follows_the_beginning_of_a_row_has_thoughts_of_the_prior(run, monkeypatch):
    """Which the harness writes where a context is empty; its base class is stood in for."""
    calls = SimpleNamespace(add_partial=lambda *_: None)
    base = type("TemplateLM", (), {"cache_hook": calls})
    monkeypatch.setitem(sys.modules, "lm_eval", ModuleType("lm_eval"))
    monkeypatch.setitem(sys.modules, "lm_eval.api", ModuleType("lm_eval.api"))
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", SimpleNamespace(TemplateLM=base))
    adapter.cache_clear()
    model = adapter()(str(run.path), draws=2)
    adapter.cache_clear()
    asked = [(("", "a"), [model.prefix_token_id], [7]), (("b", "a"), [5, 6], [7])]
    found = model._loglikelihood_tokens(asked)
    assert found == model.scorer.continuations([([], [7]), ([5, 6], [7])])


def test_a_prompt_keeps_its_end_and_options_are_those_of_the_harness(run, monkeypatch):
    from ltm_pyro.experiments import harness

    asked, generate = [], harness.generate

    def noted(model, tokenizer, prompt, **options):
        asked.append((prompt, options["sampling"]))
        return generate(model, tokenizer, prompt, **options)

    monkeypatch.setattr(harness, "generate", noted)
    text, scorer = " ".join(f"wave {i}" for i in range(20)), Scorer(run, fast_steps=0)
    drawn = {"do_sample": True, "temperature": 0.7, "top_k": 3, "top_p": 0.5, "max_gen_toks": 4}
    scorer.text(text, drawn)
    scorer.text(text, {**drawn, "do_sample": False})
    (prompt, sampling), (_, greedy) = asked
    assert text.endswith(prompt)
    assert len(scorer.tokenizer.encode(prompt)) == 12 - 4
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.7, 3, 0.5)
    assert greedy.temperature == 0


def test_without_the_harness_one_line_says_so(monkeypatch, capsys):
    adapter.cache_clear()
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    assert main(["lm-eval", "--tasks", "mine"]) == 2
    assert "pip install 'ltm-pyro[lm-eval]'" in capsys.readouterr().err


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """In a folder of task files, without the network."""
    pytest.importorskip("lm_eval")
    adapter.cache_clear()
    shutil.copytree(TASKS, tmp_path / "tasks")
    monkeypatch.chdir(tmp_path / "tasks")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    return [path.stem for path in sorted(TASKS.glob("*.yaml"))]


def test_the_harness_runs_tasks_of_files(run_config, tmp_path, tasks):
    import lm_eval
    from lm_eval.tasks import TaskManager

    run = train(run_config, tmp_path / "run")
    register()
    content = lm_eval.simple_evaluate(
        "ltm_pyro", f"path={run.path},protocol=predictive,fast_steps=1,block=8,draws=2", tasks,
        task_manager=TaskManager(include_path=".", include_defaults=False), bootstrap_iters=0,
    )  # fmt: skip
    assert "upper bounds" in content["config"]["model_is_bound"]
    results, scorer = content["results"], Scorer(run, 8, 2, 1)
    lines = [json.loads(line) for line in (TASKS / "animals.jsonl").read_text().splitlines()]
    nats = -sum(scorer.rolling(one["text"]) for one in lines)
    size = sum(len(one["text"].encode()) for one in lines)
    bits = results["animals_text"]["bits_per_byte,none"]
    assert bits == pytest.approx(nats / size / math.log(2), rel=1e-6)
    encode, right = scorer.tokenizer.encode, 0
    for one in lines:
        begins = encode(one["begins"])
        ends = [encode(one["begins"] + end)[len(begins) :] for end in one["ends"]]
        scores = [score for score, _ in scorer.continuations([(begins, end) for end in ends])]
        right += scores.index(max(scores)) == one["right"]
    assert results["animals_choice"]["acc,none"] == pytest.approx(right / len(lines))
    assert 0 <= results["animals_answer"]["exact_match,none"] <= 1
    with pytest.raises(InputError, match=r"unknown protocol"):
        adapter()(str(run.path), protocol="elbo")


@pytest.mark.slow
def test_its_command_line_knows_runs(run_config, tmp_path, tasks, capsys):
    run = train(run_config, tmp_path / "run")
    command = ["lm-eval", "--model", "ltm_pyro", "--include_path", ".", "--tasks", "animals_text",
               "--output_path", str(tmp_path / "out"), "--model_args"]  # fmt: skip
    assert main([*command, f"path={run.path},fast_steps=1,draws=2"]) == 0
    assert "its perplexities are upper bounds" in capsys.readouterr().err
    (place,) = (tmp_path / "out").rglob("results*.json")
    assert "upper bounds" in json.loads(place.read_text())["config"]["model_is_bound"]
    assert main([*command, f"path={run.path},draws=0"]) == 2
    assert "draws is 0" in capsys.readouterr().err
