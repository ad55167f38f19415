"""A prior that knows a column of the documents: an author, a genre, a module."""

from collections.abc import Mapping, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.options import checked


class Conditional(Prior):
    """p(z | value) = N(loc[value], diag exp(2 log_scale[value])), all learned.

    Each value of one column has a normal of its own, around a common one::

        loc[value] = loc + loc_of[value],    log_scale[value] = log_scale + log_scale_of[value]

    All start at zero, so every value starts at N(0, I). A document whose value is missing, or was
    never seen in training, has the common normal, N(loc, diag exp(2 log_scale)).

    The common one is trained with every document, also where all values are known: it is a term of
    each value's. Its gradient is the sum of theirs, so plain gradient descent keeps it equal to
    the sum of the offsets: where K values come to means m_1, ..., m_K, it comes to K / (K + 1) of
    their average, and weight decay shrinks values towards it. What it stands for is a document of
    any value, its spread that of one value and not of all: figures of unseen values are bounds
    under that prior.

    Args:
        thoughts: shape of z.
        column: the column that is read.
        columns: the columns of the data, each with its known values (`Corpus.columns`).

    Raises:
        InputError: if no column is named, or the data have none of that name.
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        column: str | int | float = "",
        columns: Mapping[str, Sequence[str]] | None = None,
    ):
        super().__init__(thoughts)
        known = columns or {}
        if not known:
            raise InputError(
                f"a conditional prior reads a column ({column or 'none is named'}), and the data "
                f"have none: keep it with --column {column or 'NAME'}, or "
                f"load_corpus(columns=...), and pass columns=corpus.columns"
            )
        if not column:
            raise InputError(
                "a conditional prior needs the name of the column it reads: give --prior.column "
                f"NAME, of {', '.join(sorted(known))}"
            )
        column = str(column)  # the command line reads 1890 as a number
        if column not in known:
            raise unknown("column", column, known)
        self.column = column
        self.columns = {column: tuple(known[column])}
        values = len(known[column])
        self.loc = nn.Parameter(torch.zeros(self.shape))
        self.log_scale = nn.Parameter(torch.zeros(self.shape))
        self.loc_of = nn.Parameter(torch.zeros(values, *self.shape))
        self.log_scale_of = nn.Parameter(torch.zeros(values, *self.shape))

    def distribution(self, codes: Tensor | None = None) -> TorchDistribution:
        """p(z | value) of codes as in `Rows.columns`: their shape is the batch shape.

        The event shape is (layers, slots, dim). Without codes it is the common normal.
        """
        loc: Tensor = self.loc
        log_scale: Tensor = self.log_scale
        if codes is not None:
            loc = loc + _at(self.loc_of, codes)
            log_scale = log_scale + _at(self.log_scale_of, codes)
        return dist.Normal(loc, log_scale.exp(), validate_args=False).to_event(3)

    def forward(self, batch: Rows | None = None) -> Tensor:
        """Sample the site `z` given the documents' values: (*plates, layers, slots, dim)."""
        codes = None if batch is None else batch.columns.get(self.column)
        if codes is None:
            raise InputError(
                f"the prior reads column {self.column!r}, which these rows do not carry: keep it "
                f"with --column {self.column}, or load_corpus(columns=[{self.column!r}])"
            )
        if codes.is_floating_point():
            raise InputError(
                f"column {self.column!r} holds {codes.dtype}: expected codes, whole numbers from "
                f"-1 to {len(self.columns[self.column]) - 1}"
            )
        return pyro.sample("z", self.distribution(codes))


def _at(table: Tensor, codes: Tensor) -> Tensor:
    """Rows of a table; a row of zeros for code -1, the last."""
    return torch.cat([table, table.new_zeros(1, *table.shape[1:])])[codes]
