"""What `ltm study probing` tells of its parts: tables, protocols and pictures."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ltm_pyro.errors import printable
from ltm_pyro.experiments.probing import pictures as drawn
from ltm_pyro.experiments.studies.base import (
    Found,
    Picture,
    Results,
    markdown,
    with_error,
)

Told = tuple[list[str], dict[str, Picture]]


def results(found: Mapping[str, Found]) -> Results:
    """All that is told of the parts that are there."""
    texts: list[str] = []
    pictures: dict[str, Picture] = {}
    columns = {name: one for name, one in found.items() if name.startswith("probe-")}
    sections = {"reconstruction": _reconstruction, "neighbours": _neighbours,
                "interpolation": _interpolation, "attribution": _attribution}  # fmt: skip
    for name, tell in sections.items():
        if name in found:
            more, drawings = tell(found[name])
            texts += more
            pictures |= drawings
    if columns:
        more, drawings = _columns(columns)
        texts += more
        pictures |= drawings
    for name, one in found.items():
        if name.startswith("arithmetic-"):
            texts += _arithmetic(one)
    if "map" in found:
        first = next(iter(columns.values()), None)
        pictures["map"] = Picture(
            "A map of thoughts: posterior means of documents in the plane in which they vary most; "
            f"it holds {sum(found['map']['shares']):.0%} of their variance",
            partial(drawn.plane, found=found["map"], column=first),
            (6.4, 4.4),
        )
    return Results(dict(found), texts, pictures)


def _reconstruction(one: Found) -> Told:
    levels, bound = one["levels"], one["bound"]
    ablation = bound.get("ablation") or [[None, None]] * len(levels)
    rows = [
        (_kept(i), _pair(ablation[i], "+", 2), _pair(level["accuracy"]),
         _pair(level["over_none"], "+"), _pair(level["overlap"]),
         _pair(level["over_another"], "+"))
        for i, level in enumerate(levels)
    ]  # fmt: skip
    table = markdown(
        ("layers with inferred thoughts", "bound gained, nats/document", "next token right",
         "over prior thoughts", "words of the text", "over another's text"),
        rows,
    )  # fmt: skip
    seen = "none trained on" if one["held_out"] else "whether trained on or not"
    control = one["control"]
    beside = "" if control is None else (
        f" The control without latents has {_pair(control['accuracy'])} of the next tokens right; "
        f"with all thoughts {_pair(control['less'], '+')} more, paired."
    )  # fmt: skip
    told = [
        "## Reconstruction",
        f"{one['documents']} documents of {one['source']}, split {one['split']}, {one['tokens']} "
        f"tokens, {seen}; thoughts fitted in {one['steps']} fast steps, averages over "
        f"{one['draws']} draws of them. Thoughts of the first layers are "
        "inferred from the text, those above drawn from the prior. `next token right`: the "
        "likeliest token given thoughts and the text before it. `words of the text`: the text is "
        f"decoded from thoughts alone, {one['first']} tokens at the most, each the likeliest; F1 "
        "of the tokens that it shares with the beginning of the document, and the same less that "
        "with another document. Thoughts have read the very text that is scored: of all these "
        f"only the bound is one.{beside}",
        table,
        bound.get("verdict", f"No bound by layer: {bound.get('missing')}."),
    ]
    shown = [
        (_plain(read), *(_plain(level[i]) for level in one["texts"]))
        for i, read in enumerate(one["shown"])
    ]
    told.append(markdown(("text", *(f"decoded: {_kept(i)}" for i in range(len(levels)))), shown))
    picture = Picture(
        "What thoughts of each layer add over prior thoughts",
        partial(drawn.reconstruction, one=one),
        (7.6, 3.4),
    )
    return told, {"reconstruction": picture}


def _neighbours(one: Found) -> Told:
    told = [
        "## Neighbours",
        "Nearest by Euclidean distance between posterior means. Words that two documents share: "
        "the inner product of square roots of shares of tokens, 1 for the same words. By lot: "
        "documents dealt to places at random, which gives the p-value.",
        markdown(
            ("what neighbours share", f"{one['number']} nearest", "by lot", "p"),
            [_by_lot_row("words", one["words"])],
        ),
        markdown(("text", "nearest", "second"), [[_plain(x) for x in row] for row in one["shown"]]),
    ]
    return told, {}


def _interpolation(one: Found) -> Told:
    places = one["places"]
    rows = [
        (f"{place['share']:.2f}", *(_pair(x) for x in place["text"]),
         _pair(place["text_first_less_last"], "+"),
         *(_pair(x, "+") for x in place["documents"]))
        for place in places
    ]  # fmt: skip
    told = [
        "## Interpolation",
        f"{one['pairs']} pairs of documents by lot; thoughts on the straight line from the first's "
        f"posterior mean to the second's. From each place a text is decoded, {one['first']} tokens "
        "at the most, each the likeliest, and scored under the thoughts of both ends: log p, nats "
        "per token, no bound on anything. The last columns: log p of the two documents under the "
        "thoughts of the place, less that under their own means; 0 at the ends by definition. "
        "Errors are over pairs.",
        markdown(
            ("place", "text under first", "text under second", "first less second",
             "first document", "second document"),
            rows,
        ),
    ]  # fmt: skip
    for first, second, *between in zip(*one["ends"], *one["texts"], strict=True):
        shown = [
            (f"{place['share']:.2f}", _plain(text))
            for place, text in zip(places, between, strict=True)
        ]
        ends = [("first document", _plain(first)), *shown, ("second document", _plain(second))]
        told.append(markdown(("place", "text"), ends))
    picture = Picture(
        "Left: texts decoded on the line between two documents' thoughts, scored under both ends. "
        "Right: the documents themselves under the thoughts of each place",
        partial(drawn.interpolation, places=places),
        (7.6, 3.4),
    )
    return told, {"interpolation": picture}


def _attribution(one: Found) -> Told:
    told = [
        "## Attribution",
        f"log p of tokens under posterior thoughts less that with a slot drawn from the prior "
        f"instead, means over {one['draws']} draws: nats per token over all documents, ± standard "
        "error over documents. `all`: every slot at once. Positive where the slot helps.",
        markdown(
            ("layer.slot", "nats/token"),
            [(name, _pair(slot, "+")) for name, slot in one["slots"].items()],
        ),
    ]
    pictures = {
        f"attribution-{i}": Picture(
            "What each token loses when a slot (layer.slot) is drawn from the prior; a dot where "
            f"it is within 2 standard errors of nothing, over {one['map_draws']} draws",
            partial(drawn.attribution, one=document, names=list(one["slots"])[:-1]),
            (9.0, 1.7 + 0.17 * len(document["gain"])),
        )
        for i, document in enumerate(one["maps"])
    }
    return told, pictures


def _columns(columns: Mapping[str, Found]) -> Told:
    told = [
        "## Columns",
        "Ridge regression from posterior means to the column (one indicator for each value, the "
        "greatest is the answer), its penalty chosen within the documents it is fitted to; each "
        "document is scored by a probe fitted to the other folds. The model does not see the "
        "column. `bag of words`: the same probe from the row's tokens, counted. `score`: accuracy, "
        "beside always answering the commonest value of all these documents; of a number R^2, "
        "beside their mean. Folds share values out evenly. `labels by lot`: all of it done again "
        "with labels dealt at random within folds, ± standard deviation; "
        "p is the share of dealings that do as well. Errors are over documents, the folds given.",
    ]
    for one in columns.values():
        kinds = ", ".join(f"{_plain(value)} {n}" for value, n in one["values"].items())
        number = "" if one["values"] else ", a number"
        told.append(
            f"**{_plain(one['column'])}**{number}: {one['documents']} documents, {one['folds']} "
            f"folds, {one['shuffles']} dealings; {one['left_out']} left out, without a value or "
            f"with a rare one. {kinds}"
        )
        rows: list[Sequence[Any]] = [
            (name, _pair(probe["score"]), _pair(probe["over_chance"], "+"),
             "" if name == "bag of words" else _pair(probe["less_reference"], "+"),
             _pair(probe["shuffled"]), probe["p"])
            for name, probe in one["probes"].items()
        ]  # fmt: skip
        rows.append(("chance", _pair(one["chance"]), None, None, None, None))
        heads = ("probe of", "score", "over chance", "less bag of words", "labels by lot", "p")
        told.append(markdown(heads, rows))
        what = "share of the same value" if one["values"] else "less the absolute difference"
        told.append(
            markdown(
                (f"{one['number']} nearest by", what, "by lot", "p"),
                [_by_lot_row(name, near) for name, near in one["neighbours"].items()],
            )
        )
    picture = Picture(
        "Probes of columns, beside labels dealt by lot (grey) and chance (dashed)",
        partial(drawn.columns, columns=columns),
        (6.4, 1.4 + 0.42 * sum(len(one["probes"]) for one in columns.values())),
    )
    return told, {"columns": picture}


def _arithmetic(one: Found) -> list[str]:
    rows = [
        (f"{_plain(step['from'])} → {_plain(step['to'])}", step["documents"],
         _pair(step["gain"], "+", 2), _pair(step["by_lot"], "+", 2),
         _pair(step["over_lot"], "+", 2), step["p"])
        for step in one["steps"]
    ]  # fmt: skip
    texts = [
        (f"{_plain(step['from'])} → {_plain(step['to'])}", *map(_plain, step["texts"]))
        for step in one["steps"]
    ]
    return [
        f"## Arithmetic: {_plain(one['column'])}",
        "Thoughts of a document of one value, less the mean of that value plus the mean of another "
        "(of other documents). Gain: what the move adds to log p of held-out documents of the "
        f"other value, nats per document; by lot: moves between the means of {one['groups']} "
        "groups of the same documents dealt at random. It is no bound.",
        markdown(("move", "documents", "gain", "by lot", "over lot", "p"), rows),
        markdown(("move", "decoded before", "decoded after"), texts),
    ]


def _by_lot_row(name: str, told: Found) -> Sequence[Any]:
    return (name, _pair(told["found"]), _pair(told["by_lot"]), told["p"])


def _kept(layer: int) -> str:
    return "none" if layer == 0 else "0" if layer == 1 else f"0-{layer - 1}"


def _pair(pair: Sequence[float | None], sign: str = "", digits: int = 4) -> str:
    return with_error(pair[0], pair[1], sign, digits)


def _plain(text: str) -> str:
    """A stranger's text in a cell of Markdown: nothing in it is taken for markup."""
    told = printable(" ".join(text.split()))
    return "".join("\\" + c if c in "\\`*_[]<>#!" else c for c in told)
