"""Each measurement runs once, tiny: that it works, not how long it takes."""

import json
from pathlib import Path

import pytest
import torch

import ltm_pyro as ltm
from benchmarks import __main__ as command
from benchmarks import compiled, memory, shards, throughput
from benchmarks.figures import figures, table
from benchmarks.generation import generation
from benchmarks.head import chunked, head_seconds, ours, plain
from benchmarks.iteration import against_plain, pyro_overhead
from benchmarks.length import length_exponent
from benchmarks.report import WAYS, section
from benchmarks.shapes import SHAPES
from benchmarks.timing import compare, quartiles
from benchmarks.utilisation import count, utilisation
from ltm_pyro.models.decoders import computing
from ltm_pyro.models.decoders.head import head_log_prob

TINY = SHAPES["tiny"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _threads():
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def beside_plain():
    """Iterations against plain torch, measured once."""
    return against_plain(TINY)


@pytest.fixture(scope="module")
def used():
    """The share of the machine that is used, measured once."""
    return utilisation(TINY, size=64)


@pytest.mark.parametrize("measure", [pyro_overhead, length_exponent, generation])
def test_each_gives_a_number(measure):
    assert isinstance(measure(TINY)["median"], float)


def test_the_head_has_a_ratio_for_each_rival():
    found = head_seconds(8, words=100, repeats=1)
    assert found["ours"]["seconds"] > 0
    hidden, head = torch.randn(8, 512, requires_grad=True), torch.randn(100, 512)
    targets = torch.randint(100, (8,))
    want = plain(hidden, head, targets)
    torch.testing.assert_close(ours(hidden, head, targets), want)
    if "chunked" in found:
        torch.testing.assert_close(chunked(hidden, head, targets), want)


def test_iterations_have_ratios(beside_plain):
    found = beside_plain
    assert set(found) == {name for name in command.MEANING if name.startswith("iteration")}
    assert all(part["low"] <= part["median"] <= part["high"] for part in found.values())
    operations = {name: part["operations"] for name, part in found.items()}
    assert operations["iteration_exact"] > 1
    assert operations["iteration_tokens"] > operations["iteration_exact"]
    assert operations["iteration_bf16"] == pytest.approx(operations["iteration_exact"], rel=0.1)


def test_figures_use_a_share_of_the_peak():
    found = figures(TINY, ("elbo:2", "iwae:4"), size=128)
    for name in ("elbo:2", "iwae:4"):
        one = found[name]
        assert one["share"] == pytest.approx(one["flops"] / one["seconds"] / found["peak"])
        assert one["tokens_per_second"] > 0
    # Two more draws of z for each row, and one fit for both.
    assert found["elbo:2"]["flops"] < found["iwae:4"]["flops"] < 2 * found["elbo:2"]["flops"]
    assert "| `iwae:4` |" in table({"tiny": found})


@pytest.mark.parametrize("which", ["plain", "ours"])
def test_memory_is_what_an_iteration_takes(which):
    found = memory.measure(which, TINY)
    assert found["peak"] >= found["before"] > 0


def test_the_command_prints_and_saves_one_object(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "MEASURES", {
        "generation": generation,
        "time_to_bound": lambda shape: {"median": 2.0},
    })  # fmt: skip
    command.main(["--shape", "tiny", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "tiny.json").read_text()) == printed
    assert set(command.MEANING) <= set(printed)
    assert printed["peak_memory"] is None
    assert printed["time_to_bound"] == 2.0
    assert printed["threads"] == 1
    command.main(["--shape", "tiny", "--only", "generation"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("generation")
    again = json.loads((tmp_path / "tiny.json").read_text())
    assert again["iteration_exact"] == printed["iteration_exact"]
    assert again["generation"] != printed["generation"]


def test_ratios_are_of_runs_side_by_side():
    order = []
    found = compare(
        lambda: order.append("base"), {"a": lambda: order.append("a"), "b": lambda: None}, 3, warm=1
    )
    assert order == ["base", "a"] * 4
    assert set(found) == {"a", "b"}
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)


def test_results_make_a_table(beside_plain, used, tmp_path):
    found = {name: 2.0 for name in command.MEANING} | {"time_to_bound": None}
    found |= command.setting(TINY, ["--shape", "tiny"])
    found["detail"] = beside_plain | {"utilisation": used}
    found["detail"]["peak_memory"] = {which: {"taken": 1.0} for which in memory.WHICH} | {
        "rows": 2, "tokens": 3,
    }  # fmt: skip
    found["detail"]["time_to_bound"] = {
        "median": 3.0, "low": 2.0, "high": 4.0, "nats_per_token": 2.5,
        "easier": {"2.6": 2.5, "2.7": None}, "ways": {"ours": {"seconds": [1.0, 2.0]}},
    }  # fmt: skip
    (tmp_path / "tiny.json").write_text(json.dumps(found))
    cell = {"nats_per_token": 2.5, "standard_error": 0.1, "behind": -0.5, "behind_error": 0.2,
            "behind_by_seed": [-0.4, -0.6], "kl": 0.3}  # fmt: skip
    ways = {way: {"own loop": cell, "exact loop": cell} for way in WAYS}
    training = {way: {"iterations": 7, "seconds": [2.0, 4.0]} for way in WAYS}
    training["exact"]["seconds"] = [10.0, 20.0]
    bounds = {
        "iterations": 7, "documents": 3, "ways": ways, "command": "python", "training": training,
    }  # fmt: skip
    (tmp_path / "bound-race.json").write_text(json.dumps(bounds))
    lines = section(tmp_path, tmp_path).splitlines()
    assert lines[0] == "| | what it is | tiny |"
    assert [line.split("`")[1] for line in lines[2 : 2 + len(command.MEANING)]] == [
        *command.MEANING
    ]
    assert any(line.endswith("| 200.0% |") for line in lines)
    assert any(line.endswith("| - |") for line in lines)
    told = "| -0.5000 ± 0.2000 | -0.400, -0.600 | 0.3000 |"
    assert sum(told in line for line in lines) == len(WAYS) - 1
    assert sum("| 0.20 | 2.5000 ± 0.1000 |" in line for line in lines) == len(WAYS) - 1
    assert any(line.startswith("Memory at 2 x 3 tokens: 1 MB plain") for line in lines)
    race = next(line for line in lines if line.startswith("The time to 2.5 nats per token"))
    assert race.endswith("2.0 to 4.0 times shorter over 2 seed(s); that to easier bounds, in the "
                         "median: 2.5 to 2.6.")  # fmt: skip


def test_operations_are_counted_in_place_too():
    hidden, head = torch.randn(6, 8, requires_grad=True), torch.randn(50, 8)
    targets = torch.randint(50, (6,))
    product = 2 * 6 * 8 * 50

    def run():
        head_log_prob(hidden, head, targets).sum().backward()

    assert count(run) == 2 * product  # the head is frozen: logits, and the gradient of hidden
    head.requires_grad_()
    assert count(run) == 4 * product


def test_utilisation_is_a_share(used):
    found = used
    assert found["median"] == found["fast fp32"]["share"]
    for kind in ("fast", "slow"):
        assert found[f"{kind} fp32"]["flops"] > 0
        assert sum(found["profile"][kind].values()) == pytest.approx(1)
        assert found["profile"][kind]["matrix products"] > 0
    assert found["slow fp32"]["flops"] > found["fast fp32"]["flops"]


def test_compiling_has_a_ratio(monkeypatch):
    monkeypatch.setattr(computing, "can_compile", lambda device: False)
    assert set(compiled.compiled(TINY)) == {"fp32", "bf16"}


def test_the_throughput_of_a_preset_has_a_line_for_each_way(capsys, monkeypatch):
    config = ltm.preset("tiny")
    monkeypatch.setattr(throughput, "preset", lambda name: config)
    throughput.main(["--presets", "tiny", "--rows", "2", "--tokens", "16", "--repeats", "1",
                     "--ways", "fp32", "bf16", "--no-save"])  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    assert [(one["loop"], one["way"]) for one in found] == [
        (loop, way) for loop in ("paper", "quick") for way in ("fp32", "bf16")
    ]
    assert sum(line.startswith("| tiny |") for line in lines) == 4
    assert all(0 < one["share_of_peak"] < 1.5 for one in found)


def test_what_processes_hold_is_measured_and_told():
    """The page has the saved figures; a small decoder is measured anew."""
    saved = json.loads(shards.SAVED.read_text())
    assert shards.table(saved) in (ROOT / "docs/how_to/many_processes.md").read_text()
    one = shards.in_processes(True, 64, 2)
    assert one["planned"] == 12.0
    assert one["parameters"] > 5e5
    assert one["bytes_a_parameter"] > 0
