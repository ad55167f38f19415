"""What training takes, against torch's counter and what was measured on a GPU."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import pytest

from ltm_pyro.commands.cli import main
from ltm_pyro.config import Config, Named
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.plan import GPUS, HEAD, Cost, Machine, ends, plan
from ltm_pyro.experiments.plan_check import SIZES, counted, on_gpu, rows_of, size
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.operations import training_flops
from ltm_pyro.presets import preset
from ltm_pyro.runs.build import build_model

THROUGHPUT = Path(__file__).parents[2] / "benchmarks/results/throughput.json"


def test_operations_are_those_that_torch_counts():
    for name, model, torch in counted():
        assert model == pytest.approx(torch, rel=1e-6), name
    # A window in the middle of a row, no fast step, one slot.
    for config in (size(3, 32, 0, 1, 300, 100), size(1, 32, 2, 3, 300, 300)):
        row = rows_of(config, 1)
        told = training_flops(build_model(config), row, MeanField, config.fast)
        assert Cost(config).flops == pytest.approx(told, rel=1e-6)


def test_parameters_are_those_of_the_model():
    config = SIZES["2 layers of 64"]
    assert Cost(config).parameters == build_model(config).parameter_count()


def test_what_a_gpu_did_is_predicted():
    found = on_gpu(THROUGHPUT)
    assert len(found) == 13
    for label, tokens, predicted, memory, expected in found:
        assert predicted == pytest.approx(tokens, rel=0.1), label
        assert expected == pytest.approx(memory, rel=0.15), label


def test_more_gpus_take_less_time_and_are_less_well_used():
    config, machine = preset("large"), GPUS["h100"]
    plans = [plan(config, 3e9, n, 512, machine) for n in (1, 8, 64, 512)]
    assert plans[0].efficiency == pytest.approx(1)
    assert plans[0].sent == 0
    assert not plans[0].fits
    assert plans[1].fits
    for less, more in itertools.pairwise(plans):
        assert more.seconds < less.seconds
        assert more.efficiency < less.efficiency
        assert more.memory < less.memory
        assert more.sent > less.sent
    # A ring sends nearly twice the gradients, once an iteration, whatever the fast steps.
    sent = plans[2].sent * 8 * config.architecture.length
    assert sent == pytest.approx(2 * 63 / 64 * 4 * Cost(config).parameters)
    slower = config.replace(fast=dataclasses.replace(config.fast, steps=2))
    assert plan(slower, 3e9, 64, 512, machine).sent == plans[2].sent
    last = ends(config, 3e9, 512, machine)
    assert plan(config, 3e9, last, 512, machine).efficiency >= 0.5
    assert plan(config, 3e9, 2 * last, 512, machine).efficiency < 0.5
    # With nothing to wait for, it scales as far as there are rows.
    ideal = dataclasses.replace(machine, launch=0.0, link=1e30, network=1e30)
    assert ends(config, 3e9, 512, ideal) == 512


def test_a_plan_by_hand(config: Config):
    """Twenty rows on eight processes: some have three, and all wait for them."""
    machine = Machine(1e12, 0.5, 1e12, launch=0.01, link=1e6, network=1e5, node=8)
    cost, a = Cost(config), config.architecture
    for processes, rows, rate in ((1, 20, math.inf), (8, 3, 1e6), (9, 3, 1e5)):
        found = plan(config, 2400.0, processes, 20, machine)
        # Each fast step has a forward and a backward pass of each layer, the slow step another.
        work = rows * a.length * cost.flops / 0.5e12
        passes = a.layers * (2 * config.fast.steps + 3) * 0.01
        sent = 2 * (processes - 1) / processes * 4 * cost.parameters
        assert found.rows == rows
        assert found.iteration == pytest.approx(work + passes + sent / rate)
        assert found.seconds == pytest.approx(2400 / (20 * a.length) * found.iteration)
        assert found.tokens_per_second == pytest.approx(20 * a.length / found.iteration)
    # Weight, gradient and two moments in fp32, beside what rows take.
    assert cost.memory(0, 4.0) - cost.memory(0, 2.0) == 0
    assert cost.memory(0, 4.0) - HEAD == 4 * 4 * cost.parameters
    for share, fits in ((1.001, True), (0.999, False)):
        own = dataclasses.replace(machine, memory=share * found.memory)
        assert plan(config, 2400.0, 9, 20, own).fits == fits


def test_what_cannot_be_planned_is_told(config: Config):
    with pytest.raises(InputError, match=r"8 rows an iteration are too few for 64 processes"):
        plan(config, 1e6, 64, 8, GPUS["h100"])
    with pytest.raises(InputError, match=r"decoder lstm: costs are counted of the transformer"):
        Cost(config.replace(decoder=Named("lstm")))
    for part, changes, told in (
        ("fast", {"particles": 3}, r"fast.particles 3: costs are counted for 1 alone"),
        ("fast", {"recompute": True}, r"fast.recompute True: costs are counted for False alone"),
        ("slow", {"steps": 2}, r"slow.steps 2: costs are counted for 1 alone"),
        ("training", {"speak": 0.5}, r"training.speak: costs are counted without it"),
    ):
        changed = dataclasses.replace(getattr(config, part), **changes)
        with pytest.raises(InputError, match=told):
            Cost(config.replace(**{part: changed}))


def test_the_command(capsys):
    command = ["plan", "--preset", "large", "--tokens", "3e9", "--gpus", "64", "--gpu", "h200"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plans"][0]["processes"] == 64
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "76.3 M parameters, 12 layers of width 512, 96 thoughts, 64 fast steps" in told
    assert "an H200 is taken for an H100 with 141 GB" in told
    assert main(["plan", "--gpu", "tpu"]) == 2
    assert "unknown gpu 'tpu'" in capsys.readouterr().err
    assert main(["plan", "--preset", "small", "--gpus", "600"]) == 2
