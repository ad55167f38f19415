"""What a preset or a run is, in facts and in words."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltm_pyro.config import Config, Named
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
LINES = 12
"""Lines of the table of looks at held-out text."""
LOOP_IS = {
    "released": ", the released protocol: no bound",
    "fixed-noise": ", one draw for all: in training no bound",
    "leaking": ", what they leave in the decoder's gradient is descended too",
}
"""What is said of a loop that is no plain one."""
NOT_STRAIGHT = "not the same: a resume changed the number of iterations on the way"
COLUMNS = {
    "step": ("step", "{:,}"),
    "tokens_seen": ("tokens seen", "{:,}"),
    BOUND: ("bound", "{:.4f}"),
    "held_out_standard_error": ("± s.e.", "{:.4f}"),
    "held_out_kl": ("KL", "{:.4f}"),
    "held_out_prior": ("prior", "{:.4f}"),
    "held_out_baseline": ("no latents", "{:.4f}"),
    "held_out_tax": ("tax", "{:+.4f}"),
    "held_out_tax_standard_error": ("± s.e.", "{:.4f}"),
    "held_out_bits_per_byte": ("bits/byte", "{:.4f}"),
    "minutes": ("minutes", "{:.2f}"),
}


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


def run_text(facts: Mapping[str, Any]) -> str:
    """The facts of `info_run` for a reader."""
    blocks = ["\n".join(f"{name:<9}{text}" for name, text in run_lines(facts)), _table(facts)]
    ways = [("resume", facts["resume"]), ("repeat", facts["repeat"])]
    if not facts["straight"]:
        ways.append(("", f"({NOT_STRAIGHT})"))
    ways += zip(("cite", *[""] * len(facts["cite"])), facts["cite"], strict=False)
    blocks.append("\n".join(f"{name:<9}{text}" for name, text in ways))
    return "\n\n".join(blocks)


def run_lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run is, of the facts of `info_run`: what is told of, and how it is in words."""
    data, fast, slow = facts["data"], facts["fast"], facts["slow"]
    splits = (
        f"{name} {one['rows']:,} rows ({one['tokens']:,} tokens)"
        for name, one in data["splits"].items()
    )
    return [
        ("run", f"{facts['run']}: {_progress(facts)}"),
        ("data", f"{data['source']}, {facts['layout']} rows of up to {facts['length']} tokens"),
        ("splits", ", ".join(splits)),
        ("text", f"SHA-256 {data['fingerprint']}"),
        ("seen", f"{facts['tokens_seen']:,} tokens, {facts['epochs']:.2f} epochs"),
        (
            "model",
            f"{_parameters(facts)}: {facts['layers']} layers of width {facts['width']}, "
            f"{facts['latents']} latents of {facts['latent_dim']}, vocabulary "
            f"{facts['vocabulary']:,}, "
            + ("the whole row in view" if facts["window"] is None else f"window {facts['window']}"),
        ),
        *((kind, _named(facts, kind)) for kind in ("decoder", "prior", "guide")),
        *([] if facts["model"] == PLAIN else [("program", _program(facts))]),
        (
            "fast",
            f"{_steps(fast)}, particles: {fast['particles']}{LOOP_IS.get(facts['loop'], '')}",
        ),
        ("warm", _warm(facts["warm"])),
        (
            "slow",
            f"{_steps(slow)} on each batch of {facts['training']['batch']}, warm-up "
            f"{slow['warmup']}, clip {slow['clip']:g}, decay {slow['decay']:g}"
            + (", shared out among processes" if slow["sharded"] else ""),
        ),
        ("KL", _kl(facts["objective"])),
        ("seed", str(facts["training"]["seed"])),
        ("started", f"{facts['started']} by {command_line(facts['command'])}"),
        ("with", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        *([("by", f"{facts['processes']} processes")] if facts["processes"] > 1 else []),
        *(
            ("resumed", f"{one['at']} at step {one['step']} to reach {one['of']}")
            for one in facts["resumed"]
        ),
    ]


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


def _parameters(facts: Mapping[str, Any]) -> str:
    if facts["parameters"] is None:
        return "parameters not counted, for its decoder, prior or program is not of this library"
    plain = facts["parameters_without_latents"]
    beside = "" if plain is None else f" ({plain:,} without latents)"
    return f"{facts['parameters']:,} parameters{beside}"


def _program(facts: Mapping[str, Any]) -> str:
    return f"{_named(facts, 'model')}, which may sample z by itself, and not from that prior"


def _progress(facts: Mapping[str, Any]) -> str:
    done, of, logged = facts["iterations"], facts["of"], facts["logged"]
    text = f"{done:,} of {of:,} iterations saved" if done else f"0 of {of:,} iterations saved yet"
    if logged is None:
        return f"{text}; its {folder.LOG} is missing, so what it saw over time is not known"
    if logged > done:
        return f"{text}; the log reaches {logged:,}: it is still running, or was stopped unasked"
    return text if done >= of else f"{text}: it was stopped"


def _table(facts: Mapping[str, Any]) -> str:
    """Some of the looks at held-out text, the last and the best among them, a line each."""
    history, best = facts["history"], facts["best"]
    if not history:
        return "No look at held-out text is logged."
    last = len(history) - 1
    shown = {round(i * last / (LINES - 2)) for i in range(LINES - 1)}
    at = best["step"] if best else None
    shown |= {i for i, look in enumerate(history) if look["step"] == at}
    looks = [history[i] for i in sorted(shown)]
    columns = {k: v for k, v in COLUMNS.items() if any(k in look for look in looks)}
    text = ["Held-out text, nats/token unless said otherwise (lower is better):"]
    text.append("".join(f"{title:>12}" for title, _ in columns.values()))
    for look in looks:
        cells = (shape.format(look[k]) if k in look else "-" for k, (_, shape) in columns.items())
        mark = "  best" if look["step"] == at else ""
        text.append("".join(f"{cell:>12}" for cell in cells) + mark)
    if best:
        text.append(f"best: {best[BOUND]:.4f} at step {at:,} (ltm evaluate --checkpoint best)")
    return "\n".join(text)


def _named(facts: Mapping[str, Any], kind: str) -> str:
    named = Named(facts[kind], facts[f"{kind}_options"])
    return " ".join([named.name, *(f"{k}={v}" for k, v in named.options.items())])


def _warm(warm: Mapping[str, Any] | None) -> str:
    if warm is None:
        return "no: every visit to a document begins at the prior"
    joint = f", and one with the slow step, lr {warm['lr']:g}" if warm["lr"] else ""
    return f"{warm['steps']} fast steps from where the last visit ended{joint}"


def _kl(objective: Mapping[str, Any]) -> str:
    text = f"weight {objective['beta']:g}"
    if objective["warmup"]:
        text += f", rising from {objective['start']:g} over {objective['warmup']:.0%} of training"
    if objective["free_bits"]:
        text += f", {objective['free_bits']:g} nats of each row free"
    return text


def _steps(loop: Mapping[str, Any]) -> str:
    count = f"{loop['steps']} step{'' if loop['steps'] == 1 else 's'} of {loop['optimizer']}"
    return f"{count}, lr {loop['lr']:g} to {loop['lr'] * loop['final']:g}"


def command_line(command: Sequence[str] | None) -> str:
    """A command as one would type it."""
    if not command:
        return "a command that was not recorded"
    name = "ltm" if Path(command[0]).name in ("ltm", "__main__.py") else command[0]
    return shlex.join([name, *command[1:]])
