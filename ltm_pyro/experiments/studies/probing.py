"""What thoughts hold: of the text, of columns beside it, and where they lie."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from ltm_pyro.bounds.weights import Array
from ltm_pyro.data import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.probing import probes, report
from ltm_pyro.experiments.probing.reading import right
from ltm_pyro.experiments.studies.base import Found, Part, Results, Trial
from ltm_pyro.experiments.studies.of_run import OfRun
from ltm_pyro.experiments.studies.rows import documents_by_lot
from ltm_pyro.inference.posterior import Posterior, infer
from ltm_pyro.options import Count
from ltm_pyro.reports.thought_map import means
from ltm_pyro.runs.scored import Scored, to_score

Several = Annotated[Count, Ge(2)]
"""At least two, so that there is an error."""
LEAST = 10
"""Documents that a value needs to be asked for."""


@dataclass(frozen=True, kw_only=True)
class Probing(OfRun):
    """Probe what thoughts hold: reconstruction, columns, neighbours, lines, slots, a map.

    Of each document its first row counts, and a text that stands twice counts once, so that
    documents are independent. Columns are hidden from the model while thoughts are fitted. Raises
    InputError for a column that too few documents have.
    """

    split: str | None = None
    """Default: all that was not trained on."""
    documents: Count = 256
    """Documents to look at, chosen by lot."""
    draws: Several = 4
    """Draws of thoughts where they are averaged over."""
    neighbours: Count = 5
    """Of each document that are compared with it."""
    folds: Several = 5
    """Folds of the probes' cross-validation."""
    shuffles: Several = 200
    """How often labels are dealt by lot, for p-values."""
    shown: Count = 3
    """Documents, or pairs, that are shown in full."""
    chunk: Count = 64
    """Rows handled at once; bounds the memory."""

    ADDS = frozenset({"text"})

    @cached_property
    def scored(self) -> Scored:
        """The rows that documents are chosen from."""
        return to_score(self.corpus, [self.loaded], self.split, "all")

    @cached_property
    def rows(self) -> Rows:
        """A row of each document."""
        scored = self.scored.rows
        firsts = scored.chosen(np.unique(scored.index["document"], return_index=True)[1].tolist())
        copies = np.unique(firsts[:].keyed_by_text().key.numpy(), return_index=True)[1]
        rows = documents_by_lot(firsts.chosen(np.sort(copies).tolist()), self.documents, self.seed)
        if len(rows) < LEAST:
            raise InputError(
                f"{self.corpus.name} has {len(rows)} documents to probe: expected {LEAST} or more"
            )
        return rows[:]

    @cached_property
    def labels(self) -> dict[str, tuple[list[str], NDArray[Any]]]:
        """Of each column its values (none of numbers), and the code or number of each document.

        Documents without one, or with a value that fewer than `LEAST` have, have -1, or nan.
        """
        corpus, found = self.corpus, {}
        for name in (*self.text.column, *self.text.number) or (*corpus.columns, *corpus.numbers):
            given = self.rows.columns[name].cpu().numpy()
            if name in corpus.numbers:
                known, codes = [], given.astype(float)
                usable = int(np.isfinite(codes).sum())
            else:
                common = [c for c in np.unique(given[given >= 0]) if (given == c).sum() >= LEAST]
                known = [corpus.columns[name][c] for c in common]
                codes = np.full(len(given), -1)
                for place, code in enumerate(common):
                    codes[given == code] = place
                usable = int((codes >= 0).sum()) if len(known) > 1 else 0
            if usable < max(2 * self.folds, LEAST):
                raise InputError(
                    f"column {name!r}: too few of {len(given)} documents have one of two values, "
                    f"or more, that {LEAST} of them have: take more --documents, or another column"
                )
            found[name] = (known, codes)
        return found

    @cached_property
    def posterior(self) -> Posterior:
        """Thoughts of the rows, fitted without their columns."""
        return self.fitted(self.rows)

    def fitted(self, rows: Rows) -> Posterior:
        """Thoughts of some rows."""
        run = self.loaded
        blind = rows.hiding(*rows.columns)
        return infer(run.model, blind, run.guide, self.fast, self.seed, self.chunk)

    @cached_property
    def means(self) -> Tensor:
        """The posterior mean of each document, (documents, layers, slots, dim)."""
        shape = self.loaded.config.thoughts.shape
        found = torch.from_numpy(means(self.posterior)).reshape(-1, *shape)
        return found.to(self.loaded.model.decoder.head)

    @cached_property
    def flat(self) -> Array:
        """The same, (documents, D)."""
        return np.asarray(self.means.flatten(1).double().cpu().numpy())

    def parts(self) -> Sequence[Part]:
        """One a probe; work is counted in rows that are scored once."""
        of, size = _fingerprint(self.rows), len(self.rows)
        thoughts = self.loaded.config.thoughts
        found = [
            Part("reconstruction", partial(probes.reconstruction, self),
                 size * ((2 * thoughts.layers + 2) * self.draws + 3 * self.fast.steps), of),
            Part("neighbours", partial(probes.neighbours, self), size, of),
            Part("interpolation", partial(probes.interpolation, self), size * 2 * probes.STEPS, of),
            Part("attribution", partial(probes.attribution, self),
                 size * (thoughts.count + 3) * self.draws, of),
            Part("map", partial(probes.plane, self), 0.0, of),
        ]  # fmt: skip
        for name, (values, codes) in self.labels.items():
            follows = hashlib.sha256(of.encode() + codes.tobytes()).hexdigest()[:16]
            place = _part_name(name)
            found.append(Part(f"probe-{place}", partial(probes.column, self, name), size, follows))
            if values:
                part = partial(probes.arithmetic, self, name)
                work = size * probes.GROUPS / 2 * (min(len(values), probes.VALUES) - 1)
                found.append(Part(f"arithmetic-{place}", part, work, follows))
        return found

    def trial(self) -> Trial:
        """A few documents, scored under some draws."""
        posterior = self.fitted(self.rows[:LEAST])
        z = posterior.sample(self.draws)
        model = self.loaded.model
        return Trial(lambda: right(model, posterior.rows, z), LEAST * self.draws)

    def results(self, found: Mapping[str, Found]) -> Results:
        """Tables, pictures, and the protocol of each."""
        return report.results(found)


def _part_name(column: str) -> str:
    """A name that a file can have, and no other column."""
    short = re.sub(r"[^A-Za-z0-9_-]+", "-", column)
    told = hashlib.sha256(column.encode()).hexdigest()[:6]
    return column if short == column else f"{short.strip('-')}-{told}"


def _fingerprint(rows: Rows) -> str:
    """Of the tokens of rows."""
    return hashlib.sha256(rows.keyed_by_text().key.numpy().tobytes()).hexdigest()[:16]
