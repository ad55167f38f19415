"""Tables and a picture of how a run writes, from what `studies.quality` measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ltm_pyro.bounds.figures import interval
from ltm_pyro.bounds.weights import Array
from ltm_pyro.display.pictures import BLACK, ERRORS, MEANING, RED, SKY, TOLD
from ltm_pyro.experiments.studies.base import Found, Picture, Results, markdown, with_error

HELD_OUT, CONDITIONAL, PROGRESSIVE = "held-out", "conditional", "progressive"
WAYS = {
    HELD_OUT: (BLACK, "X"),
    "unconditional": MEANING["prior"],
    CONDITIONAL: MEANING["elbo"],
    PROGRESSIVE: (SKY, "P"),
    "rethinking": (RED, "s"),
    "control": MEANING["baseline"],
}
"""How texts are written, and how each is drawn."""
MEASURES = {
    "tokens": "tokens of a text",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "distinct_3": "distinct-3",
    "entropy": "entropy of tokens, nats",
    "self_bleu": "self-BLEU",
    "repeated": "repeated 4-grams",
    "new": "4-grams not in training rows",
    "longest": "longest span in a training row, tokens",
    "control": "under the control, nats/token",
    "scorer": "under the scorer, nats/token",
}
SPEED = "tokens_per_second"
DRAWN = ("distinct_2", "entropy", "self_bleu", "repeated", "new", "longest", "control", "scorer")


@dataclass(frozen=True)
class Mean:
    """A mean with its error, over texts or over sets of texts."""

    value: float
    error: float
    units: int

    @staticmethod
    def of(values: Array) -> "Mean":
        """Of those values that are there."""
        known = values[np.isfinite(values)]
        if not len(known):
            return Mean(math.nan, math.nan, 0)
        error = known.std(ddof=1) / math.sqrt(len(known)) if len(known) > 1 else math.nan
        return Mean(float(known.mean()), float(error), len(known))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"value": self.value, "standard_error": self.error, "units": self.units}

    def __str__(self) -> str:
        return with_error(self.value, self.error)


def values(one: Found, measure: str) -> Array | None:
    """A measure of each text, or of each set; nan where there is none."""
    found = one["of_text"].get(measure, one["of_set"].get(measure))
    return None if found is None else np.array(found, float)


def less(one: Found, other: Found, measure: str) -> Mean | None:
    """The mean difference of two ways of writing, paired by prompt, or by set of prompts."""
    ours, theirs = values(one, measure), values(other, measure)
    return None if ours is None or theirs is None else Mean.of(ours - theirs)


def beyond(one: Found, other: Found, aim: Found, measure: str) -> Mean | None:
    """How far the middle of two ways lies above a third, paired by prompt, or by set of prompts."""
    three = [values(way, measure) for way in (one, other, aim)]
    ours, theirs, its = three
    if ours is None or theirs is None or its is None:
        return None
    return Mean.of((ours + theirs) / 2 - its)


def verdict(change: Mean, middle: Mean, among: int) -> str:
    """Whether a measure has changed for sure, and come nearer to its aim for sure.

    What has grown is nearer to an aim above the middle of before and after, so that an interval of
    that middle less the aim must leave zero out as well. Where both do, a wrong word is no more
    frequent than either interval's error: with no change, or no difference from the middle, one of
    them fails; otherwise one has to miss by its other end, each half as often.

    Args:
        change: of the measure.
        middle: of before and after, less the aim, whose own error is in it.
        among: how many measures are told of together.
    """
    sides = [
        (low > 0) - (high < 0)
        for one in (change, middle)
        for low, high in [interval(one.value, one.error, one.units - 1, among)]
    ]
    if not sides[0]:
        return "no change shown"
    return {-1: "nearer", 0: "changed", 1: "further"}[sides[0] * sides[1]]


def tell(found: Mapping[str, Found], options: Any) -> Results:
    """What the parts of a study tell; `options` is the study."""
    ways = [name for name in WAYS if name in found]
    known = [m for m in MEASURES if any(values(found[name], m) is not None for name in ways)]
    means = {
        name: {m: Mean.of(v) for m in [*known, SPEED] if (v := values(found[name], m)) is not None}
        for name in ways
    }
    summary: Found = {
        "ways": {n: {m: mean.to_dict() for m, mean in of.items()} for n, of in means.items()}
    }
    texts = [_about(found, options), *_table(ways, known, means), _ways(ways, found)]
    if {HELD_OUT, CONDITIONAL, PROGRESSIVE} <= found.keys():
        answer, table, changes = _progressive(found, means, known, options)
        summary |= {"progressive": changes, "answer": answer}
        texts = [answer, table, *texts]
    texts += _others(found, known)
    texts.append(_example(ways, found))
    drawn = [m for m in DRAWN if m in known]
    picture = Picture(
        f"Dashed: held-out text. Bars: {TOLD}, over texts or sets of {options.set_size} texts.",
        lambda figure: _draw(figure, ways, means, drawn),
        (2.6 * -(-len(drawn) // 2) + 1.0, 4.6),
    )
    return Results(summary, texts, {"quality": picture})


def _about(found: Mapping[str, Found], options: Any) -> str:
    """How to read the table."""
    number = max(len(one["texts"]) for one in found.values())
    told = (
        f"{number} texts of each way, of at most {options.tokens} tokens behind prompts of "
        f"{options.prompt_tokens} (without a prompt, from the beginning). Errors are over texts; "
        f"distinct-n, entropy and self-BLEU are of {number // options.set_size} sets of "
        f"{options.set_size} texts, and their errors over sets. No measure is quality by itself: "
        "what repeats itself or is copied has a low perplexity too. Compare with held-out text. "
        "Tokens a second are of this machine."
    )
    if options.split is not None:
        told += f" Prompts and the text that is called held-out are of split {options.split}"
        told += ", trained on or not." if options.split in ("train", "all") else "."
    if not any("self_bleu" in one["of_set"] for one in found.values()):
        told += " Self-BLEU needs sacrebleu: pip install 'ltm-pyro[quality]'."
    return told


def _table(ways: list[str], known: list[str], means: Mapping[str, Mapping[str, Mean]]) -> list[str]:
    """All measures of all ways."""
    rows: list[list[str | None]] = [
        [MEASURES[m], *(str(means[name][m]) if m in means[name] else None for name in ways)]
        for m in known
    ]
    for m in ("control", "scorer"):
        if m in known:
            rows.append(
                [f"perplexity under the {m}", *(_perplexity(means[n].get(m)) for n in ways)]
            )
    speeds = [means[name].get(SPEED) for name in ways]
    told = ["" if s is None else with_error(s.value, s.error, digits=1) for s in speeds]
    rows.append(["tokens a second", *told])
    return [markdown(["mean ± s.e.", *ways], rows)]


def _perplexity(nats: Mean | None) -> str | None:
    """exp of a mean over texts, its error by the delta method."""
    if nats is None:
        return None
    value = math.exp(nats.value)
    return with_error(value, value * nats.error, digits=2)


def _progressive(
    found: Mapping[str, Found],
    means: Mapping[str, Mapping[str, Mean]],
    known: list[str],
    options: Any,
) -> tuple[str, str, Found]:
    """Whether progressive fitting helps: in words, a table, and as JSON."""
    one, other = found[PROGRESSIVE], found[CONDITIONAL]
    rows, changes = [], {}
    said: dict[str, list[str]] = {"nearer": [], "further": [], "changed": []}
    for m in known:
        change, middle = less(one, other, m), beyond(one, other, found[HELD_OUT], m)
        if change is None or middle is None:
            continue
        before, after, aim = (means[n][m] for n in (CONDITIONAL, PROGRESSIVE, HELD_OUT))
        told = verdict(change, middle, len(known))
        if told in said:
            said[told].append(MEASURES[m])
        changes[m] = {**change.to_dict(), "verdict": told}
        rows.append(
            [MEASURES[m], with_error(aim.value, None), with_error(before.value, None),
             with_error(after.value, None), with_error(change.value, change.error, "+"), told]
        )  # fmt: skip
    table = markdown(
        ["measure", HELD_OUT, CONDITIONAL, PROGRESSIVE, "difference ± s.e.", "to held-out"], rows
    )
    in_words = {
        "nearer": "nearer to held-out text in", "further": "further from held-out text in",
        "changed": "changed, whether nearer to held-out text or further is not shown, in",
    }  # fmt: skip
    shown = [f"{in_words[told]} {', '.join(of)}" for told, of in said.items() if of]
    answer = (
        f"**Does progressive fitting help?** Thoughts fitted anew every {options.progressive} "
        f"tokens, less thoughts fitted to the prompt once, paired by prompt, {len(rows)} measures, "
        "95 % for all of them together (Student's t, Bonferroni): "
    )
    answer += (
        "; ".join(shown) + "."
        if shown
        else "none has changed by more than chance allows, so no help is shown; the errors say "
        "how large a change may have been missed."
    )
    answer += (
        " Were q the posterior itself and the temperature 1, both would be distributed alike: what "
        "differs is what q lacks."
    )
    return answer, table, changes


def _others(found: Mapping[str, Found], known: list[str]) -> list[str]:
    """Paired differences of other ways."""
    pairs = [("rethinking", CONDITIONAL), (CONDITIONAL, "control"), (CONDITIONAL, HELD_OUT)]
    pairs = [pair for pair in pairs if set(pair) <= found.keys()]
    rows = []
    for m in known:
        changes = [less(found[one], found[other], m) for one, other in pairs]
        rows.append([MEASURES[m], *(c and with_error(c.value, c.error, "+") for c in changes)])
    if not pairs:
        return []
    head = ["difference ± s.e., paired", *(f"{one} less {other}" for one, other in pairs)]
    return [
        "Rethinking is a search: its texts were selected by the model's own score, so that the "
        "model and what was trained like it find them probable. None of its figures is a "
        "likelihood, or one of draws of the model.",
        markdown(head, rows),
    ]


def _ways(ways: list[str], found: Mapping[str, Found]) -> str:
    """How each text was written."""
    return "\n".join(f"- {name}: {found[name]['protocol']}" for name in ways)


def _example(ways: list[str], found: Mapping[str, Found]) -> str:
    """What follows the first prompt, in every way."""
    prompt = next((one["prompt"] for n in ways for one in found[n]["texts"] if one["prompt"]), "")
    lines = [f"prompt: {prompt!r}"]
    lines += [f"{name}: {found[name]['texts'][0]['text']!r}" for name in ways]
    return "The first prompt, and the first text of each way:\n\n```\n" + "\n".join(lines) + "\n```"


def _draw(
    figure: Figure, ways: list[str], means: Mapping[str, Mapping[str, Mean]], drawn: list[str]
) -> None:
    across = -(-len(drawn) // 2)
    axes = figure.subplots(2, across, sharey=True, squeeze=False).ravel()
    for ax, m in zip(axes, drawn, strict=False):
        for place, name in enumerate(ways):
            mean, (color, marker) = means[name].get(m), WAYS[name]
            if mean is None or not math.isfinite(mean.value):
                continue
            reach = ERRORS * mean.error if math.isfinite(mean.error) else 0.0
            ax.errorbar([mean.value], [place], xerr=[reach], color=color, marker=marker,
                        markersize=5, capsize=2, linestyle="")  # fmt: skip
            if name == HELD_OUT:
                ax.axvline(mean.value, color="0.45", linewidth=0.8, linestyle="--", zorder=1)
        ax.set_title(MEASURES[m].replace(", ", ",\n"), loc="left", fontsize=8.5)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        ax.set_yticks(range(len(ways)), ways)
        ax.locator_params(axis="x", nbins=4)
    for ax in axes[len(drawn) :]:
        ax.set_visible(False)
    axes[0].invert_yaxis()
