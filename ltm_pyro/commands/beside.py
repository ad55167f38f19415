"""Which options of `ltm train` may stand beside which."""

import dataclasses
from collections.abc import Collection

from ltm_pyro.commands.text import say
from ltm_pyro.config import Config, Slow
from ltm_pyro.data.asked import Text
from ltm_pyro.errors import InputError

BESIDE_CONFIG = {
    "config",
    "out",
    "steps",
    "seed",
    "overwrite",
    "resume",
    "quiet",
    "trust",
    "device",
    "copy-to",
    "slow.sharded",
    "slow.no-sharded",
} | {option.name for option in dataclasses.fields(Text)}
"""Options of `ltm train` that a configuration given with --config leaves open."""
SIZES = {"length", "tokenizer", "vocabulary", "layout", "decoder"}
"""Options that the run sets which thoughts are grown on."""


def check_options(names: Collection[str]) -> None:
    """Raises InputError for an option that cannot stand beside --config; tells what is ignored."""
    names = sorted(names)
    ignored = [name for name in names if name not in BESIDE_CONFIG - {"seed", "config"}]
    if "resume" in names and ignored:
        say(f"--{', --'.join(ignored)}: ignored, a resumed run keeps its own configuration")
    sizes = ("architecture.", "decoder.")
    for name in names if "from" in names else ():
        if name.startswith(sizes) or name in SIZES:
            raise InputError(
                f"--{name} is given beside --from, whose run sets it: leave it out, or train a "
                "decoder of these sizes first"
            )
    for name in names if "config" in names else ():
        if name not in BESIDE_CONFIG:
            raise InputError(
                f"--{name} is given beside --config, which sets it: leave it out, or change the "
                "file; only --" + ", --".join(sorted(BESIDE_CONFIG)) + " may be given"
            )


def shared_out(config: Config, asked: Slow, names: Collection[str]) -> Config:
    """A run's configuration with its slow step shared out or not, if that is asked for.

    It changes no weights, so a run may go on with or without it.
    """
    if not {"slow.sharded", "slow.no-sharded"} & set(names):
        return config
    return config.replace(slow=dataclasses.replace(config.slow, sharded=asked.sharded))
