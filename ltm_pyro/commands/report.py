"""`ltm report`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

import ltm_pyro as ltm
from ltm_pyro.commands.text import say, show
from ltm_pyro.data.asked import FlatText, Text
from ltm_pyro.errors import InputError
from ltm_pyro.options import Count, Whole
from ltm_pyro.runs.trust import check_data


@dataclass(frozen=True)
class Report:
    """Write what a run is, or how two compare, as a page that stands alone.

    One HTML file: curves, figures with errors, diagnostics with verdicts, texts, a map of thoughts
    and how to repeat it; of two runs the paired differences of their figures.
    """

    run_folders: Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="RUN [RUN]")]]
    """Folder of a run, or of two, which then stand beside one another."""
    text: FlatText = field(default_factory=Text)
    out: Path | None = None
    """The file, ending in .html (default: report.html in the run's folder; of two runs
    report-ONE-OTHER.html here). Nothing but a report is replaced."""
    checkpoint: Literal["best", "last"] = "last"
    """The last weights, or those of the look with the lowest held-out bound."""
    split: Literal["train", "valid", "test", "all"] | None = None
    """Default: the test split, or, of text given with --data, all that was not trained on."""
    rows: Count = 256
    """Rows to score at the most, of whole documents chosen by lot."""
    inspected: Whole = 64
    """Rows of these that diagnostics look at, 0 for none; they take most of the time."""
    bounds: str | None = None
    """Figures, comma-separated, each `name` or `name:number` (elbo:64 takes 64 draws); default:
    elbo,prior, or elbo alone of a model with sites that all documents share."""
    fast_steps: Annotated[Whole | None, tyro.conf.arg(name="fast.steps")] = None
    """Fast steps for each document (default: as in training)."""
    texts: Whole = 3
    """Texts that the model writes, from the prior and from each prompt."""
    prompt: UseAppendAction[tuple[str, ...]] = ()
    """A text to go on from; may be given several times."""
    chunk: Count = 64
    """Rows handled at once; bounds the memory."""
    seed: Whole = 0
    """Every draw follows from it."""
    device: str = "cpu"
    """Where it is computed: cpu, cuda, cuda:1."""
    trust: bool = False
    """Import classes outside ltm_pyro that the run names, and read its text wherever it lies."""

    def run(self) -> None:
        """Measure, write the page and print where it stands."""
        if not 1 <= len(self.run_folders) <= 2:
            raise InputError(
                f"ltm report was given {len(self.run_folders)} folders: expected that of a run, or "
                "of two to compare"
            )
        runs = [ltm.load(p, self.checkpoint, self.trust, self.device) for p in self.run_folders]
        first = runs[0]
        data = self.text.over(first.config.data)
        check_data(first.path, data, first.record, self.trust, self.text.typed())
        corpus = ltm.load_data(first.config.replace(data=data), first.tokenizer)
        place = ltm.report(
            *runs,
            out=self.out,
            corpus=corpus,
            split=self.split or (None if self.text.data else "test"),
            checkpoint=self.checkpoint,
            note=say,
            bounds=self.bounds,
            rows=self.rows,
            inspected=self.inspected,
            fast_steps=self.fast_steps,
            texts=self.texts,
            prompts=self.prompt,
            chunk=self.chunk,
            seed=self.seed,
        )
        show(str(place))
