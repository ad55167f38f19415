"""How a guide covers the sites of a model: read once, at fit, from a trace of each."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoGuide
from torch import nn

from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide, NoGuide, Sampler
from ltm_pyro.guides.mean_field import MeanField, to_natural
from ltm_pyro.guides.point import Point
from ltm_pyro.inference.around import Around
from ltm_pyro.inference.checks import guide_of
from ltm_pyro.programs.densities import draw_latents, prior_of
from ltm_pyro.programs.handlers import DOCUMENTS, is_thoughts
from ltm_pyro.programs.reading import ROWS, Site, Sites, guide_sites, same_image
from ltm_pyro.programs.support import the_reals
from ltm_pyro.seeds import Noise, seeded

MakeGuide = Callable[..., Guide]
"""A guide class, or a `functools.partial` of one: called with (thoughts, batch_size)."""
DRAWS = 64
"""Of the prior, that say where a site begins."""


class Beside(Around):
    """A guide, and beside it independent normals over the sites of the model that it leaves out.

    For each such site, of any event shape, on the reals that its support is an image of::

        q(u_d) = N(m_d + s_d loc_d, diag (s_d exp(log_variance_d / 2))^2)

    where m and s are median and spread of the prior's own draws of the site. So parameters begin at
    zero, where q is near the prior, and one rate suits sites of any scale.

    Args:
        inner: the guide.
        before: the sites that the model goes through before those of the guide.
        after: the others.
    """

    def __init__(self, inner: Guide, before: list[Site], after: list[Site]):
        super().__init__(inner)
        self.before, self.after = before, after
        self.own = [*before, *after]
        shapes = [(inner.batch_size, *site.shape) for site in self.own]
        self.loc = nn.ParameterList(torch.zeros(shape) for shape in shapes)
        self.log_variance = nn.ParameterList(torch.zeros(shape) for shape in shapes)
        self._start = [(torch.tensor(0.0), torch.tensor(1.0)) for _ in self.own]

    def forward(self, batch: Rows) -> Any:
        """Sample all sites in the model's order; returns what the guide returns."""
        self._sample(self.before, 0)
        returned = self.inner(batch)
        self._sample(self.after, len(self.before))
        return returned

    def _sample(self, sites: list[Site], first: int) -> None:
        if not sites:
            return
        with poutine.block(hide=[DOCUMENTS]):  # the guide's own plate goes by that name
            plate = pyro.plate(DOCUMENTS, self.batch_size, dim=-1)
        with plate:
            for i, site in enumerate(sites, first):
                middle, spread = self._start[i]
                loc = middle + spread * self.loc[i]
                scale = spread * (0.5 * self.log_variance[i]).exp()
                law = dist.Normal(loc, scale, validate_args=False)
                pyro.sample(site.name, law.to_event(len(site.shape)))

    @torch.no_grad()
    def start(self, model: Any, batch: Rows) -> None:
        """Learn from the prior where each site begins."""
        with Noise(0, batch.key).draw():
            drawn = draw_latents(prior_of(model), batch, DRAWS)
        for i, site in enumerate(self.own):
            u = drawn[site.name].expand(-1, self.batch_size, *site.shape)
            low, middle, high = u.quantile(torch.tensor([0.16, 0.5, 0.84]).to(u), 0)
            self._start[i] = (middle, (0.5 * (high - low)).clamp(min=1e-6))
        super().start(model, batch)

    def natural_gradient(self) -> None:
        """Multiply the gradients by the inverse Fisher matrix of q, in place."""
        super().natural_gradient()
        for loc, log_variance in zip(self.loc, self.log_variance, strict=True):
            to_natural(loc, log_variance)


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
        if not self.has_thoughts and _is_plain(cls):
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
                    + (" in real numbers" if not _plain(known) else "")
                )
            if not (_plain(site) or same_image(site.image, known.image)):
                raise InputError(
                    f"{whose}: site {site.name!r} ({site.law}) has the support {site.support}, the "
                    f"model's {known.support}: expected the same support, or the reals"
                )
            covered.add(site.name)
        return covered


def local_guide(make: Any, thoughts: Any, documents: int) -> Guide:
    """A guide over thoughts; none where there are none and it is the library's own default."""
    if thoughts is None and _is_plain(getattr(make, "func", make)):
        return NoGuide(None, documents)
    return guide_of(make, SimpleNamespace(thoughts=thoughts), documents)


def _is_plain(cls: Any) -> bool:
    """Whether a guide's class says nothing that normals over any sites would not do."""
    return cls is MeanField or (isinstance(cls, type) and issubclass(cls, AutoGuide))


def _plain(site: Site) -> bool:
    """Whether a site holds real numbers as they are."""
    return site.image is None or site.image is the_reals


def _listed(sites: Any) -> str:
    return ", ".join(site.name for site in sites)
