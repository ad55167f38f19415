"""Single bits flipped in every file of a run, and what notices them."""

import collections
import contextlib
import random
import shutil
import warnings

import ltm_pyro as ltm
from ltm_pyro.errors import Damaged, InputError, Notice
from ltm_pyro.inference.memory import ARRAY
from ltm_pyro.runs import folder
from ltm_pyro.runs.manifest import Manifest
from ltm_pyro.runs.seen import seen
from ltm_pyro.runs.trainer import Trainer
from ltm_pyro.runs.verify import verify

from .helpers import flip

FILES = [name for name in (*folder.FILES, *folder.MEMORY) if name != folder.LOCK]
UNDER = "only a resume from the checkpoint before"
"""What is said of damage that does not concern the last checkpoint."""


def flips(run, count, seed=0):
    """Files and bits: every file has as many, its first and its last among them."""
    source = random.Random(seed)
    each = -(-count // len(FILES))
    for name in FILES:
        bits = 8 * (run / name).stat().st_size
        chosen = {0, bits - 1}
        while len(chosen) < each:
            chosen.add(source.randrange(bits))
        yield from ((name, bit) for bit in sorted(chosen))


class Readers:
    """Whatever reads a run: weights, log, the documents it was trained on, a resume."""

    def __init__(self, run):
        self.run = run
        loaded = ltm.load(run)
        self.corpus = ltm.load_data(loaded.config, loaded.tokenizer)
        self.config = loaded.config

    def resume(self):
        """Up to where it would train."""
        Trainer(self.corpus, self.config, self.run).resume()

    def before(self):
        """A resume from the checkpoint before the last."""
        (self.run / folder.TRAINER).unlink()
        self.resume()

    def of(self, name):
        """What reads a file."""
        return {
            folder.BEST: lambda: ltm.load(self.run, "best"),
            folder.LOG: lambda: ltm.load(self.run).log(),
            folder.SEEN: lambda: seen(self.run),
            folder.TRAINER: self.resume, ARRAY: self.resume, folder.STAGED: self.resume,
            folder.PREVIOUS: self.before,
        }.get(name, lambda: ltm.load(self.run))  # fmt: skip


def notices(use):
    """Whether something says that a file is damaged: an error, or a warning that goes on."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            use()
        except Damaged:
            return True
        except InputError:
            return False
    return any(issubclass(one.category, Notice) for one in told)


def verified(path):
    """The files that `ltm info --verify` names, and what it says of each."""
    try:
        return {name: state for name, state in verify(path).items() if state != "whole"}
    except Damaged:
        return {folder.MANIFEST: "damaged"}


def sweep(path, place, count, seed=0):
    """Flip bits of a run's files; how many of each `verify` and readers noticed, and who did not.

    Args:
        path: a run with every file that there is.
        place: a folder for the run that is damaged.
        count: flips, or a few more, the same number of every file.
    """
    run = shutil.copytree(path, place / "run")
    kept = {file.name: file.read_bytes() for file in run.iterdir()}
    readers, found, unnoticed = Readers(run), collections.defaultdict(collections.Counter), []
    for name, bit in flips(run, count, seed):
        flip(run / name, bit)
        told = verified(run)
        found[name]["flips"] += 1
        found[name]["verify"] += name in told
        found[name]["readers"] += (seen_by := notices(readers.of(name)))
        if name not in told or not (seen_by or UNDER in told[name]):
            unnoticed.append((name, bit))
        for file in run.iterdir():
            if file.name not in kept:
                file.unlink()
        for other, data in kept.items():
            with contextlib.suppress(FileNotFoundError):
                if (run / other).read_bytes() == data:
                    continue
            (run / other).write_bytes(data)
    assert set(verify(run).values()) == {"whole"}
    assert Manifest.read(run) is not None
    return found, unnoticed


def table(found, unnoticed):
    """The counts, in lines."""
    lines = [f"{'file':<22}{'flips':>8}{'verify':>8}{'readers':>9}"]
    for name, counter in found.items():
        lines.append(
            f"{name:<22}{counter['flips']:>8}{counter['verify']:>8}{counter['readers']:>9}"
        )
    total = sum((counter for counter in found.values()), collections.Counter())
    lines.append(f"{'all':<22}{total['flips']:>8}{total['verify']:>8}{total['readers']:>9}")
    return "\n".join([*lines, f"{len(unnoticed)} went unnoticed{unnoticed or ''}"])
