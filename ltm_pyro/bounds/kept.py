"""What an evaluation has found so far, in files: one that is killed goes on where it was.

Each part of it (a figure of a chunk of rows) is a Parquet file, a row for each row of the text, and
`evaluation.json` says what all of them follow from, the number of rows that are scored together
among it, so an evaluation that went on gives the same figures.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ltm_pyro import files
from ltm_pyro.bounds.estimate import Estimate
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError, first_line

MADE, DOCUMENTS = "evaluation.json", "documents.parquet"
BY_DRAW = ("values", "log_weights", "shared_weights")


class Kept:
    """A folder of finished parts.

    Args:
        folder: where they are.
        made: what all parts follow from; plain JSON types.

    Raises:
        InputError: if the folder holds an evaluation of something else.
    """

    def __init__(self, folder: str | Path, made: Mapping[str, Any]):
        self.folder = Path(folder)
        made = json.loads(json.dumps(made))
        place = self.folder / MADE
        files.check_same(place, made, "an evaluation")
        files.write_json(place, {"made": made})

    def place(self, turn: int, chunk: int, label: str) -> Path:
        """Where a part is kept: of the first scoring (turn 0) or of a repetition."""
        name = label.replace(":", "-")
        return self.folder / "parts" / f"{name}-{turn}-{chunk:06}.parquet"

    def read(self, turn: int, chunk: int, label: str) -> tuple[Estimate, float] | None:
        """A part and its seconds, if it is there whole."""
        place = self.place(turn, chunk, label)
        if not place.exists():
            return None
        try:
            table = pq.read_table(place)
            facts = json.loads(table.schema.metadata[b"ltm_pyro"])
            columns = {
                name: torch.from_numpy(np.stack(table[name].to_numpy()))  # of lists, too
                for name in table.column_names if name not in Rows.__dataclass_fields__
            }  # fmt: skip
            parts = {n.removeprefix("part:"): v for n, v in columns.items() if n[:5] == "part:"}
            by_draw: dict[str, Any] = {
                n: columns[n].T.contiguous() for n in BY_DRAW if n in columns
            }
            estimate = Estimate(
                columns["nats"], variance=columns.get("variance"), parts=parts, **by_draw,
                **{**facts["estimate"], "observed": _tuple(facts["estimate"]["observed"])},
            )  # fmt: skip
            return estimate, facts["seconds"]
        except Exception as error:  # of Parquet, of JSON, of what is missing
            raise InputError(
                f"{place} is damaged ({first_line(error)}): remove it to score its rows again"
            ) from None

    def write(
        self, turn: int, chunk: int, label: str, rows: Rows, found: tuple[Estimate, float]
    ) -> None:
        """Keep a part."""
        estimate, seconds = found
        columns: dict[str, Any] = {
            "document": _numbers(rows.document), "lengths": _numbers(rows.lengths),
            "bytes": _numbers(rows.bytes), "nats": _numbers(estimate.nats),
        }  # fmt: skip
        if estimate.variance is not None:
            columns["variance"] = _numbers(estimate.variance)
        columns |= {f"part:{name}": _numbers(part) for name, part in estimate.parts.items()}
        for name in BY_DRAW:
            if (values := getattr(estimate, name)) is not None:
                columns[name] = list(_numbers(values).T)
        plain = {
            one.name: value for one in dataclasses.fields(estimate)
            if not isinstance(value := getattr(estimate, one.name), Tensor)
            and one.name not in ("variance", "parts", *BY_DRAW)
        }  # fmt: skip
        facts = json.dumps({"estimate": plain, "seconds": seconds}).encode()
        table = pa.table(columns).replace_schema_metadata({"ltm_pyro": facts})
        place = self.place(turn, chunk, label)
        files.make_folder(place.parent)
        files.write(place, _bytes(table))

    def finish(self, documents: Mapping[str, Any]) -> None:
        """Write a table with a row for each document."""
        files.write(self.folder / DOCUMENTS, _bytes(pa.table(dict(documents))))


def _numbers(values: Tensor) -> Any:
    return values.detach().cpu().numpy()


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _bytes(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return memoryview(sink.getvalue())
