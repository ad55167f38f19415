"""What a model samples and observes, read from one trace of it; all else learns it from here."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions.transforms import IndependentTransform

from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError, Notice
from ltm_pyro.options import shown, taken
from ltm_pyro.programs.densities import Program, at, drawing
from ltm_pyro.programs.handlers import DOCUMENTS, OWN, is_enumerable, is_local, is_thoughts
from ltm_pyro.programs.refused import check_parameters, refused
from ltm_pyro.programs.scores import scores, sites
from ltm_pyro.programs.support import flat, image_of, support_of, the_reals, unwrapped
from ltm_pyro.seeds import seeded

PARTICLES, ROWS = 3, 2
"""How many of each a model is traced with; few, and not the same number."""
MOST_VALUES = 4096
"""Of a model's discrete sites, all together: the model is computed with each."""


@dataclass(frozen=True)
class Site:
    """A site of a model or a guide.

    Attributes:
        name: the site's.
        kind: "local" (a latent of each document), "shared" (outside the plate of documents),
            "discrete" (a latent of each document, summed out) or "observed".
        law: the kind of its distribution.
        shape: of a document's value, that of a latent in real numbers; of a shared one with its
            own plates before.
        support: where its values lie.
        image: from the reals to its support, for latents that are not discrete.
        values: how many a discrete site has.
        plates: how many of a shared site's first dimensions are plates of its own.
    """

    name: str
    kind: str
    law: str
    shape: tuple[int, ...]
    support: str
    image: Any = None
    values: int = 0
    plates: int = 0

    def of_all(self, numbers: Tensor) -> Tensor:
        """Draws of a shared site on its own support, (draws, *plates, *event).

        From real numbers as they are drawn in a plate of particles, which have a dimension for
        documents where the site has no plate of its own.
        """
        values: Tensor = self.image(numbers)
        return values if self.plates else values.squeeze(1)

    def __str__(self) -> str:
        values = f"{self.values} values, summed out" if self.values else f"on {self.support}"
        shape = f"({', '.join(map(str, self.shape))})" if self.shape else "a number"
        return f"{self.kind:<9}{self.name:<18}{self.law:<18}{shape:<18}{values}"


@dataclass(frozen=True)
class Sites:
    """The sites of a model, in the order it goes through them; printing it lists them.

    Attributes:
        all: every site, by name.
    """

    all: dict[str, Site]

    @classmethod
    def of(cls, model: Program, rows: AnyRows) -> "Sites":
        """Read the sites of a model from a trace on the first rows.

        Raises:
            InputError: for what cannot be handled, naming the site: no plate of documents, no
                observed site `tokens`, a site with dimensions left of the documents, a mask or a
                scale around a latent site, a factor, a discrete site whose values cannot be
                listed, a parameter of Pyro's store; for a model that is no program, or no rows.
        """
        whose = type(model).__name__
        if not callable(model):
            raise InputError(
                f"model is {shown(model)}: expected a Pyro program, such as a TextModel"
            )
        taken("rows", rows, AnyRows)
        if not len(rows):
            raise InputError("rows is empty: the sites of a model are read from a trace on a row")
        parameter = next(iter(model.parameters()), None) if hasattr(model, "parameters") else None
        some = rows[:ROWS]
        some = some if parameter is None else some.to(parameter.device)
        with torch.no_grad(), seeded(0), pyro.get_param_store().scope():
            trace = traced(drawing(model, PARTICLES), some, whose)
            found = {name: _site(node, len(some), whose) for name, node in sites(trace).items()}
            read = cls(found)
            _check(read, trace, whose)
            if read.beyond_thoughts:
                _check_scores(model, trace, some, whose)
        return read

    def __iter__(self) -> Iterator[Site]:
        return iter(self.all.values())

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def of_kind(self, kind: str) -> dict[str, Site]:
        """The sites of a kind, by name."""
        return {site.name: site for site in self if site.kind == kind}

    @property
    def beyond_thoughts(self) -> bool:
        """Whether there is more than `z` (or `z_0`, ...) and `tokens`."""
        return not all(map(is_plain, self))


def is_plain(site: Site) -> bool:
    """Whether a site is one that every model of thoughts has: `z` or `z_0`, ..., or `tokens`."""
    if site.kind == "observed":
        return site.name == "tokens"
    return site.kind == "local" and is_thoughts(site.name)


def guide_sites(guide: Program, rows: Rows, whose: str) -> "Sites":
    """The sites of a guide, from a trace on its rows.

    Raises:
        InputError: for a site that is not a number of each document, or a parameter of the store.
    """
    with torch.no_grad(), seeded(0), pyro.get_param_store().scope():
        trace = traced(drawing(guide, PARTICLES), rows, whose)
        found = {name: _site(node, len(rows), whose) for name, node in sites(trace).items()}
        check_parameters(trace, whose)
    return Sites(found)


def same_image(one: Any, other: Any) -> bool:
    """Whether two maps from the reals to a support are the same."""
    while isinstance(one, IndependentTransform) and isinstance(other, IndependentTransform):
        one, other = one.base_transform, other.base_transform
    return bool(one == other)


