"""`ltm plan`."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import tyro
from tyro.conf import UseAppendAction

import ltm_pyro as ltm
from ltm_pyro.commands.text import as_json, show
from ltm_pyro.config import Config
from ltm_pyro.experiments.plan import Cost, ends, machine_named, plan, table
from ltm_pyro.options import Count, Positive, Whole
from ltm_pyro.runs.copies import folder_of
from ltm_pyro.runs.record import read_config


@dataclass(frozen=True)
class Plan:
    """What training takes on many GPUs: hours, memory, bytes sent, and where it stops scaling."""

    preset: str = "small"
    """Sizes of a preset: tiny, small, medium, large (the paper's LTM-S, M, L)."""
    run_folder: Annotated[str | None, tyro.conf.arg(name="run")] = None
    """Sizes of a run instead."""
    tokens: Positive = 3e9
    """To train on, in all."""
    gpus: UseAppendAction[tuple[Count, ...]] = ()
    """How many; may be given several times (default: 1, 8, 64, 512)."""
    gpu: str = "h100"
    """Which: h100, h200."""
    batch: Count = 512
    """Rows of an iteration, of all GPUs together."""
    fast_steps: Annotated[Whole | None, tyro.conf.arg(name="fast.steps")] = None
    """Fast steps for each document (default: as in the preset)."""
    sharded: bool = False
    """The slow step shared out among the processes (--slow.sharded of ltm train)."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Compute and print."""
        config, machine = self.config(), machine_named(self.gpu)
        numbers = self.gpus or tuple(n for n in (1, 8, 64, 512) if n <= self.batch)
        plans = [plan(config, self.tokens, n, self.batch, machine) for n in numbers]
        cost, last = Cost(config), ends(config, self.tokens, self.batch, machine)
        if self.json:
            show(as_json({
                "flops_per_token": cost.flops, "parameters": cost.parameters,
                "plans": [dataclasses.asdict(one) for one in plans], "worth_it_up_to": last,
                "machine": dataclasses.asdict(machine),
            }))  # fmt: skip
            return
        a, t = config.architecture, config.thoughts
        told = (
            f"{cost.parameters / 1e6:.1f} M parameters, {a.layers} layers of width {a.width}, "
            f"{t.count} thoughts, {config.fast.steps} fast steps: {cost.flops / 1e9:.2f} G FLOPs a "
            f"token (counted); {self.tokens:,.0f} tokens, {self.batch:,} rows of {a.length:,} an "
            f"iteration"
        )
        scale = (
            f"More than {last} processes spend half their time waiting or on launches."
            if 2 * last <= self.batch
            else f"It scales to {last} processes, the most in powers of two that have a row each."
        )
        show("\n\n".join([told, table(plans), scale, f"Assumed: {machine.measured}."]))

    def config(self) -> Config:
        """The configuration that is planned."""
        config = ltm.preset(self.preset) if self.run_folder is None else read_config(
            folder_of(self.run_folder)
        )[0]  # fmt: skip
        if self.sharded:
            config = config.replace(slow=dataclasses.replace(config.slow, sharded=True))
        return config.replace(fast=config.fast.changed(self.fast_steps))
