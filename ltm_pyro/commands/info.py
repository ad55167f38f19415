"""`ltm info`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ltm_pyro.errors import unknown
from ltm_pyro.presets import PRESETS
from ltm_pyro.runs.info import info_preset, info_run, presets_table, run_text


@dataclass(frozen=True)
class Info:
    """What a preset is, or what a run is; without a name, all presets."""

    name: Positional[str | None] = None
    """A preset, or the folder of a run."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Look it up and print."""
        if self.name is None:
            facts: dict[str, Any] = {name: info_preset(name) for name in PRESETS}
            print(json.dumps(facts, indent=2) if self.json else presets_table(facts))
            return
        if self.name in PRESETS:
            facts = info_preset(self.name)
        elif Path(self.name).exists():
            facts = info_run(Path(self.name))
        else:
            raise unknown("preset or run", self.name, PRESETS)
        if self.json:
            print(json.dumps(facts, indent=2))
        elif "run" in facts:
            print(run_text(facts))
        else:
            width = max(map(len, facts))
            print("\n".join(f"{key:<{width}}  {value}" for key, value in facts.items()))
