"""What a preset or a run is, in facts."""

from collections.abc import Mapping
from typing import Any

import torch

from ltm_pyro.checkpoint import Run
from ltm_pyro.config import Config
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.presets import preset


def info_preset(name: str) -> dict[str, Any]:
    """Sizes of a preset; its parameters are counted on a model without memory of its own."""
    return {"preset": name, **_sizes(preset(name))}


def info_run(run: Run) -> dict[str, Any]:
    """What a run's folder holds."""
    lines = run.log()
    seen = [line for line in lines if "held_out_elbo" in line]
    facts = {
        "run": str(run.path),
        "data": run.config.data.source,
        "iterations": run.step,
        "of": run.config.training.steps,
        "tokens_seen": sum(line["tokens"] for line in lines),
        **_sizes(run.config),
        "prior": run.config.prior.name,
        "guide": run.config.guide.name,
        "baseline": run.baseline is not None,
        "ltm_pyro": run.record["versions"]["ltm_pyro"],
    }
    if seen:
        facts["held_out_elbo"] = seen[-1]["held_out_elbo"]
        facts["held_out_standard_error"] = seen[-1]["held_out_standard_error"]
    return facts


def presets_table(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """All presets, a line each."""
    head = f"{'preset':<8}{'parameters':>12}{'layers':>8}{'latents':>9}{'fast steps':>12}"
    lines = [
        f"{name:<8}{one['parameters']:>12,}{one['layers']:>8}{one['latents']:>9}"
        f"{one['fast_steps']:>12}"
        for name, one in facts.items()
    ]
    return "\n".join([head, *lines])


def _sizes(config: Config) -> dict[str, Any]:
    with torch.device("meta"):
        parameters = LatentThoughtModel(config).parameter_count()
        plain = AutoregressiveModel(config).parameter_count()
    architecture, thoughts = config.architecture, config.thoughts
    return {
        "parameters": parameters,
        "parameters_without_latents": plain,
        "layers": architecture.layers,
        "width": architecture.width,
        "vocabulary": architecture.vocabulary,
        "length": architecture.length,
        "window": architecture.window,
        "latents": thoughts.count,
        "latent_dim": thoughts.dim,
        "fast_steps": config.fast.steps,
    }
