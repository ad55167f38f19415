"""`python -m benchmarks.report`: the saved results as the performance section of the README."""

import json
from pathlib import Path
from typing import Any

from benchmarks.__main__ import MEANING
from benchmarks.shapes import RESULTS, SHAPES


def section(folder: Path = RESULTS) -> str:
    """A Markdown table, a column for each shape that has been measured."""
    found: dict[str, dict[str, Any]] = {}
    for name in SHAPES:
        if (folder / f"{name}.json").exists():
            found[name] = json.loads((folder / f"{name}.json").read_text())
    lines = [
        "| | what it is | " + " | ".join(found) + " |",
        "|---|---|" + "---|" * len(found),
    ]
    for name, meaning in MEANING.items():
        cells = [_cell(name, part.get(name)) for part in found.values()]
        lines.append(f"| `{name}` | {meaning} | " + " | ".join(cells) + " |")
    for name, part in found.items():
        batch, tokens = part["batch"]
        lines.append(
            f"\n{name}: `{part['command']}`, {batch} x {tokens} tokens, vocabulary "
            f"{part['vocabulary']:,}, {part['fast_steps']} fast steps; {part['device']}, "
            f"{part['threads']} thread(s), torch {part['versions']['torch']}."
        )
    return "\n".join(lines)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    percent = name in ("pyro_overhead", "utilisation")
    return f"{value:.1%}" if percent else f"{value:.2f}"


if __name__ == "__main__":
    print(section())
