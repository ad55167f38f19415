"""How a guide covers the sites of a model: read once, at fit, from a trace of each."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from pyro.infer.autoguide import AutoGuide

from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide, NoGuide, Sampler
from ltm_pyro.guides.mean_field import MeanField
from ltm_pyro.guides.point import Point
from ltm_pyro.inference.beside import Beside
from ltm_pyro.inference.checks import guide_of
from ltm_pyro.programs.handlers import is_thoughts
from ltm_pyro.programs.reading import ROWS, Site, Sites, guide_sites, same_image
from ltm_pyro.programs.support import the_reals
from ltm_pyro.seeds import seeded

MakeGuide = Callable[..., Guide]
"""A guide class, or a `functools.partial` of one: called with (thoughts, batch_size)."""


class Covering:
    """Which sites of a model a guide samples, and which are left to normals beside it.

    Args:
        model: the model.
        make: what makes a guide.
        rows: the first of them are what both are traced on.

    Raises:
        InputError: for a model or a guide that cannot be handled, naming the site.
    """

    def __init__(self, model: Any, make: Any, rows: AnyRows):
        self.model, self.make = model, make
        self.sites = Sites.of(model, rows)
        self.local = self.sites.of_kind("local")
        self.has_thoughts = any(map(is_thoughts, self.local))
        if getattr(make, "func", make) is NoGuide and self.local:
            raise InputError(
                f"NoGuide samples nothing, and {type(model).__name__} samples "
                f"{_listed(self.local.values())}: choose MeanField, or another guide"
            )
        device = next(model.parameters()).device
        some = rows[:ROWS].to(device)
        with seeded(0):
            small = self._inner(len(some)).to(next(model.parameters()))
            self.covered = self._read(small, some)
        shared = [s for s in self.sites.of_kind("shared").values() if s.name not in self.covered]
        if shared:
            raise InputError(
                f"{type(model).__name__} samples {_listed(shared)} outside the plate of documents, "
                "once for all of them: give guide=Hierarchical.of(model, rows=rows) "
                "(ltm_pyro.inference), or move it into the plate"
            )
        left = [site for site in self.local.values() if site.name not in self.covered]
        first = next((i for i, name in enumerate(self.local) if name in self.covered), 0)
        self.before = [site for site in left if list(self.local).index(site.name) < first]
        self.after = [site for site in left if site not in self.before]
        if left and isinstance(small, Sampler | Point):
            raise InputError(
                f"{type(small).__name__} moves the thoughts z alone, and the model also samples "
                f"{_listed(left)}: choose MeanField, or a guide that samples them"
            )

    def guide(self, documents: int) -> Guide:
        """A fresh guide of some documents, of the model's device and dtype."""
        guide = self._inner(documents)
        if self.before or self.after:
            guide = Beside(guide, self.before, self.after)
        return guide.to(next(self.model.parameters()))

    def _inner(self, documents: int) -> Guide:
        """The user's guide; none for a model without thoughts where it is of the library's."""
        cls = getattr(self.make, "func", self.make)
        if not self.has_thoughts and _any_sites(cls):
            return NoGuide(None, documents)
        try:
            return guide_of(self.make, self.model, documents)
        except AttributeError as error:
            if self.has_thoughts or getattr(self.model, "thoughts", None) is not None:
                raise
            raise InputError(
                f"{getattr(cls, '__name__', cls)} is a family over thoughts z, which "
                f"{type(self.model).__name__} does not sample ({error}): MeanField covers any "
                f"sites; or write a guide that samples {_listed(self.local.values())}"
            ) from None

    @torch.no_grad()
    def _read(self, guide: Guide, rows: Rows) -> set[str]:
        """The names of the model's sites that the guide samples, each of the right shape."""
        if isinstance(guide, Sampler):
            return set(filter(is_thoughts, self.local))
        whose = f"guide {type(guide).__name__}"
        guide.start(self.model, rows)
        found = guide_sites(guide, rows, whose)
        covered = set()
        for site in found:
            if is_thoughts(site.name) and site.name not in self.local:
                covered |= set(filter(is_thoughts, self.local))
                if self.has_thoughts:
                    continue
            known = self.sites.all.get(site.name)
            if known is None or known.kind not in ("local", "shared"):
                raise InputError(
                    f"{whose}: site {site.name!r} has no counterpart: the model samples "
                    f"{_listed(self.local.values()) or 'no site'}"
                )
            if known.kind != site.kind and known.kind == "local":
                raise InputError(
                    f"{whose}: site {site.name!r} stands outside the plate of documents: sample it "
                    'inside pyro.plate("documents", self.batch_size, dim=-1)'
                )
            if known.shape != site.shape:
                raise InputError(
                    f"{whose}: site {site.name!r} has event shape {site.shape}: expected "
                    f"{known.shape}, that of the model's"
                    + (" in real numbers" if not _real(known) else "")
                )
            if not (_real(site) or same_image(site.image, known.image)):
                raise InputError(
                    f"{whose}: site {site.name!r} ({site.law}) has the support {site.support}, the "
                    f"model's {known.support}: expected the same support, or the reals"
                )
            covered.add(site.name)
        return covered


def local_guide(make: Any, thoughts: Any, documents: int) -> Guide:
    """A guide over thoughts; none where there are none and it is the library's own default."""
    if thoughts is None and _any_sites(getattr(make, "func", make)):
        return NoGuide(None, documents)
    return guide_of(make, SimpleNamespace(thoughts=thoughts), documents)


def _any_sites(cls: Any) -> bool:
    """Whether a guide's class is a family over any sites, with thoughts or without."""
    return cls is MeanField or (isinstance(cls, type) and issubclass(cls, AutoGuide))


def _real(site: Site) -> bool:
    """Whether a site holds real numbers as they are."""
    return site.image is None or site.image is the_reals


def _listed(sites: Any) -> str:
    return ", ".join(site.name for site in sites)
