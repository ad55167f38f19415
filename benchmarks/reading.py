"""`python -m benchmarks.reading FILE...`: seconds and memory of making a corpus of each file.

Each is measured in a process of its own: the corpus made (with a given tokenizer, so that no
training of one is counted), loaded again from the cache, and, as yardstick, the bare
`tokenizers.encode_batch` of the same texts, a million letters at a time, its result dropped. Memory
is the most that the process held, over what it held once everything was imported.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = ("bare", "made", "again")


def measured(way: str, path: str, tokenizer: str) -> dict[str, Any]:
    """Seconds and megabytes, here and now."""
    from ltm_pyro.data import Tokenizer, load_corpus
    from ltm_pyro.data.documents import read_documents

    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as small:
        small.write('{"text": "once"}\n' * 30)
        small.flush()
        load_corpus(small.name, tokenizer=tokenizer)  # imports what is imported late
    known = Tokenizer.load(tokenizer)
    texts = read_documents(path, ["text"])["all"] if way == "bare" else []
    before, start = _peak(), time.perf_counter()
    if way == "bare":
        batch: list[str] = []
        for text in texts:
            batch.append(text)
            if len(batch) == 2000:
                known.inner.encode_batch(batch, add_special_tokens=False)
                batch = []
        known.inner.encode_batch(batch, add_special_tokens=False)
        rows = None
    else:
        rows = len(load_corpus(path, tokenizer=known, fields="text").train)
    return {
        "seconds": time.perf_counter() - start,
        "over_import_mb": _peak() - before,
        "training_rows": rows,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def reading(path: Path) -> dict[str, Any]:
    """All ways for one file."""
    with tempfile.TemporaryDirectory() as folder:
        from ltm_pyro.data import Tokenizer
        from ltm_pyro.data.sources.python_docs import python_docs

        tokenizer = Path(folder) / "tokenizer.json"
        Tokenizer.train(python_docs(), 2048).save(tokenizer)
        environment = {**os.environ, "LTM_PYRO_CACHE": str(Path(folder) / "cache")}
        found: dict[str, Any] = {"file": path.name, "mb": path.stat().st_size / 1e6}
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.reading", way, str(path), str(tokenizer)]
            told = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            found[way] = json.loads(told.stdout.splitlines()[-1])
    return found


def main(arguments: list[str]) -> None:
    """The command."""
    if arguments and arguments[0] in WAYS:
        print(json.dumps(measured(*arguments)))
        return
    print("| file | MB | bare encoding, s | corpus made, s | memory / file | again, s |")
    print("|---|---|---|---|---|---|")
    for name in arguments:
        one = reading(Path(name))
        print(
            f"| {one['file']} | {one['mb']:.0f} | {one['bare']['seconds']:.1f} | "
            f"{one['made']['seconds']:.1f} | {one['made']['over_import_mb'] / one['mb']:.2f} | "
            f"{one['again']['seconds']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
