"""`ltm rank`."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

import ltm_pyro as ltm
from ltm_pyro import files
from ltm_pyro.bounds.fingerprint import fingerprint
from ltm_pyro.commands.text import as_json, say, show
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.data.naming import names_of
from ltm_pyro.data.store import StoredRows
from ltm_pyro.diagnostics.surprising import Tail, surprise
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.studies.rows import documents_by_lot, texts_of
from ltm_pyro.experiments.studies.running import STUDY
from ltm_pyro.options import Count
from ltm_pyro.runs.asked import AskedRun
from ltm_pyro.runs.checkpoint import CHECKPOINTS
from ltm_pyro.runs.manifest import Seal
from ltm_pyro.runs.scored import to_score

SHOWN = 60
"""Letters of a document that the table shows."""
TABLE = "ranks.csv"


@dataclass(frozen=True)
class Rank(AskedRun):
    """Rank documents by how little a trained model explains them, with p-values by simulation.

    Beside each stand texts that the model writes and that end where it does, scored alike: a
    p-value is the share of them, and of the document itself, that are as surprising.
    """

    text: FlatText = field(default_factory=Text)
    out: Path | None = None
    """Folder for ranks.csv, ranks.json and what is scored: stopped, the same command goes on."""
    split: Literal["train", "valid", "test", "all"] | None = None
    """Default: the test split, or, of text given with --data, all that was not trained on."""
    documents: Count | None = None
    """At most so many documents, chosen by lot (default: all)."""
    texts: Count = 99
    """Texts of the model for each document: the least p-value is 1 / (1 + texts)."""
    bound: str = "elbo:16"
    """The figure that is compared, as in ltm evaluate; it need not be tight."""
    tail: Tail = "upper"
    """Find documents with more nats than texts of the model, or two-sided: with less of them, too,
    such as those that repeat themselves."""
    multiple: Count = 16
    """Rows that are not full are cut to a multiple of so many tokens, so that documents share the
    model's texts, which end before the next multiple; 1 cuts nothing, and finds few of them."""
    show: Count = 20
    """Lines of the table that are printed."""
    chunk: Count = 64
    """Rows handled at once; bounds the memory."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Score, simulate and print."""
        run, data = self.loaded, self.data_of(self.text)
        if data.layout == "packed":
            say("data: the run's rows are packed; here a row holds one document")
            data = dataclasses.replace(data, layout="document")
        corpus = ltm.load_data(run.config.replace(data=data), run.tokenizer)
        chosen = to_score(corpus, [run], self.split, "all" if self.text.data else "test")
        rows = chosen.rows
        if self.documents is not None:
            rows = documents_by_lot(rows, self.documents, self.seed)
        if not len(rows):
            raise InputError(
                f"{corpus.name} has no document to rank in split {chosen.split} that the run was "
                "not trained on: --split all ranks those, too"
            )
        say(f"run: {run.path}, the {self.checkpoint} checkpoint, of iteration {run.step}")
        say(f"data: {corpus.name}, split {chosen.split}: {len(rows)} rows")
        if chosen.left_out:
            say(
                f"data: {chosen.left_out} documents that the run was trained on are left out "
                "(--split all ranks them)"
            )
        kept = None if self.out is None else Kept(self.out, self.made(run, rows))
        found = surprise(
            run.model, rows, texts=self.texts, bound=self.bound, tail=self.tail,
            multiple=self.multiple, tokenizer=run.tokenizer, guide=run.guide, fast=self.fast,
            seed=self.seed, chunk=self.chunk, kept=kept, note=say,
        )  # fmt: skip
        frame = found.to_frame()
        names, begins = names_of(rows, corpus.read_as or data), beginnings(rows, run)
        frame.insert(0, "name", [names[number] for number in frame["document"]])
        frame["text"] = [begins[number] for number in frame["document"]]
        frame = frame.drop(columns="document")
        told = {
            "run": str(run.path), "data": corpus.name, "split": chosen.split,
            "left_out_as_trained_on": chosen.left_out, "protocol": found.told.split("\n"),
            "documents": frame.to_dict("records"),
        }  # fmt: skip
        if self.out is not None:
            files.write(self.out / TABLE, frame.to_csv(index=False).encode())
            files.write(self.out / "ranks.json", as_json(told).encode())
            say(f"all of it: {self.out / TABLE}")
        show(as_json(told) if self.json else f"{table(frame.head(self.show))}\n{found.told}")

    def made(self, run: ltm.Run, rows: StoredRows) -> dict[str, Any]:
        """What every number follows from."""
        weights = (run.path / CHECKPOINTS[self.checkpoint]).read_bytes()
        return {
            "study": "rank", "weights": Seal.of(weights).sha256,
            "text": fingerprint(rows[:]), "texts": self.texts,
            "bound": self.bound, "multiple": self.multiple, "fast.steps": self.fast.steps,
            "fast.particles": self.fast.particles, "fast.antithetic": self.fast.antithetic,
            "chunk": self.chunk, "seed": self.seed,
        }  # fmt: skip


class Kept(MutableMapping[str, Mapping[str, Any]]):
    """What was scored, group by group, in files of a folder.

    Raises:
        InputError: if the folder holds what follows from something else, or is damaged.
    """

    def __init__(self, folder: Path, made: Mapping[str, Any]):
        files.check_is_folder(folder)
        files.check_same(folder / STUDY, made, "a ranking")
        files.write_json(folder / STUDY, {"made": made, "version": ltm.__version__})
        self.parts = folder / "parts"

    def place(self, name: str) -> Path:
        """The file of a group."""
        return self.parts / f"{name}.json"

    def __contains__(self, name: object) -> bool:
        return self.place(str(name)).exists()

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        place = self.place(name)
        try:
            found: Mapping[str, Any] = json.loads(place.read_bytes())
            found["nats"], found["null"], found["tried"], found["protocol"]
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{place} is damaged: remove it to score it again") from None
        return found

    def __setitem__(self, name: str, found: Mapping[str, Any]) -> None:
        files.write_json(self.place(name), found)

    def __delitem__(self, name: str) -> None:
        self.place(name).unlink()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self.parts.glob("*.json")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def beginnings(rows: StoredRows, run: ltm.Run) -> dict[int, str]:
    """How the text of each document begins, on one line."""
    first = rows.chosen(np.unique(rows.index["document"], return_index=True)[1].tolist())
    texts = texts_of(first, run.tokenizer)
    return {
        number: " ".join(text.split())[:SHOWN]
        for number, text in zip(first.document.tolist(), texts, strict=True)
    }


def table(frame: pd.DataFrame) -> str:
    """The lines of a table, as they are printed."""
    digits = {"p_value": 4, "q_value": 4, "sd above": 2, "nats": 1, "nats/token": 3, "expected": 1}
    named = frame.rename(columns={"standardised": "sd above", "nats_per_token": "nats/token"})
    formats = {name: f"{{:.{places}f}}".format for name, places in digits.items()}
    return named.to_string(index=False, formatters=formats, justify="left")
