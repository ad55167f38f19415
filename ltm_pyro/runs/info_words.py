"""What `ltm_pyro.runs.info` knows of a run or a preset, in words."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltm_pyro.config import Named
from ltm_pyro.config.sizes import PLAIN
from ltm_pyro.runs import folder
from ltm_pyro.runs.looks import BOUND

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
            f"{_steps(fast)}, particles: {fast['particles']}"
            + (" in pairs" if fast["antithetic"] else "")
            + LOOP_IS.get(facts["loop"], ""),
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
