"""A prior from its name."""

import functools
import inspect
from collections.abc import Mapping, Sequence

from ltm_pyro.config import Named, Thoughts
from ltm_pyro.models import priors
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.models.size import BYTES, check_memory, parameters_of
from ltm_pyro.names import describe, find


def build_prior(
    named: Named, thoughts: Thoughts, columns: Mapping[str, Sequence[str]] | None = None
) -> Prior:
    """A prior by name, e.g. `Named("standard-normal")`, or by `package.module:Class`.

    `columns` are those of the data, with the values that are known, for classes that take them.
    """
    found = find("prior", named, priors, Prior)
    takes = "columns" in inspect.signature(found.func).parameters
    made = functools.partial(found, thoughts, **({"columns": columns or {}} if takes else {}))
    if named.options and (count := parameters_of(made)) is not None:
        what = f"{count:,} parameters of the prior {named.name}, of {BYTES} bytes"
        check_memory({what: count * BYTES}, "its options, or the thoughts' slots or dim")
    prior: Prior = made()
    return prior


def named_prior(prior: Prior) -> Named:
    """The name and options that `build_prior` would need."""
    return describe(prior, priors, Prior)
