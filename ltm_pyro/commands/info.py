"""`ltm info`."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ltm_pyro.commands.text import as_json, show
from ltm_pyro.errors import InputError, printable, unknown
from ltm_pyro.files import storage
from ltm_pyro.files.lock import alone
from ltm_pyro.files.storage import is_url
from ltm_pyro.presets import PRESETS
from ltm_pyro.runs import folder
from ltm_pyro.runs.copies import folder_of
from ltm_pyro.runs.info import info_preset, info_run
from ltm_pyro.runs.info_words import presets_table, run_text
from ltm_pyro.runs.verify import verified, verify


@dataclass(frozen=True)
class Info:
    """What a preset is, or what a run is; without a name, all presets."""

    name: Positional[str | None] = None
    """A preset, or the folder of a run, or the URL of a copy (ltm train --copy-to)."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""
    verify: bool = False
    """Check every file of a run against the SHA-256 that the run wrote down."""
    seal: bool = False
    """Accept what the files of a run hold now: write down their SHA-256 anew."""

    def run(self) -> None:
        """Look it up and print."""
        if self.verify or self.seal:
            self.check()
            return
        if self.name is None:
            facts: dict[str, Any] = {name: info_preset(name) for name in PRESETS}
            show(as_json(facts) if self.json else presets_table(facts))
            return
        if self.name in PRESETS:
            facts = info_preset(self.name)
        elif is_url(self.name) or Path(self.name).exists():
            facts = info_run(here := folder_of(self.name))
            if here != Path(self.name):
                facts |= _ways(self.name)
        else:
            raise unknown("preset or run", self.name, PRESETS)
        if self.json:
            show(as_json(facts))
        elif "run" in facts:
            show(printable(run_text(facts)))
        else:
            width = max(map(len, facts))
            show("\n".join(f"{key:<{width}}  {value}" for key, value in facts.items()))

    def check(self) -> None:
        """Verify a run's files, or seal them."""
        if self.name is None or not Path(self.name).exists():
            raise InputError("--verify and --seal are for a run: expected its folder")
        path = Path(self.name)
        if self.seal:
            with alone(path):
                folder.seal(path)
        found = verify(path)
        width = max(map(len, found))
        lines = (f"{name:<{width}}  {state}" for name, state in found.items())
        show(as_json({"files": found}) if self.json else printable("\n".join(lines)))
        verified(path, found)


def _ways(url: str) -> dict[str, str]:
    """How to go on from a copy: what lies in the cache is no folder to train in."""
    place, name = shlex.quote(url), storage.place(url).name or "run"
    return {
        "resume": f"ltm train --resume --out {shlex.quote(name)} --copy-to {place}",
        "repeat": f"ltm train --config {place} --out {shlex.quote(name + '-again')}",
    }
