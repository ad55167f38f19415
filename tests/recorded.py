"""Short runs of every protocol, and the numbers they end with.

`python -m tests.recorded` prints them as JSON; `tests/recorded.json` holds those of before,
which `test_recorded.py` compares with: a change of structure changes no number.
"""

import dataclasses
import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import ltm_pyro as ltm

PROTOCOLS = {
    "fresh": lambda config: config,
    "quick": ltm.quick_protocol,
    "joint": ltm.joint_protocol,
    "released": ltm.released_protocol,
}
WORDS = ["wave", "fish", "sail", "salt", "tree", "leaf", "root", "moss"]
FIGURES = ("elbo:4", "prior:4", "iwae:8", "ais:4", "predictive:8", "same_noise")


def text() -> str:
    """Eighty short documents, the same every time."""
    lines = (
        " ".join(WORDS[(i + j * (1 + i % 5)) % 8] for j in range(4 + i % 9)) for i in range(80)
    )
    return "\n".join(json.dumps({"text": f"{i}: {line}"}) for i, line in enumerate(lines)) + "\n"


def recorded(protocol: str, folder: Path) -> dict[str, Any]:
    """Weights and figures of a run of six iterations beside its baseline."""
    data = folder / "text.jsonl"
    data.write_text(text())
    corpus = ltm.load_corpus(data, length=24, vocabulary=300)
    config = ltm.preset("tiny", corpus)
    architecture = dataclasses.replace(
        config.architecture, window=8, width=32, heads=2, feedforward=48
    )
    training = dataclasses.replace(
        config.training, steps=6, batch=8, baseline=True, check_every=3, check_rows=8
    )
    config = config.replace(architecture=architecture, training=training)
    run = ltm.train(PROTOCOLS[protocol](config), folder / protocol, corpus, progress=False)
    report = ltm.evaluate(
        run.model, corpus.rows("all")[:12], FIGURES, guide=run.guide, fast=run.config.fast,
        baseline=run.baseline, repeat=0, progress=False,
    )  # fmt: skip
    written = ltm.generate(
        run.model, corpus.tokenizer, ["1: wave", ""], 2, length=20, guide=run.guide,
        fast=run.config.fast,
    )  # fmt: skip
    weights = [p.detach() for p in (*run.model.parameters(), *run.baseline.parameters())]
    log = [{k: v for k, v in line.items() if k != "seconds"} for line in run.log()]
    return {
        "digest": hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest(),
        "norms": [float(w.double().norm()) for w in weights],
        "figures": {name: one.nats.tolist() for name, one in report.figures.items()},
        "log": log,
        "texts": written.texts,
    }


def machine() -> str:
    """Where numbers are equal bit for bit: the same torch on the same kind of processor."""
    facts = (torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability(),
             platform.processor(), _processor(), torch.get_num_threads())  # fmt: skip
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        runs = {name: recorded(name, Path(place)) for name in PROTOCOLS}
    json.dump({"machine": machine(), "runs": runs}, sys.stdout, indent=1)
    print()
