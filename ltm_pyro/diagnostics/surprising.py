"""Which documents a model does not explain: their bounds beside those of texts that it writes."""

import dataclasses
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from torch import Tensor

from ltm_pyro.bounds.evaluation import evaluate
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.data.given import rows_of
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.diagnostics.null_texts import TRIES, by_kind, most_in_one, scored_part, written_texts
from ltm_pyro.display.progress import bar as progress_bar
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import check_model, with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import TextModel
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.reading import Sites
from ltm_pyro.seeds import Stream, derive

Tail = Literal["upper", "two-sided"]
Kept = MutableMapping[str, Mapping[str, Any]]
"""What was scored, by the name of a group of rows: a dict, or files."""


@dataclass(frozen=True)
class Surprise:
    """Documents, and how likely a text of the model's own is to be as surprising.

    Attributes:
        document: the number of each, as in the rows, shape (documents,).
        nats: the bound on -log p of what is scored of it, shape (documents,).
        tokens: how many tokens that is, shape (documents,).
        null: bounds of texts that the model wrote, of as many tokens; for each document.
        texts: how many of these were asked for, for each.
        tail: "upper" (more nats than the model's own texts), or "two-sided".
        protocol: in words, how it was made.
    """

    document: NDArray[np.int64]
    nats: Array
    tokens: NDArray[np.int64]
    null: Sequence[Array]
    texts: int
    tail: Tail
    protocol: str

    @property
    def p_value(self) -> Array:
        """(1 + texts as extreme) / (1 + texts), of each document; nan where there are no texts."""
        return np.array([
            p_value(nats, null, self.tail) for nats, null in zip(self.nats, self.null, strict=True)
        ])  # fmt: skip

    @property
    def q_value(self) -> Array:
        """The least false discovery rate at which a document is found (Benjamini and Hochberg).

        Documents of one length share their null texts, so that p-values go together: in the upper
        tail in the way that the procedure allows (Bates et al. 2023); of two-sided ones that is
        not known. Documents without a p-value are not counted, and have nan.
        """
        p_values = self.p_value
        known = ~np.isnan(p_values)
        found = np.full(len(p_values), math.nan)
        if known.any():
            found[known] = false_discovery_control(p_values[known])
        return found

    @property
    def standardised(self) -> Array:
        """How many standard deviations of its null texts a document lies above their mean."""
        return np.array([
            (nats - null.mean()) / null.std(ddof=1) if len(null) > 1 and np.ptp(null) else math.nan
            for nats, null in zip(self.nats, self.null, strict=True)
        ])  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """A row for each document, the most surprising first: of equal p-values, by `standardised`.

        Those without a p-value come last.

        Columns: `document`, `p_value`, `q_value`, `standardised`, `nats`, `tokens`,
        `nats_per_token`, `expected` (the mean of its null texts, nats), and how many `texts`.
        """
        frame = pd.DataFrame({
            "document": self.document,
            "p_value": self.p_value,
            "q_value": self.q_value,
            "standardised": self.standardised,
            "nats": self.nats,
            "tokens": self.tokens,
            "nats_per_token": self.nats / self.tokens,
            "expected": [float(one.mean()) if len(one) else math.nan for one in self.null],
            "texts": [len(one) for one in self.null],
        })  # fmt: skip
        far = frame["standardised"].abs() if self.tail == "two-sided" else frame["standardised"]
        order = np.lexsort((-far.fillna(-math.inf), frame["p_value"]))
        return frame.iloc[order].reset_index(drop=True)

    def __str__(self) -> str:
        frame = self.to_frame()
        return f"{frame.head(20).to_string(index=False, float_format='{:.4f}'.format)}\n{self.told}"

    __repr__ = __str__

    @property
    def told(self) -> str:
        """The protocol, and what cannot be seen with so few texts, in words."""
        found = [len(one) for one in self.null]
        least, most = min(found), max(found)
        number = f"{most}" if least == most else f"{least} to {most}"
        lines = [
            self.protocol,
            f"{len(found)} documents, each beside {number} texts; the least p-value that "
            f"{most} texts can give is {1 / (1 + most):.2g}",
        ]
        if few := sum(one < self.texts for one in found):
            lines.append(
                f"{few} documents have fewer than {self.texts} texts: of {TRIES} times as many "
                "too few end where these do, or go on for as long"
            )
        if none := found.count(0):
            lines.append(f"{none} documents have no text beside them, and so no p-value")
        if self.tail == "two-sided":
            lines.append(
                "q-values: with texts that documents share, Benjamini and Hochberg's procedure is "
                "known to hold for the upper tail; for two-sided p-values it is not"
            )
        return "\n".join(lines)


