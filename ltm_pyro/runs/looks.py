"""Looks at held-out text while a model trains."""

import math
from typing import Any

from ltm_pyro.bounds import evaluate, taxes
from ltm_pyro.bounds.evaluation import usual
from ltm_pyro.data import Corpus, Rows
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.models import TextModel

BOUND = "held_out_elbo"
"""The held-out bound in a log's line, nats per token: what the best checkpoint is chosen by."""

CHUNK = 64
"""Rows of a look that are handled at once."""


def held_out(corpus: Corpus, most: int) -> Rows:
    """The first rows of the validation split, or of the test split where there is none."""
    return (corpus.valid if len(corpus.valid) else corpus.test)[:most]


def look(svi: DualRateSVI, rows: Rows, baseline: TextModel | None, seed: int) -> dict[str, float]:
    """Figures of held-out rows, for a log's line; {} if there are none.

    `held_out_` before `elbo` (the bound), `standard_error`, `kl` (its part in the bound), `prior`,
    `baseline`, `earned` and `tax` (the prior's figure less the bound, and the bound less the
    baseline, both paired by document) with their `_standard_error`, all in nats per token, and
    `bits_per_byte`. Every look has the same draws. Of a model that observes more than tokens `elbo`
    is of the tokens alone, and `elbo_per_document` of all that it observes together, nats per
    document. With sites that documents share there is no `prior`.
    """
    if not len(rows):
        return {}
    report = evaluate(
        svi.model,
        rows,
        [f"{name}:4" for name in usual(svi.model, rows)],
        guide=svi.guide,
        fast=svi.fast,
        baseline=baseline,
        seed=seed,
        chunk=min(CHUNK, -(-len(rows) // svi.world.size)),
        repeat=0,
        progress=False,
        world=svi.world,
    )
    elbo = report["elbo"]
    found = {f"held_out_{name}": one.nats_per_token for name, one in report.figures.items()}
    found["held_out_standard_error"] = elbo.standard_error
    if elbo.observed != ("tokens",):
        found["held_out_elbo_per_document"] = elbo.nats_per_document
    elif "prior" in report.figures:
        earned = report.difference("prior", "elbo")
        found["held_out_earned"], found["held_out_earned_standard_error"] = earned
    if baseline is not None:
        tax = taxes(report)["elbo"]
        found["held_out_tax"] = tax.nats_per_token
        found["held_out_tax_standard_error"] = tax.standard_error
    found["held_out_kl"] = float(elbo.parts["kl"].sum() / elbo.tokens.sum())
    found["held_out_bits_per_byte"] = elbo.bits_per_byte
    return {name: value for name, value in found.items() if not math.isnan(value)}


def in_words(line: dict[str, Any]) -> str:
    """A look at held-out text, in a line."""
    text = f"step {line['step']}: held-out bound {line[BOUND]:.3f}"
    if "held_out_standard_error" in line:
        text += f" ± {line['held_out_standard_error']:.3f}"
    text += f" (KL {line['held_out_kl']:.3f})"
    if "held_out_prior" in line:
        text += f", prior {line['held_out_prior']:.3f}"
    if "held_out_baseline" in line:
        text += f", without latents {line['held_out_baseline']:.3f}"
    if "held_out_tax_standard_error" in line:
        text += f", tax {line['held_out_tax']:+.3f} ± {line['held_out_tax_standard_error']:.3f}"
    text += " nats/token"
    if "held_out_elbo_per_document" in line:
        text += f"; all sites {line['held_out_elbo_per_document']:.2f} nats/document"
    return text
