"""What keeps a run that is done again from being the same."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ltm_pyro.data import Corpus
from ltm_pyro.inference.processes import here
from ltm_pyro.runs.record import versions


def unlike(record: Mapping[str, Any], corpus: Corpus) -> Iterator[str]:
    """What keeps a run on this corpus, here and now, from being the one recorded."""
    if record["data"]["fingerprint"] != corpus.fingerprint:
        yield f"{corpus.name} is not the text it was trained on"
    last = record["resumed"][-1]["of"] if record["resumed"] else record["of"]
    if last != record["of"]:
        yield (
            f"it was begun for {record['of']} iterations and resumed for {last}, and the learning "
            "rate follows the number; weights will differ"
        )
    if "grown_on" in record:
        yield f"its thoughts were grown on {record['grown_on']['run']}, these begin with the rest"
    before = {"processes": 1, **record["versions"]}
    before |= {name: record[name] for name in ("threads", "processes") if name in record}
    mine = {"threads": torch.get_num_threads(), "processes": here().size}
    for name, now in {**versions(), **mine}.items():
        if before.get(name) != now:
            yield f"{name} was {before.get(name)}, now it is {now}; weights may differ"