def p_value(nats: float, null: Array, tail: Tail) -> float:
    """(1 + number as extreme) / (1 + number), valid for any number (Phipson & Smyth 2010).

    Two-sided it is twice the smaller of both tails', 1 at the most. Beside no text there is none.
    """
    if not len(null):
        return math.nan
    above, below = (
        (1 + int(more.sum())) / (1 + len(null)) for more in (null >= nats, null <= nats)
    )
    return above if tail == "upper" else min(1.0, 2 * min(above, below))


@checked
@with_gradients
def surprise(
    model: TextModel,
    rows: AnyRows | Sequence[str] | str,
    *,
    texts: Count = 99,
    bound: str = "elbo:16",
    tail: Tail = "upper",
    multiple: Count = 16,
    tokenizer: Tokenizer | None = None,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    seed: Whole = 0,
    chunk: Count = 64,
    progress: bool = True,
    kept: Any = None,
    note: Callable[[str], Any] = lambda _: None,
) -> Surprise:
    """How surprising each document is, beside texts of as many tokens that the model writes.

    Scored is a document without its end of text, its last row cut to a multiple of some tokens.
    For each of its rows of m tokens the model writes texts: z from the prior, tokens from the
    decoder. Kept are those that end where the row's does: at m tokens or later, and before the next
    multiple; beside a row that is full those that go on for more than m. They are cut to m tokens
    and scored as the document is: the same guide, fast steps and draws. What the model writes is so
    one more such text: any rank among them is as likely, however loose the bound is.

    Args:
        model: what is asked; nothing is said of whether it is a good one.
        rows: the documents: rows of a corpus, not packed, or texts, with their `tokenizer`.
        texts: of the model, for each document.
        bound: the figure that is compared, as in `evaluate`; it need not be tight.
        tail: "upper" finds documents with more nats than the model's own texts; "two-sided" also
            those with less, which repeat themselves, say.
        multiple: rows that are not full are cut to a multiple of so many tokens, so that documents
            share texts; a document with less tokens is whole, beside texts of its very length.
        tokenizer: the model's: its end of text. Without it tokens are all alike, and a row of m
            is beside the first m tokens of any text.
        guide, fast: what is fitted, and how.
        seed: where every draw comes from.
        chunk: rows handled at once; bounds the memory.
        progress: whether to show a progress bar.
        kept: keeps what was scored, group by group, and what it has is not scored again: a `Kept`,
            of one set of arguments.
        note: called with a line of text for each group.

    Raises:
        InputError: for packed rows, whose windows are no documents, an unknown figure, or a model
            with sites that all documents share.
        NotFinite: for weights that are not.

    Example:
        >>> import torch
        >>> import ltm_pyro as ltm
        >>> from ltm_pyro.config import Thoughts
        >>> from ltm_pyro.diagnostics import surprise
        >>> from ltm_pyro.models import LinearGaussianModel
        >>> from ltm_pyro.programs.densities import simulate
        >>> model = LinearGaussianModel(Thoughts(1, 1, 3), torch.eye(3), scale=1.0)
        >>> rows, _ = simulate(model, torch.full((4,), 3))
        >>> found = surprise(model, rows, texts=19, fast=ltm.Fast.quick(), progress=False)
        >>> bool((found.p_value >= 1 / 20).all())
        True
    """
    check_model(model)
    rows = rows_of(rows, model, tokenizer)
    if rows.packed:
        raise InputError("rows are packed: windows are no documents; read the text by document")
    shared = list(Sites.of(model, rows).of_kind("shared"))
    if shared:
        raise InputError(
            f"the model samples {', '.join(shared)} once for all documents: no text that it writes "
            "is independent of another"
        )
    end = None if tokenizer is None else tokenizer.end
    device = next(model.parameters()).device
    config = getattr(model, "config", None)
    longest = None if config is None else config.architecture.length
    rows, before = scored_part(rows.to(device), end, multiple, longest)
    if not len(rows):
        raise InputError("there is no document with text in it to rank")
    groups = by_kind(rows, before)
    most = {kind: most_in_one(rows.document[places]) for kind, places in groups.items()}
    groups_kept: Kept = {} if kept is None else kept
    fast = fast or Fast()
    said = ""
    with progress_bar(
        None, "ranking", unit="row", shown=progress,
        total=sum(len(places) + texts * most[kind] for kind, places in groups.items()),
    ) as bar:  # fmt: skip

        def score(some: Rows) -> list[float]:
            nonlocal said
            found: list[float] = []
            alone = torch.arange(len(some), device=some.lengths.device)  # a row, a figure
            for part in dataclasses.replace(some, document=alone).split(chunk):
                report = evaluate(
                    model, part, [bound], guide=guide, fast=fast,
                    seed=derive(seed, Stream.FITS), chunk=chunk, repeat=0, progress=False,
                )  # fmt: skip
                (figure,) = report.figures.values()
                found += figure.nats.tolist()
                said = figure.protocol
                bar.update(len(part))
            return found

        found, null = np.zeros(len(rows)), {}
        for number, (kind, places) in enumerate(groups.items(), 1):
            own, wanted, until = rows[places], texts * most[kind], int(before[places[0]])
            if kind not in groups_kept:
                written, tried = written_texts(model, own, until, wanted, end, seed, chunk)
                groups_kept[kind] = {
                    "nats": score(own), "null": score(written) if written else [],
                    "tried": tried, "protocol": said,
                }  # fmt: skip
                bar.update(wanted - (len(written) if written else 0))
            else:
                bar.update(len(places) + wanted)
            one = groups_kept[kind]
            said = one["protocol"]
            found[places.cpu().numpy()], null[kind] = one["nats"], np.asarray(one["null"])
            where = f"that end before {until}" if until else "that go on"
            note(
                f"{int(own.lengths[0])} tokens {where}: {len(places)} rows, {len(null[kind])} of "
                f"{one['tried']} texts of the model do so ({number} of {len(groups)})"
            )
    protocol = (
        f"{said}; beside texts of the model of as many tokens, scored alike; p-values "
        f"{'of the upper tail' if tail == 'upper' else 'two-sided'}, by simulation"
    )
    return _joined(rows, found, groups, null, texts, tail, protocol)


def _joined(
    rows: Rows, nats: Array, groups: Mapping[str, Tensor], null: Mapping[str, Array], texts: int,
    tail: Tail, protocol: str,
) -> Surprise:  # fmt: skip
    """Documents from their rows: sums of nats, beside sums over as many texts of each kind.

    No text stands in two sums of a document, so that these are independent as documents are.
    """
    numbers, place = np.unique(rows.document.cpu().numpy(), return_inverse=True)
    total, tokens = np.zeros(len(numbers)), np.zeros(len(numbers), np.int64)
    np.add.at(total, place, nats)
    np.add.at(tokens, place, rows.lengths.cpu().numpy())
    kinds: list[dict[str, int]] = [{} for _ in numbers]
    for kind, places in groups.items():
        for one in place[places.numpy()]:
            kinds[one][kind] = kinds[one].get(kind, 0) + 1
    sums = []
    for of in kinds:
        known = min([texts, *(len(null[kind]) // count for kind, count in of.items())])
        parts = [null[kind][: known * n].reshape(known, n).sum(1) for kind, n in of.items()]
        sums.append(np.sum(parts, axis=0))
    return Surprise(numbers, total, tokens, sums, texts, tail, protocol)
