"""What thoughts cost: many recipes, several seeds, each beside its control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ltm_pyro import files
from ltm_pyro.experiments.grids.tax import Cell
from ltm_pyro.experiments.grids.tax_plot import draw, panels
from ltm_pyro.experiments.grids.tax_tables import controls, costs, in_words, summary, traced
from ltm_pyro.experiments.studies.base import Found, Note, Picture, Results
from ltm_pyro.experiments.studies.of_grid import OfGrid
from ltm_pyro.experiments.studies.running import RESULTS

TABLE = "tax.json"


@dataclass(frozen=True, kw_only=True)
class Tax(OfGrid):
    """Train many models beside their controls, and tell what thoughts cost.

    Errors over documents and over seeds are kept apart: the first say what other text would change,
    the second what another start would. `tax.json` holds the table, as `results.json` does.
    """

    def run(self, note: Note = print) -> Results:
        """Train and score the cells that are not finished, and write the report."""
        results = super().run(note)
        self._keep()
        return results

    def compute(self, cell: Cell) -> Found:
        """Train and score a cell; the table of those before it is kept first."""
        self._keep()
        return super().compute(cell)

    def _keep(self) -> None:
        if (self.out / RESULTS).exists():
            files.write(self.out / TABLE, (self.out / RESULTS).read_bytes())

    def told(self, cells: Sequence[Mapping[str, Any]]) -> Results:
        """Four tables, and the tax at each look of training."""
        table = summary(cells)
        picture = Picture(
            "The tax of the ELBO at each look of training",
            lambda figure: draw(cells, figure), (7.5, 4.2 * len(panels(cells))),
        )  # fmt: skip
        texts = [in_words(table), traced(table), controls(cells), costs(cells)]
        return Results(table, texts, {"tax": picture})
