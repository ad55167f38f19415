"""`ltm prepare`."""

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

import ltm_pyro as ltm
from ltm_pyro.commands.text import as_json, say, show
from ltm_pyro.config import Data
from ltm_pyro.config.text import Vocabulary
from ltm_pyro.data import kept
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.data.building import SPLITS
from ltm_pyro.data.preparing import LEARN_FROM, SHARD
from ltm_pyro.files import storage
from ltm_pyro.options import Count


@dataclass(frozen=True)
class Prepare:
    """Make text of any size ready for training: token ids in shards, read in little memory.

    Documents and files that cannot be read are passed over, counted and told. Stopped at any time,
    the same command goes on after its last finished shard; of a finished folder it checks every
    shard.
    """

    out: str
    """Folder of the shards, or the URL of one in a store (s3://bucket/folder)."""
    length: Count
    """Tokens in a row, as ltm train --length will have them."""
    text: FlatText = field(default_factory=Text)
    layout: Literal["document", "packed"] = "document"
    """Rows of a document each, or windows over documents laid end to end."""
    tokenizer: str | None = None
    """A tokenizer.json, a folder with one (a run, prepared text), or a name on the Hugging Face
    hub (default: one is trained on the training documents)."""
    vocabulary: Vocabulary = 2048
    """Tokens of a tokenizer that is trained."""
    learn_from: Count = LEARN_FROM
    """Letters of training text that a tokenizer is trained on, at most."""
    processes: Count | None = None
    """Processes that encode (default: one for each core)."""
    shard: Count = SHARD
    """Token ids in a shard, at least."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Prepare, and tell what came of it."""
        start = time.perf_counter()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.text.check_used()
        data = self.text.over(Data(
            layout=self.layout, tokenizer=self.tokenizer, vocabulary=self.vocabulary
        ))  # fmt: skip
        corpus = ltm.prepare(
            data, self.out, length=self.length, processes=self.processes or cores or 1,
            shard=self.shard, learn_from=self.learn_from, note=say,
        )  # fmt: skip
        for note in corpus.notes:
            say(note)
        found = self.found(corpus, time.perf_counter() - start)
        if self.json:
            show(as_json(found))
        else:
            table = pd.DataFrame(found["splits"]).T.map("{:,}".format)
            show(table.rename_axis("split").reset_index().to_string(index=False))
            show(f"train on it: ltm train --data {self.out} --length {self.length}")

    def found(self, corpus: ltm.Corpus, seconds: float) -> dict[str, Any]:
        """What is in the folder."""
        facts = json.loads((storage.place(self.out) / kept.FACTS).read_bytes())
        splits = {
            split: {
                "documents": facts["documents"][split], "rows": len(corpus.rows(split)),
                "tokens": corpus.rows(split).sums[0], "bytes": corpus.rows(split).sums[1],
            } for split in SPLITS
        }  # fmt: skip
        return {
            "folder": self.out, "length": corpus.length, "layout": corpus.layout,
            "vocabulary": corpus.vocabulary, "splits": splits, "passed_over": facts["skipped"],
            "shards": sum(name.startswith(kept.SHARDS) for name in facts["sizes"]),
            "seconds": round(seconds, 2),
        }  # fmt: skip
