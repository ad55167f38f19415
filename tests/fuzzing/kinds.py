"""The kinds of inputs that there are, by name."""

from . import runs, settings, texts
from .runs import make_run

__all__ = ["KINDS", "make_run"]

KINDS = {
    "configuration": settings.Configuration, "part": settings.Part,
    "dataclass": settings.Dataclass, "command-line": settings.CommandLine,
    "records": texts.Records, "table": texts.Tables, "plain": texts.Plain,
    "parquet": texts.Columnar, "saved": texts.Saved, "folder": texts.Folders,
    "in-memory": texts.InMemory, "tokenizer": texts.Tokenizers,
    "record": runs.Record, "log": runs.Log, "manifest": runs.Manifests, "weights": runs.Weights,
    "seen": runs.Seen, "resume": runs.Resume, "memory": runs.Remembered, "prompt": runs.Prompt,
    "question": runs.Question,
}  # fmt: skip
