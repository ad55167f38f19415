"""How well a run predicts text of other kinds than it was trained on."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tyro.conf import UseAppendAction

from ltm_pyro.bounds import evaluate, taxes
from ltm_pyro.bounds.fingerprint import fingerprint
from ltm_pyro.config import Data
from ltm_pyro.data.store import StoredRows
from ltm_pyro.display.pictures import MEANING, SERIES, TOLD, dress
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.studies.base import (
    Found,
    Part,
    Picture,
    Results,
    Trial,
    markdown,
    with_error,
)
from ltm_pyro.experiments.studies.of_run import OfRun
from ltm_pyro.experiments.studies.rows import documents_by_lot, words_of
from ltm_pyro.options import Count
from ltm_pyro.runs.scored import to_score
from ltm_pyro.runs.training import load_data

USUAL = {
    "ptb": Data("ptb-text-only/ptb_text_only", fields=("sentence",)),
    "wikitext": Data("Salesforce/wikitext", subset="wikitext-103-raw-v1", fields=("text",)),
    "lm1b": Data("billion-word-benchmark/lm1b", fields=("text",)),
    "lambada": Data("EleutherAI/lambada_openai", subset="en", fields=("text",)),
    "ag-news": Data("fancyzhx/ag_news", fields=("text",)),
    "pubmed": Data("armanc/scientific_papers", subset="pubmed", fields=("article",)),
    "arxiv": Data("armanc/scientific_papers", subset="arxiv", fields=("article",)),
}
"""The seven corpora of the literature (e.g. Sahoo et al. 2024, table 3) on the Hugging Face hub."""
SAID = {
    "upper": "upper (from below)",
    "baseline": "control, exact",
    "same_noise": "the released protocol: NOT A BOUND",
}
"""What figures are called that are no bounds from above."""


@dataclass(frozen=True, kw_only=True)
class ZeroShot(OfRun):
    """Score text of other kinds than a run was trained on: one table of valid bounds.

    Documents that the run was trained on are left out; one that is longer than a row of the decoder
    is cut into rows, each with thoughts of its own. Raises InputError for a corpus without text.
    """

    usual: UseAppendAction[tuple[str, ...]] = ()
    """One of ptb, wikitext, lm1b, lambada, ag-news, pubmed, arxiv, from the Hugging Face hub; may
    be given several times."""
    split: str | None = None
    """Default: all that was not trained on; of --usual the test split."""
    documents: Count = 256
    """Documents of each corpus, chosen by lot."""
    bounds: str = "elbo:8,iwae:32,predictive:64,same_noise"
    """Figures, comma-separated, as in ltm evaluate; upper is there too."""
    chunk: Count = 64
    """Rows handled at once; bounds the memory."""

    ADDS = frozenset({"text", "usual"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.usual:
            if name not in USUAL:
                raise InputError(f"--usual {name}: expected one of {', '.join(USUAL)}")
        if not (self.usual or self.text.data):
            raise InputError("no text to score: give --data FILE, or --usual lambada and the like")

    def sources(self) -> dict[str, tuple[Data, str]]:
        """Each corpus by the name of its part, with the split that is scored if none is named."""
        found = {}
        for source in self.text.data:
            own = replace(self.text, data=(source,)).over(self.loaded.config.data)
            own = replace(own, source=source, fields=self.text.field, columns=own.columns)
            found[_part_name(source)] = (own, "all")
        for name in self.usual:
            limited = replace(USUAL[name], limit=self.text.limit, streaming=self.text.streaming)
            found[name] = (limited, "test")
        return found

    @cached_property
    def corpora(self) -> dict[str, tuple[str, StoredRows, int]]:
        """What each corpus is called, its rows, and documents left out as trained on."""
        run, found = self.loaded, {}
        for name, (data, default) in self.sources().items():
            corpus = load_data(run.config.replace(data=data), run.tokenizer)
            scored = to_score(corpus, [run], self.split, default)
            rows = documents_by_lot(scored.rows, self.documents, self.seed)
            if not len(rows):
                raise InputError(f"{corpus.name} has no document to score in split {scored.split}")
            found[name] = (corpus.name, rows, scored.left_out)
        return found

    def parts(self) -> Sequence[Part]:
        """A corpus each; work is counted in rows."""
        return [
            Part(name, partial(self.score, name), len(rows), fingerprint(rows[:]))
            for name, (_, rows, _) in self.corpora.items()
        ]

    def trial(self) -> Trial:
        """Two rows of the first corpus."""
        rows = next(iter(self.corpora.values()))[1]
        few = rows.chosen(slice(0, 2))
        return Trial(lambda: self.figures(few), len(few))

    def figures(self, rows: StoredRows) -> Any:
        """The figures of some rows."""
        run = self.loaded
        return evaluate(
            run.model, rows, self.bounds.split(","), guide=run.guide, fast=self.fast,
            baseline=run.baseline, seed=self.seed, chunk=self.chunk, progress=False,
        )  # fmt: skip

    def score(self, name: str) -> Found:
        """What a part finds."""
        source, rows, left_out = self.corpora[name]
        report = self.figures(rows)
        words = words_of(rows, self.loaded.tokenizer)
        prices = {} if self.loaded.baseline is None else taxes(report)
        price = {one: tax.to_dict() for one, tax in prices.items()}
        return {
            "source": source, "documents": len(rows.document.unique()), "rows": len(rows),
            "left_out_as_trained_on": left_out, "words": words, "figures": report.to_dict(),
            "less_control": price, "own": self.loaded.record["data"]["source"],
        }  # fmt: skip

    def results(self, found: Mapping[str, Found]) -> Results:
        """Tables for all corpora, and a picture of bounds less the control."""
        found = _labelled(found)
        names = list(dict.fromkeys(name for one in found.values() for name in one["figures"]))
        names.sort(key=lambda name: name.partition(":")[0] == "same_noise")  # what is none, last
        bounds = [name for name in names if name.partition(":")[0] != "same_noise"]
        table = markdown(
            ("corpus", *(SAID.get(name.partition(":")[0], name) for name in names)),
            [(corpus, *(_nats(one["figures"].get(name)) for name in names))
             for corpus, one in found.items()],
        )  # fmt: skip
        others = markdown(
            ("corpus", "figure", "nats/word", "bits/byte", "nats/token less control"),
            [(corpus, name, _per_word(one, name), one["figures"][name]["bits_per_byte"],
              _nats(one["less_control"].get(name), "+"))
             for corpus, one in found.items() for name in bounds if name in one["figures"]],
        )  # fmt: skip
        sizes = markdown(
            ("corpus", "text", "documents", "rows", "tokens", "words", "left out as trained on"),
            [
                (name, one["source"], one["documents"], one["rows"],
                 next(iter(one["figures"].values()))["tokens"], one["words"],
                 one["left_out_as_trained_on"])
                for name, one in found.items()
            ],
        )  # fmt: skip
        protocols = dict.fromkeys(
            f"- {name}: {figure['protocol']}"
            for one in found.values() for name, figure in one["figures"].items()
        )  # fmt: skip
        texts = [
            "-log p of text that the run was not trained on, or what bounds it from above, nats "
            "per token. Lower is better. Errors are over documents.",
            table,
            "What is less the control is paired by document: below zero, thoughts earn. A word is "
            "what stands between spaces. Bits per byte may be compared between tokenizers, nats "
            "per token may not.",
            others,
            sizes,
            "How each figure was made:",
            "\n".join(protocols),
        ]
        pictures = {}
        if any(one["less_control"] for one in found.values()):
            pictures["less-control"] = Picture(
                f"Bounds less the control's exact score, paired by document; left of the "
                f"line thoughts earn. Bars: {TOLD}",
                lambda figure: _draw(figure, found),
                (6.4, 1.6 + 0.5 * len(found)),
            )
        return Results({"corpora": found}, texts, pictures)


def _draw(figure: Figure, found: Mapping[str, Found]) -> None:
    ax = figure.subplots()
    names = list(dict.fromkeys(name for one in found.values() for name in one["less_control"]))
    for i, name in enumerate(names):
        color, marker = MEANING.get(name, SERIES[6 - i % 3])
        known = [(j, one["less_control"][name]) for j, one in enumerate(found.values())
                 if name in one["less_control"]]  # fmt: skip
        ax.errorbar(
            [one["nats_per_token"] for _, one in known],
            [j + 0.14 * (i - (len(names) - 1) / 2) for j, _ in known],
            xerr=[2 * (one["standard_error"] or 0) for _, one in known],
            color=color, marker=marker, linestyle="", markersize=5, capsize=2, label=name,
        )  # fmt: skip
    ax.axvline(0, color="0.45", linewidth=0.8)
    ax.set_yticks(range(len(found)), list(found))
    ax.invert_yaxis()
    dress(ax, "Text of other kinds", "nats/token: bound less control", "")
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _nats(found: Mapping[str, Any] | None, sign: str = "") -> str:
    """Nats per token with their error; nothing where there are none."""
    if found is None:
        return ""
    return with_error(found["nats_per_token"], found["standard_error"], sign)


def _per_word(one: Found, name: str) -> float | None:
    """Nats per word of a figure; None where there is no word, or the figure is not of tokens."""
    figure = one["figures"][name]
    if figure["nats_per_token"] is None or not one["words"]:
        return None
    return float(figure["nats_per_token"] * figure["tokens"] / one["words"])


def _labelled(found: Mapping[str, Found]) -> dict[str, Found]:
    """What corpora found by short names; by those of their parts where short ones are alike."""
    short = {name: Path(one["source"]).name or name for name, one in found.items()}
    alike = len(set(short.values())) < len(short)
    return {name if alike else short[name]: one for name, one in found.items()}


def _part_name(source: str) -> str:
    """A name that a file can have; of two sources of one name, each has its own."""
    short = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(source).name or source).strip("-") or "text"
    return f"{short}-{hashlib.sha256(source.encode()).hexdigest()[:6]}"
