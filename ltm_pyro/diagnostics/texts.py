"""Whether texts that a model writes at its posterior's thoughts are like those it has read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ltm_pyro.bounds.weights import Array
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.display.pictures import BLUE, RED, axis_or_new, dress, write_on
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.options import checked, shown

if TYPE_CHECKING:
    from xarray import DataTree

Ids = NDArray[np.int64]
NEAR = 8
"""How many tokens before a token it may repeat."""


def distinct(ids: Ids) -> float:
    """Kinds of tokens over tokens (type-token ratio)."""
    return len(np.unique(ids)) / len(ids)


def repeated(ids: Ids) -> float:
    """The share of tokens that stand among the eight before them, too."""
    again = np.zeros(len(ids), bool)
    for n in range(1, min(NEAR, len(ids) - 1) + 1):
        again[n:] |= ids[n:] == ids[:-n]
    return float(again.mean())


def old_pairs(ids: Ids) -> float:
    """The share of neighbouring pairs that the text has had before; nan for a single token."""
    pairs = list(zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True))
    return 1 - len(set(pairs)) / len(pairs) if pairs else math.nan


STATISTICS: dict[str, Callable[[Ids], float]] = {
    "distinct": distinct, "repeated": repeated, "old_pairs": old_pairs
}  # fmt: skip
"""Of the ids of one text."""


@dataclass(frozen=True)
class TextChecks:
    """Statistics of observed and of written texts; printing it shows the table.

    Attributes:
        observed: of each document, (documents,), by statistic.
        written: of each draw and document, (draws, documents), by statistic.
    """

    observed: Mapping[str, Array]
    written: Mapping[str, Array]

    def means(self, statistic: str) -> tuple[float, Array, int]:
        """Means over documents, observed and of each draw, (draws,), and of how many documents.

        Those where the statistic is nan, observed or in a draw, are left out.
        """
        observed, written = self.observed[statistic], self.written[statistic]
        known = ~(np.isnan(observed) | np.isnan(written).any(0))
        if not known.any():
            return math.nan, np.full(len(written), math.nan), 0
        return float(observed[known].mean()), written[:, known].mean(1), int(known.sum())

    def to_frame(self) -> pd.DataFrame:
        """A row for each statistic.

        Columns: `observed` and `written`, means over documents (and draws); `spread`, the standard
        deviation over draws of the mean over documents; `above`, the share of draws whose mean is
        at least the observed one, that one counted among them (near 0 the texts have more of it
        than the model writes, near 1 less); and how many `documents` have the statistic.
        """
        rows = {}
        for name in self.observed:
            observed, draws, documents = self.means(name)
            above = (1 + int((draws >= observed - 1e-12).sum())) / (1 + len(draws))
            rows[name] = {
                "observed": observed,
                "written": draws.mean(),
                "spread": draws.std(ddof=1) if len(draws) > 1 else math.nan,
                "above": above if documents else math.nan,
                "documents": documents,
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    def __str__(self) -> str:
        draws = len(next(iter(self.written.values())))
        return (
            f"{self.to_frame().to_string(float_format='{:.4f}'.format)}\n"
            f"{draws} draws; above: the share of draws with at least as much"
        )

    __repr__ = __str__


@checked
def text_checks(
    tree: "DataTree",
    statistics: Mapping[str, Callable[[Any], float]] | None = None,
    *,
    tokenizer: Tokenizer | None = None,
) -> TextChecks:
    """Posterior predictive checks of texts (Gelman, Meng & Stern 1996), in place of token ids.

    A written text has the length of the one it stands for, so length is not checked. Thoughts were
    fitted to the very texts they are held against, which makes checks mild (Bayarri & Berger 2000):
    one that fails tells of a misfit, one that passes tells little.

    Args:
        tree: of `ltm_pyro.to_datatree`, with its posterior predictive texts.
        statistics: a number of one text each, by name: of its ids, shape (tokens,), or of its text
            if a `tokenizer` is given. Beside them stand `distinct`, `repeated` and `old_pairs` of
            the ids. A nan leaves the document out.
        tokenizer: the corpus's.

    Raises:
        InputError: for a tree without such texts, or a statistic that is no number.
    """
    for group in ("observed_data", "posterior_predictive"):
        if group not in getattr(tree, "children", ()) or "tokens" not in tree[group]:
            raise InputError(
                f"the tree has no {group} of tokens: make it with ltm.to_datatree(posterior), "
                "which writes texts unless posterior_predictive=False"
            )
    asked = dict(statistics or {})
    for name in asked:
        if name in STATISTICS:
            raise InputError(f"statistic {name!r} is one of the library's own: give another name")
    seen = np.asarray(tree["observed_data"]["tokens"].values)
    new = np.asarray(tree["posterior_predictive"]["tokens"].values)
    new = new.reshape(-1, *new.shape[2:])  # chains and draws

    names = [*STATISTICS, *asked]

    def of(ids: Ids) -> list[float]:
        ids = ids[ids >= 0]  # without padding
        text = ids if tokenizer is None or not asked else tokenizer.decode(ids.tolist())
        own = [one(ids) if len(ids) else math.nan for one in STATISTICS.values()]
        return own + [_number(name, statistic(text)) for name, statistic in asked.items()]

    observed = np.array([of(ids) for ids in seen])
    written = np.array([[of(ids) for ids in draw] for draw in new])
    return TextChecks(
        {name: observed[:, i] for i, name in enumerate(names)},
        {name: written[:, :, i] for i, name in enumerate(names)},
    )


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise InputError(
            f"statistic {name!r} gives {shown(value)} of a text: expected a number"
        ) from None


def plot_text_checks(
    checks: TextChecks, statistic: str = "distinct", ax: Axes | None = None
) -> Axes:
    """The means over documents of all draws, and where the observed one lies."""
    if statistic not in checks.observed:
        raise unknown("statistic", statistic, checks.observed)
    observed, draws, documents = checks.means(statistic)
    if not documents:
        raise InputError(f"statistic {statistic!r} is nan for every document: nothing to draw")
    ax = axis_or_new(ax)
    ax.hist(draws, bins="auto", color=BLUE, alpha=0.45)
    ax.axvline(observed, color=RED, linewidth=1.6)
    top = ax.get_ylim()[1]
    ax.set_ylim(0, 1.12 * top)
    write_on(ax, "observed", observed, 1.03 * top, RED)
    above = float(checks.to_frame()["above"].to_dict()[statistic])
    return dress(
        ax, f"Written texts beside those read: {statistic}",
        f"{statistic}, mean over {documents} documents", "draws (each a text for every document)",
        f"blue: {len(draws)} draws of written texts; {above:.0%} have at least the observed",
    )  # fmt: skip