def traced(program: Program, rows: Rows, whose: str) -> Any:
    """The trace of a program, what is wrong with its shapes told in one line."""
    try:
        return poutine.trace(program).get_trace(rows)
    except InputError as error:  # to which Pyro has added the shapes of all sites
        raise InputError(f"{whose}: {str(error).splitlines()[0]}") from None
    except KeyError as error:
        if not isinstance(error.args[0], str) or error.args[0] in rows.columns:
            raise
        raise InputError(
            f"{whose} reads the column {error.args[0]!r}, and these rows have "
            f"{', '.join(rows.columns) or 'none'}: name it in load_corpus(columns=[...]), or "
            "numbers=[...] (--column, --number), or put it into Rows.columns"
        ) from None
    except IndexError as error:
        raise InputError(
            f"{whose}: {str(error).splitlines()[0]}; dimensions of particles and documents stand "
            "before those of a value: write x[..., 0], and of a group's value mu[..., code], or "
            "mu[..., code, :] of a vector"
        ) from error
    except ValueError as error:
        if "inside plate" in str(error):
            raise InputError(
                f"{whose}: {str(error).splitlines()[0]}; dimensions of one document's value belong "
                "to the event: add .to_event(n) to the site's distribution"
            ) from None
        raise


def known_of(model: Program, rows: Rows) -> dict[str, Tensor]:
    """Of which rows a model observes each of its sites beside `tokens`, (rows,) each."""
    with torch.no_grad(), seeded(0):
        nodes = sites(poutine.trace(drawing(model, 1)).get_trace(rows))
    found = {}
    for name, node in nodes.items():
        if node["is_observed"] and name != "tokens":
            mask = torch.as_tensor(True if node["mask"] is None else node["mask"])
            found[name] = mask.reshape(-1).expand(len(rows)).cpu()
    return found


def warn_of_cut_documents(read: Sites, rows: AnyRows, whose: str) -> None:
    """Warns of documents cut into rows, each of which would observe what is one document's."""
    kinds = ("discrete", "observed")
    more = [site.name for site in read if site.kind in kinds and site.name != "tokens"]
    cut = len(rows) - len(rows.document.unique()) if more else 0
    if cut:
        told = (
            f"{whose}: {cut:,} of {len(rows):,} rows go on with a document, and each of them has "
            f"{', '.join(more)} once more: cut documents to a row (a larger length, or rows of "
            "their beginnings), or the model is one of rows"
        )
        warnings.warn(Notice(told), stacklevel=4)


def _site(node: Any, documents: int, whose: str) -> Site:
    law, name = node["infer"].get(OWN, node["fn"]), node["name"]
    inner, support = unwrapped(law), flat(support_of(law))
    kind, shape, image, values = "observed", tuple(law.event_shape), None, 0
    plates: tuple[int, ...] = ()
    if not node["is_observed"]:
        kind = "local" if is_local(node) else "shared"
        if is_enumerable(law):
            kind, values = "discrete", len(law.enumerate_support(expand=False))
        elif support is not None and not support.is_discrete:
            carried = OWN in node["infer"]
            image = image_of(law) if carried else the_reals
            shape = tuple(node["fn"].event_shape)
    batch = tuple(node["fn"].batch_shape)
    if kind == "shared":
        plates = batch[1:] if batch[1:] != (1,) else ()
        shape = (*plates, *shape)
    elif len(batch) > 2 or (batch and batch[-1] not in (1, documents)):
        raise InputError(
            f"{whose}: site {name!r} ({type(inner).__name__}) has batch shape {batch[1:]} beside "
            f"particles: expected (documents,), that is ({documents},); dimensions of one "
            "document's value belong to the event: add .to_event(n)"
        )
    kinds = (name, kind, type(inner).__name__, shape, str(support), image, values, len(plates))
    return Site(*kinds)


def _check(read: Sites, trace: Any, whose: str) -> None:
    plates = {f.name for node in sites(trace).values() for f in node["cond_indep_stack"]}
    if DOCUMENTS not in plates:
        raise InputError(
            f"{whose}: no site stands in a plate of documents: sample and observe inside "
            'pyro.plate("documents", len(batch), dim=-1)'
        )
    tokens = read.all.get("tokens")
    if tokens is None or tokens.kind != "observed":
        raise InputError(
            f"{whose}: no site 'tokens' is observed: a model of text observes batch.tokens, as in "
            'pyro.sample("tokens", TokenSequence(...), obs=batch.tokens)'
        )
    for name, node in sites(trace).items():
        if wrong := refused(read.all[name].kind, node):
            raise InputError(f"{whose}: site {name!r} {wrong}")
    values = math.prod(site.values for site in read.of_kind("discrete").values())
    if values > MOST_VALUES:
        raise InputError(
            f"{whose}: its discrete sites have {values:,} values together, and the model is "
            f"computed with each: at most {MOST_VALUES:,}"
        )
    check_parameters(trace, whose)


def _check_scores(model: Program, trace: Any, rows: Rows, whose: str) -> None:
    """Whether log densities come for each particle and document, discrete sites summed out."""
    latents = {
        name: node["value"]
        for name, node in sites(trace).items()
        if not node["is_observed"] and not is_enumerable(node["fn"])
    }
    found = scores(traced(at(model, latents, PARTICLES), rows, whose))
    for name, term in (found.local | found.observed).items():
        if term.shape[-1:] not in ((len(rows),), (1,)) or term.dim() > 2:
            raise InputError(
                f"{whose}: the log density of site {name!r} has shape {tuple(term.shape)}: "
                f"expected (particles, documents), ({PARTICLES}, {len(rows)}); what depends on a "
                "site of each document is computed along dim -1, with any dimensions before it"
            )
