"""A map of thoughts: posterior means of held-out rows in the plane in which they vary most."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes

from ltm_pyro.bounds.weights import Array
from ltm_pyro.data import Rows, Tokenizer
from ltm_pyro.display.pictures import GREY, MOST, SERIES
from ltm_pyro.inference.posterior import AT_ONCE, Posterior
from ltm_pyro.reports.page import Legend, Section, Table, Text
from ltm_pyro.reports.pictures import SIGNS, picture, points
from ltm_pyro.seeds import derive

DRAWS = 64
"""Draws whose mean is taken for a posterior's."""
ENDS, LETTERS = 3, 160
"""Texts told at either end of an axis, and letters of each."""


@dataclass(frozen=True)
class Plane:
    """Principal components of some points.

    Attributes:
        places: shape (points, 2), in the units of the points.
        shares: of the variance that lies along each of the two axes.
    """

    places: Array
    shares: Array


def means(posterior: Posterior) -> Array:
    """Posterior means of the thoughts of each row, (rows, layers * slots * dim)."""
    seeds = [derive(posterior.seed, i) for i in range(DRAWS // AT_ONCE)]
    found = [posterior.sample(AT_ONCE, seed).mean(0) for seed in seeds]
    return np.asarray(torch.stack(found).mean(0).flatten(1).double().cpu().numpy())


def principal(values: Array) -> Plane:
    """The plane of two principal components of points, (points, dimensions).

    The greatest loading of each axis is positive, so that a map comes out the same way round.
    """
    centred = values - values.mean(0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    places, shares = np.zeros((len(values), 2)), np.zeros(2)
    total = float((sizes**2).sum())
    for i in range(min(2, len(sizes))):
        sign = np.sign(right[i, np.abs(right[i]).argmax()]) or 1.0
        places[:, i] = sign * left[:, i] * sizes[i]
        shares[i] = sizes[i] ** 2 / total if total else 0.0
    return Plane(places, shares)


def map_section(
    posterior: Posterior, tokenizer: Tokenizer, column: str | None, known: Sequence[str]
) -> Section:
    """The map as a part of a page, coloured by the values of a column, if there is one."""
    rows = posterior.rows
    if len(rows) < 3:
        return Section("A map of thoughts", [Text(f"{len(rows)} rows are too few for a map.")])
    plane = principal(means(posterior))
    names, groups = _groups(rows, column, known)
    marks = list(SERIES[: len(names)])
    signs = [(f"c{i}", SIGNS[i], name) for i, name in enumerate(names)]
    if names and names[-1].startswith("all else"):
        marks[-1], signs[-1] = (GREY, "."), ("grey", "·", names[-1])
    first, second = (f"{share:.0%}" for share in plane.shares)

    def draw(ax: Axes) -> None:
        points(ax, plane.places, groups, marks or SERIES[:1])
        ax.set_xlabel(f"first principal component ({first} of the variance)")
        ax.set_ylabel(f"second principal component ({second})")

    drawn = picture(
        "map",
        draw,
        f"{len(rows)} points in a plane that holds {plane.shares.sum():.0%} of the variance of "
        "posterior means; the texts at the ends of each axis stand in the table below",
        "Posterior means of thoughts in the plane of their two principal components (centred, not "
        "scaled).",
        size=(4.0, 3.7),
    )
    legend = [Text(f"Coloured by the column {column}:"), Legend(signs)] if names else []
    return Section(
        "A map of thoughts",
        [
            Text(
                f"A point is a row of text, which has one set of thoughts: {len(rows)} held-out "
                f"rows, each at the mean of {DRAWS} draws of its posterior. The plane leaves out "
                f"{1 - plane.shares.sum():.0%} of the variance, so points that lie together here "
                "may lie apart."
            ),
            drawn,
            *legend,
            _ends(plane, rows, tokenizer),
        ],
    )


def _groups(
    rows: Rows, column: str | None, known: Sequence[str]
) -> tuple[list[str], Sequence[int]]:
    """The names of groups, and the group of each row: the commonest values, and all else."""
    if column is None or column not in rows.columns:
        return [], [0] * len(rows)
    codes = rows.columns[column].tolist()
    common = [code for code, _ in Counter(c for c in codes if c >= 0).most_common(MOST - 1)]
    places = {code: i for i, code in enumerate(common)}
    groups = [places.get(code, len(common)) for code in codes]
    names = [f"{known[code]} ({groups.count(i)})" for code, i in places.items()]
    rest = groups.count(len(common))
    if rest:
        names.append(f"all else, or not known ({rest})")
    return names, groups


def _ends(plane: Plane, rows: Rows, tokenizer: Tokenizer) -> Table:
    """How the texts begin that lie at the ends of each axis."""
    cells = []
    for axis, name in enumerate(("first", "second")):
        order = plane.places[:, axis].argsort()
        for end, chosen in (("low", order[:ENDS]), ("high", order[: -ENDS - 1 : -1])):
            for i in chosen.tolist():
                ids = rows.tokens[i, : int(rows.lengths[i])].tolist()
                text = " ".join(tokenizer.decode(ids).split())
                short = text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
                cells.append([f"{name}, {end} end", f"{plane.places[i, axis]:+.2f}", short])
    return Table("What lies at the ends of the map's axes", ["axis", "place", "text begins"], cells)
