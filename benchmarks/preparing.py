"""`python -m benchmarks.preparing --megabytes 1000`: a text prepared, read, and trained on.

The text is records of some 900 letters, drawn by lot from the paragraphs of Python's
documentation. `ltm prepare` makes shards of it, with each of the numbers of processes; then a
process whose address space may grow by no more than `ROOM` reads batches of them, and one trains
the preset `tiny`. Seconds are by the clock. Memory is the most that is resident: of preparing in
the largest of its processes, of the others over what was resident once all was imported.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.shapes import RESULTS

LENGTH, BATCH, BATCHES, STEPS = 512, 16, 400, 6
ROOM = 300_000_000
"""Bytes: less than a text of a gigabyte has in token ids."""


def write_text(path: Path, megabytes: int) -> None:
    """Records drawn by lot."""
    from ltm_pyro.data.sources.python_docs import python_docs

    paragraphs = [part for text in python_docs() for part in text.split("\n\n") if part.strip()]
    draw, written = random.Random(0), 0
    with path.open("w") as file:
        while written < megabytes * 10**6:
            text = ""
            while len(text) < 900:
                text += draw.choice(paragraphs) + "\n\n"
            written += file.write(json.dumps({"text": text}) + "\n")


def prepared(text: Path, out: Path, processes: int) -> dict[str, Any]:
    """What preparing takes."""
    command = ["prepare", "--data", str(text), "--out", str(out), "--length", str(LENGTH),
               "--processes", str(processes), "--learn-from", "20000000", "--json"]  # fmt: skip
    start = time.perf_counter()
    found = _python("-m", "ltm_pyro", *command)
    seconds = time.perf_counter() - start
    tokens = sum(split["tokens"] for split in found["splits"].values())
    return {
        "processes": processes, "seconds": seconds, "tokens": tokens,
        "tokens_per_second": tokens / seconds, "megabytes": _peak(resource.RUSAGE_CHILDREN),
    }  # fmt: skip


def read(out: str) -> dict[str, Any]:
    """Batches of training, under a limited address space."""
    from ltm_pyro import load_corpus

    begun, start = _peak(), time.perf_counter()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    corpus = load_corpus(out, length=LENGTH)
    corpus.train.batch(0, BATCH, 0)
    first, tokens = time.perf_counter() - start, 0
    for step in range(BATCHES):
        tokens += corpus.train.batch(step, BATCH, 0).token_count
    seconds = time.perf_counter() - start - first
    held = sum(file.stat().st_size for file in Path(out).rglob("*.bin"))
    return {
        "first_batch_seconds": first, "tokens_per_second": tokens / seconds,
        "megabytes": _peak() - begun, "tokens_in_megabytes": held / 1e6,
    }  # fmt: skip


def trained(out: str) -> dict[str, Any]:
    """What training consumes."""
    from dataclasses import replace

    import ltm_pyro as ltm
    from ltm_pyro.config import Data
    from ltm_pyro.runs.callbacks import Callback
    from ltm_pyro.runs.training import for_corpus

    class Marks(Callback):
        def __init__(self, marks: list[float]):
            self.marks = marks

        def after(self, *given: Any) -> None:
            self.marks.append(time.perf_counter())

    config = ltm.preset("tiny")
    config = config.replace(
        data=Data(source=out),
        architecture=replace(config.architecture, length=LENGTH),
        training=replace(config.training, steps=STEPS, batch=BATCH),
    )
    begun, start = _peak(), time.perf_counter()
    corpus = ltm.load_data(config)
    config, marks = for_corpus(config, corpus), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        ltm.train(config, Path(folder) / "run", corpus, progress=False, callbacks=[Marks(marks)])
    tokens = sum(corpus.train.batch(step, BATCH, 0).token_count for step in range(1, STEPS))
    return {
        "first_step_seconds": marks[0] - start,
        "tokens_per_second": tokens / (marks[-1] - marks[0]), "megabytes": _peak() - begun,
    }  # fmt: skip


def _peak(of: int = resource.RUSAGE_SELF) -> float:
    return resource.getrusage(of).ru_maxrss / 1e3


def _python(*arguments: str) -> Any:
    told = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(told.stdout)


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| | tokens a second | seconds to the first batch | memory, MB |",
        "|---|---|---|---|",
    ]
    for one in found["prepared"]:
        many = one["processes"] > 1
        name = (
            f"preparing, {one['processes']} process{'es that encode' if many else ' that encodes'}"
        )
        lines.append(f"| {name} | {one['tokens_per_second']:,.0f} | | {one['megabytes']:.0f} |")
    for name, one, first in (
        ("reading batches", found["read"], "first_batch_seconds"),
        ("training `tiny`", found["trained"], "first_step_seconds"),
    ):
        lines.append(
            f"| {name} | {one['tokens_per_second']:,.0f} | {one[first]:.1f} | "
            f"{one['megabytes']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preparing")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS / "preparing.json")
    parser.add_argument("--only", choices=["read", "trained"], help=argparse.SUPPRESS)
    parser.add_argument("--shards", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps({"read": read, "trained": trained}[asked.only](asked.shards)))
        return
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.jsonl"
        write_text(text, asked.megabytes)
        found: dict[str, Any] = {"megabytes": asked.megabytes, "prepared": []}
        for processes in asked.processes:
            shards = Path(folder) / f"shards-{processes}"
            found["prepared"].append(prepared(text, shards, processes))
        for what in ("read", "trained"):
            found[what] = _python(
                "-m", "benchmarks.preparing", "--only", what, "--shards", str(shards)
            )
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
