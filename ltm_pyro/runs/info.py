"""What a preset or a run is; `ltm_pyro.runs.info_words` tells it."""

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltm_pyro.config import Config
from ltm_pyro.config.sizes import PLAIN
from ltm_pyro.errors import InputError
from ltm_pyro.inference.released import LOOPS, Released
from ltm_pyro.inference.schedule import warmup_of
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.size import without_memory
from ltm_pyro.options import shown
from ltm_pyro.presets import preset
from ltm_pyro.runs import checkpoint, folder
from ltm_pyro.runs.looks import BOUND
from ltm_pyro.runs.record import CONFIG, read_config
from ltm_pyro.runs.trust import foreign

SOFTWARE = "ltm_pyro: latent-thought language models as Pyro programs"
PAPER = (
    "Kong, D., Zhao, M., Xu, D., Pang, B., Wang, S., Honig, E., Si, Z., Li, C., Xie, J., Xie, S., "
    "Wu, Y. N. (2025). Scalable Language Models with Posterior Inference of Latent Thought "
    "Vectors. arXiv:2502.01567. https://arxiv.org/abs/2502.01567"
)


def info_preset(name: str) -> dict[str, Any]:
    """Sizes of a preset; its parameters are counted on a model without memory of its own."""
    return {"preset": name, **_sizes(preset(name))}


def info_run(path: Path) -> dict[str, Any]:
    """What a run's folder holds, as plain JSON types.

    `history` has an entry for each look at held-out text: `step`, `tokens_seen`, `minutes` spent
    training, and the figures in nats per token. `straight` says whether all resumes were for the
    number of iterations it began with: if not, its schedules changed on the way, and a repeat is
    not the same run.

    Raises:
        InputError: if it is no run, or a file of it is damaged.
    """
    config, record = read_config(path)
    saved = (path / folder.MODEL).exists()
    step = int(checkpoint.read_weights(path, facts_only=True)[0]["step"]) if saved else 0
    best = None
    if (path / folder.BEST).exists():
        facts, _ = checkpoint.read_weights(path, "best", facts_only=True)
        best = {"step": int(facts["step"]), BOUND: float(facts[BOUND])}
    seen, minutes, last = 0, 0.0, 0
    lines, history = folder.read_log(path), []
    for number, line in enumerate(lines, 1):
        _check_line(path / folder.LOG, number, line)
        last = line["step"]
        seen += line.get("tokens", 0)
        minutes += line.get("seconds", 0.0) / 60
        if BOUND in line:
            figures = {k: v for k, v in line.items() if k.startswith("held_out_")}
            history.append({"step": last, "tokens_seen": seen, "minutes": minutes, **figures})
    rows = record["data"]["splits"]["train"]["rows"]
    looked = {k: history[-1].get(k) for k in (BOUND, "held_out_standard_error") if history}
    return {
        "run": str(path),
        "iterations": step,
        "of": config.training.steps,
        "logged": last if (path / folder.LOG).exists() else None,
        "data": record["data"],
        "layout": config.data.layout,
        "tokens_seen": sum(line.get("tokens", 0) for line in lines if line["step"] <= step),
        "epochs": step * config.training.batch / rows,
        **_sizes(config),
        "model": config.model.name,
        "model_options": dict(config.model.options),
        "decoder": config.decoder.name,
        "decoder_options": dict(config.decoder.options),
        "prior": config.prior.name,
        "prior_options": dict(config.prior.options),
        "guide": config.guide.name,
        "guide_options": dict(config.guide.options),
        "released": isinstance(config.fast, Released),
        "loop": next((name for name, cls in LOOPS.items() if type(config.fast) is cls), None),
        "fast": dataclasses.asdict(config.fast),
        "warm": config.warm and dataclasses.asdict(config.warm),
        "callbacks": [named.name for named in config.callbacks],
        "slow": {
            **dataclasses.asdict(config.slow),
            "warmup": warmup_of(config.slow, config.training.steps),
        },
        "objective": dataclasses.asdict(config.objective),
        "training": dataclasses.asdict(config.training),
        "baseline": config.training.baseline,
        **looked,
        "history": history,
        "best": best,
        "straight": all(one["of"] == record.get("of") for one in record["resumed"]),
        "started": record.get("started"),
        "command": record.get("command"),
        "resumed": record["resumed"],
        "processes": [record, *record["resumed"]][-1].get("processes", 1),
        "versions": record["versions"],
        "resume": folder.resume_command(path),
        "repeat": f"ltm train --config {shlex.quote(str(path / CONFIG))} "
        f"--out {shlex.quote(str(path) + '-again')}",
        "cite": [
            f"The ltm_pyro developers. {SOFTWARE}, version {record['versions']['ltm_pyro']}.",
            PAPER,
        ],
    }


def _check_line(place: Path, number: int, line: Mapping[str, Any]) -> None:
    """Raises InputError for a line of the log whose figures are no numbers."""
    known = ("step", "tokens", "seconds", "nats_per_token")
    for name in (*known, *(k for k in line if k.startswith("held_out_"))):
        value = line.get(name, None if name == "step" else 0)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InputError(
                f"{place} is damaged in line {number}: {name} is {shown(value)}, expected a "
                "number; delete that line"
            )


def _sizes(config: Config) -> dict[str, Any]:
    parameters = plain = reach = None
    # Classes of others are not imported for this.
    if config.model.name == PLAIN and not {"decoder", "prior"} & set(foreign(config).values()):
        with without_memory():
            model = LatentThoughtModel(config)
            parameters, reach = model.parameter_count(), model.decoder.reach
            plain = AutoregressiveModel(config).parameter_count()
    architecture, thoughts = config.architecture, config.thoughts
    return {
        "parameters": parameters,
        "parameters_without_latents": plain,
        "layers": architecture.layers,
        "width": architecture.width,
        "vocabulary": architecture.vocabulary,
        "length": architecture.length,
        "window": architecture.window if reach is not None else None,
        "latents": thoughts.count,
        "latent_dim": thoughts.dim,
        "fast_steps": config.fast.steps,
    }
