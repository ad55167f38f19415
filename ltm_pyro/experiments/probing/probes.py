"""The probes of `ltm study probing`, each from the study's thoughts to plain types."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ltm_pyro.bounds.weights import Array
from ltm_pyro.data import Rows, Tokenizer
from ltm_pyro.diagnostics import thought_use
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.probing import reading
from ltm_pyro.experiments.probing.linear import Mean, folds_of, probed, ratio
from ltm_pyro.experiments.probing.space import alike, bags, likeness_of, moved, nearest
from ltm_pyro.reports.thought_map import principal
from ltm_pyro.seeds import Stream, generator

if TYPE_CHECKING:
    from ltm_pyro.experiments.studies.probing import Probing

STEPS = 5
"""Places on a line between two documents, both ends among them."""
PAIRS = 64
"""Pairs of documents at the most."""
FIRST = 64
"""Tokens of a text that is decoded from thoughts alone."""
VALUES, GROUPS = 3, 24
"""Of arithmetic: the commonest values that steps go between, and steps by lot."""
LETTERS = 300
"""Of a text that is shown."""
BAG = "bag of words"
"""What probes of thoughts are compared with."""
DRAWN, MANY = 40, 64
"""Of a heat map: tokens of a document, and draws."""


def reconstruction(study: "Probing") -> dict[str, Any]:
    """Posterior thoughts in the first layers and prior ones above: what each adds."""
    run, posterior, rows = study.loaded, study.posterior, study.posterior.rows
    q = posterior.sample(study.draws)
    p = reading.prior_draws(posterior, study.draws, study.seed)
    tokens, words = _floats(rows.lengths), run.tokenizer.vocabulary
    size = min(FIRST, rows.tokens.shape[1])
    order = torch.randperm(len(rows), generator=generator(study.seed, Stream.PAIRS)).tolist()
    another = np.empty(len(rows), int)
    another[order] = np.roll(order, 1)
    beginnings = rows.first(size)
    bound: dict[str, Any]
    try:
        use = thought_use(posterior, study.draws, seed=study.seed)
        bound = {"ablation": use.ablation, "kl": use.kl.sum((1, 2)), "verdict": use.verdict}
    except InputError as error:
        bound = {"missing": str(error)}
    levels, hits, texts = [], [], []
    for kept in range(q.shape[2] + 1):
        z = torch.cat([q[:, :, :kept], p[:, :, kept:]], dim=2)
        hits.append(ratio(reading.right(run.model, rows, z), tokens))
        written = reading.written(run.model, run.tokenizer, z[0], size)
        made = reading.rows_written(written).to(rows.lengths.device)
        own = Mean(reading.overlap(made, beginnings, words))
        other = Mean(reading.overlap(made, beginnings[another.tolist()], words))
        texts.append([_short(one) for one in written.continuations[: study.shown]])
        levels.append({
            "accuracy": hits[-1].told(), "over_none": hits[-1].less(hits[0]).told(),
            "overlap": own.told(), "over_another": own.less(other).told(),
        })  # fmt: skip
    control = None
    if run.baseline is not None:
        exact = ratio(reading.right(run.baseline, rows, None), tokens)
        control = {"accuracy": exact.told(), "less": hits[-1].less(exact).told()}
    return {
        "documents": len(rows), "tokens": rows.token_count, "draws": study.draws, "first": size,
        "source": study.corpus.name, "split": study.scored.split,
        "held_out": study.scored.known is not None, "steps": study.fast.steps,
        "bound": bound, "levels": levels, "control": control, "texts": texts,
        "shown": _beginnings(rows, run.tokenizer, study.shown),
    }  # fmt: skip


def neighbours(study: "Probing") -> dict[str, Any]:
    """Nearest documents, and whether they share words."""
    rows, flat = study.rows, study.flat
    near = nearest(flat, study.neighbours)
    words = bags(rows, study.loaded.tokenizer.vocabulary)
    told = alike(near, words @ words.T, study.shuffles, study.seed)
    begin = _beginnings(rows, study.loaded.tokenizer, len(rows))
    shown = [[begin[i], *(begin[j] for j in near[i, :2])] for i in range(study.shown)]
    return {"number": near.shape[1], "words": told, "shown": shown}


def interpolation(study: "Probing") -> dict[str, Any]:
    """Texts along the line between two documents' thoughts, scored under both ends."""
    run, rows, means = study.loaded, study.posterior.rows, study.means
    order = torch.randperm(len(rows), generator=generator(study.seed, Stream.PAIRS))
    pairs = order[: 2 * min(PAIRS, len(rows) // 2)].reshape(-1, 2)
    one, other = means[pairs[:, 0]], means[pairs[:, 1]]
    size = min(FIRST, rows.tokens.shape[1])
    ends = [rows[pairs[:, i]] for i in (0, 1)]
    begun = [_per_token(run.model, end, z) for end, z in zip(ends, (one, other), strict=True)]
    places, texts = [], []
    for share, z in zip(np.linspace(0, 1, STEPS), reading.along(one, other, STEPS), strict=True):
        written = reading.written(run.model, run.tokenizer, z, size)
        made = reading.rows_written(written).to(rows.lengths.device)
        under = [_per_token(run.model, made, end) for end in (one, other)]
        documents = [_per_token(run.model, end, z) for end in ends]
        places.append({
            "share": float(share),
            "text": [Mean(each).told() for each in under],
            "text_first_less_last": Mean(under[0] - under[1]).told(),
            "documents": [
                Mean(now - own).told() for now, own in zip(documents, begun, strict=True)
            ],
        })  # fmt: skip
        texts.append([_short(text) for text in written.continuations[: study.shown]])
    read = [_beginnings(end, run.tokenizer, study.shown) for end in ends]
    return {"pairs": len(pairs), "first": size, "places": places, "texts": texts, "ends": read}


def attribution(study: "Probing") -> dict[str, Any]:
    """What each token loses when a slot is resampled from the prior."""
    run, posterior = study.loaded, study.posterior
    q = posterior.sample(study.draws)
    p = reading.prior_draws(posterior, study.draws, study.seed)
    gains, start = [], 0
    for rows in posterior.rows.split(study.chunk):
        here = slice(start, start + len(rows))
        score = _scores(run.model, rows)
        found = reading.attribution(score, q[:, here], p[:, here])
        whole = _floats((score(q[:, here]) - score(p[:, here])).double().mean(0).sum(-1))
        gains.append(np.concatenate([found.gain.sum(-1).reshape(-1, len(rows)), whole[None]]))
        start += len(rows)
    tokens, layout = _floats(study.rows.lengths), run.config.thoughts
    names = [f"{layer}.{slot}" for layer in range(layout.layers) for slot in range(layout.slots)]
    slots = {
        name: ratio(each, tokens).told()
        for name, each in zip([*names, "all"], np.concatenate(gains, 1), strict=True)
    }
    return {"draws": study.draws, "slots": slots, "map_draws": MANY, "maps": _maps(study)}


def _maps(study: "Probing") -> list[dict[str, Any]]:
    """Heat maps of the first documents, of many draws, so that single tokens have small errors."""
    run, few = study.loaded, study.posterior.rows[: study.shown].first(DRAWN)
    z, others = (
        draws[:, : study.shown]
        for draws in (
            study.posterior.sample(MANY),
            reading.prior_draws(study.posterior, MANY, study.seed),
        )
    )
    found, maps = reading.attribution(_scores(run.model, few), z, others), []
    for i, n in enumerate(few.lengths.tolist()):
        gain, error = (x[:, :, i, :n].reshape(-1, n) for x in (found.gain, found.error))
        words = [run.tokenizer.decode([token]) for token in few.tokens[i, :n].tolist()]
        maps.append({"tokens": words, "gain": gain, "error": error})
    return maps


def plane(study: "Probing") -> dict[str, Any]:
    """The plane in which posterior means vary most."""
    found = principal(study.flat)
    return {"places": found.places, "shares": found.shares}


def column(study: "Probing", name: str) -> dict[str, Any]:
    """Linear probes for a column, and whether neighbours share it."""
    values, codes = study.labels[name]
    usable = codes >= 0 if values else np.isfinite(codes)
    some, known = study.flat[usable], codes[usable]
    rows = study.rows[torch.from_numpy(usable.nonzero()[0])]
    kinds: dict[str, Array] = {"thoughts": some}
    layers = study.loaded.config.thoughts.layers
    if layers > 1:
        kinds |= {f"layer {i}": x for i, x in enumerate(np.split(some, layers, axis=1))}
    kinds[BAG] = bags(rows, study.loaded.tokenizer.vocabulary)
    folds = folds_of(known, study.folds, study.seed)
    found = probed(kinds, known, folds, study.shuffles, study.seed, BAG)
    likeness = likeness_of(known)
    near = {
        kind: alike(nearest(kinds[kind], study.neighbours), likeness, study.shuffles, study.seed)
        for kind in ("thoughts", BAG)
    }
    counts = Counter(known.tolist()) if values else {}
    return {
        "column": name, "documents": len(known), "left_out": int((~usable).sum()),
        "folds": study.folds, "shuffles": study.shuffles, "number": study.neighbours,
        "values": {value: counts[i] for i, value in enumerate(values)},
        "codes": codes, **found, "neighbours": near,
    }  # fmt: skip


def arithmetic(study: "Probing", name: str) -> dict[str, Any]:
    """Thoughts of a document of one value, less that value's mean and plus another's."""
    values, codes = study.labels[name]
    run, rows = study.loaded, study.posterior.rows
    shape = study.means.shape[1:]

    def thoughts(flat: Array) -> torch.Tensor:
        return torch.from_numpy(flat).reshape(-1, *shape).to(study.means)

    def score(z: Array, documents: Any) -> Array:
        parts = [
            reading.token_scores(run.model, rows[torch.from_numpy(some)], thoughts(of)).sum(-1)
            for some, of in zip(_cut(documents, study.chunk), _cut(z, study.chunk), strict=True)
        ]
        return _floats(torch.cat(parts))

    common = [code for code, _ in Counter(codes[codes >= 0].tolist()).most_common(VALUES)]
    steps = []
    for one in common:
        for other in common:
            if one == other:
                continue
            found = moved(score, study.flat, codes, one, other, GROUPS, study.seed)
            begin, shift = study.flat[found.pop("begin")], found.pop("shift")
            both = reading.written(
                run.model, run.tokenizer, thoughts(np.stack([begin, begin + shift])),
                min(FIRST, rows.tokens.shape[1]),
            )  # fmt: skip
            texts = [_short(text) for text in both.continuations]
            steps.append({"from": values[one], "to": values[other], **found, "texts": texts})
    return {"column": name, "groups": GROUPS, "steps": steps}


def _scores(model: Any, rows: Rows) -> reading.Scores:
    return lambda z: reading.token_scores(model, rows, z)


def _per_token(model: Any, rows: Rows, z: torch.Tensor) -> Array:
    """log p(x | z) of each row over its tokens, (rows,), nats per token."""
    return _floats(reading.token_scores(model, rows, z).sum(-1)) / _floats(rows.lengths).clip(1)


def _cut(values: Any, size: int) -> list[Any]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def _floats(values: torch.Tensor) -> Array:
    return np.asarray(values.double().cpu().numpy())


def _beginnings(rows: Rows, tokenizer: Tokenizer, number: int) -> list[str]:
    """How the first texts begin."""
    some = rows[:number].first(FIRST)
    pairs = zip(some.tokens.tolist(), some.lengths.tolist(), strict=True)
    return [
        _short(tokenizer.decode([t for t in ids[:n] if t != tokenizer.end])) for ids, n in pairs
    ]


def _short(text: str) -> str:
    """On one line, and no longer than can be read in a table."""
    line = " ".join(text.split())
    return line if len(line) <= LETTERS else line[: LETTERS - 1] + "…"
