"""A corpus as a table in a notebook."""

from typing import Any

from ltm_pyro.display.tables import table


def corpus_table(corpus: Any) -> str:
    """Its splits, a row each, and what a reader should know of it."""
    splits = {name: corpus.rows(name) for name in ("train", "valid", "test")}
    rows = [
        {
            "split": name,
            "documents": len(one.digests),
            "rows": len(one),
            "tokens": one.token_count,
            "bytes": one.sums[1],
        }
        for name, one in splits.items()
    ]
    kind = f"{corpus.vocabulary:,} kinds of tokens; rows ({corpus.layout}) of up to {corpus.length}"
    columns = (f"column {name}: {len(known):,} values" for name, known in corpus.columns.items())
    return table(corpus.name, rows, [kind, *columns, *corpus.notes])
