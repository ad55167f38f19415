"""Whether the files of a run hold what the run wrote into them."""

from pathlib import Path

from ltm_pyro.errors import Damaged, InputError, first_line
from ltm_pyro.inference.memory import ARRAY, Memory
from ltm_pyro.runs import folder
from ltm_pyro.runs.manifest import MANIFEST, Manifest, seal_command
from ltm_pyro.runs.record import read_config
from ltm_pyro.runs.state import read_trainer

WHOLE = "whole"


def verify(path: Path) -> dict[str, str]:
    """The state of each file of a run by its name: `whole`, or what is wrong with it.

    Raises:
        InputError: if it is no run, or has no manifest, or that is damaged.
    """
    manifest = Manifest.read(path)
    if manifest is None:
        read_config(path)  # says what is amiss if it is not only old
        raise InputError(
            f"{path} was written before runs had a {MANIFEST}, so there is nothing to check its "
            f"files against: {seal_command(path)} writes one of what they hold now"
        )
    found = {MANIFEST: WHOLE}
    stray = [n for n in folder.FILES if n not in (MANIFEST, folder.LOCK) and (path / n).exists()]
    for name in dict.fromkeys([*manifest.files, *stray]):
        state = manifest.state(name)
        if state != "absent":
            found[name] = state
    if (path / ARRAY).exists() or (path / folder.STAGED).exists():
        found[ARRAY] = _memory(path, found)
    return found


def _memory(path: Path, found: dict[str, str]) -> str:
    """Whether a warm start's memory is what belongs to the last checkpoint."""
    if found.get(folder.TRAINER) != WHOLE:
        return f"not checked: that needs {folder.TRAINER}"
    try:
        state = read_trainer(path, folder.TRAINER)
        if "memory" not in state:
            return f"not a file of this run ({folder.TRAINER} says nothing of it)"
        record = {"documents": int(state["memory"]["documents"]), **state["memory"]}
        Memory.check(path, int(state["svi"]["done"]), record)
    except Exception as error:  # the unpickler raises many kinds
        return f"damaged, or another run's ({first_line(error)})"
    return WHOLE


def verified(path: Path, found: dict[str, str]) -> None:
    """Raises Damaged if a file is not whole."""
    wrong = [name for name, state in found.items() if state != WHOLE]
    if wrong:
        raise Damaged(
            f"{path}: {', '.join(wrong)} cannot be relied on: put back a whole copy, or, if it was "
            f"changed on purpose, accept it with {seal_command(path)}"
        )
