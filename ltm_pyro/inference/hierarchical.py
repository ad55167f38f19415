"""Sites outside the plate of documents, which all of them share: their guide, trained slowly.

The ELBO of a corpus of N documents is::

    sum_d E_q[log p(x_d, z_d | g) - log q(z_d)] - KL(q(g) || p(g))

A batch of B of them descends its own documents' part and B / N of that KL, so that the batches of
an epoch descend it once, and N / B of what a batch descends is, in expectation, the whole.
"""

import functools
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ltm_pyro.data.rows import Rows
from ltm_pyro.data.store import AnyRows
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Guide, Sampler
from ltm_pyro.guides.mean_field import MeanField
from ltm_pyro.guides.point import LaplaceApproximation, Point
from ltm_pyro.inference.around import Around
from ltm_pyro.inference.beside import DRAWS, middle_and_spread
from ltm_pyro.inference.covering import MakeGuide, local_guide
from ltm_pyro.programs.densities import draw_latents, prior_of
from ltm_pyro.programs.reading import ROWS, Sites
from ltm_pyro.seeds import seeded


class SharedNormal(nn.Module):
    """q(g): independent normals over sites that documents share, on the reals.

    It begins near the prior: at median and spread of its draws. Its parameters are in units of that
    spread, so that one rate suits sites of any scale.

    Args:
        model: the model.
        rows: rows that it can be traced on.

    Attributes:
        sites: the sites, by name.
    """

    undecayed = True

    def __init__(self, model: Any, rows: AnyRows):
        super().__init__()
        self.sites = Sites.of(model, rows).of_kind("shared")
        if not self.sites:
            raise InputError(
                f"{type(model).__name__} samples nothing outside the plate of documents: its guide "
                "is the local one alone"
            )
        some = rows[:ROWS].to(next(model.parameters()).device)
        with torch.no_grad(), seeded(0):
            drawn = draw_latents(prior_of(model), some, DRAWS)
        for i, site in enumerate(self.sites.values()):
            u = drawn[site.name].reshape(DRAWS, *site.shape)
            middle, spread = middle_and_spread(u)
            self.register_buffer(f"middle_{i}", middle)
            self.register_buffer(f"spread_{i}", spread)
        shapes = [site.shape for site in self.sites.values()]
        self.loc = nn.ParameterList(torch.zeros(shape).to(u) for shape in shapes)
        self.log_scale = nn.ParameterList(torch.zeros(shape).to(u) for shape in shapes)

    def forward(self) -> None:
        """Sample every site, each once for all documents."""
        for i, site in enumerate(self.sites.values()):
            law = dist.Normal(*self.moments(i), validate_args=False)
            pyro.sample(site.name, law.to_event(len(site.shape) - site.plates))

    def moments(self, i: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a site, on the reals, each of the site's shape."""
        middle, spread = self.get_buffer(f"middle_{i}"), self.get_buffer(f"spread_{i}")
        return middle + spread * self.loc[i], spread * self.log_scale[i].exp()

    @torch.no_grad()
    def quantiles(self, *shares: float) -> dict[str, Tensor]:
        """Quantiles of each number of each site, on its own support: (shares, *site), by name.

        `quantiles(0.025, 0.5, 0.975)` are a 95 % interval and the median. Of sites whose numbers
        are bound together (a simplex, an ordered vector) they are images of those on the reals.
        """
        found = {}
        for i, (name, site) in enumerate(self.sites.items()):
            mean, sd = self.moments(i)
            at = torch.tensor(shares, dtype=torch.float64)
            z = torch.special.ndtri(at).to(mean).reshape(-1, *[1] * mean.dim())
            values = mean + sd * z
            found[name] = values if site.image is None else site.image(values)
        return found

    def summary(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and standard deviation of each site, on the reals, by name; see `quantiles`."""
        pairs = zip(self.sites, map(self.moments, range(len(self.sites))), strict=True)
        return {name: (mean.detach(), sd.detach()) for name, (mean, sd) in pairs}


class Hierarchical(Around):
    """q(g) q(z | x): what documents share, and beside it a guide of each of them.

    `Hierarchical.of(model, rows=rows, local=MeanField)` makes one for `DualRateSVI`, `infer` and
    `evaluate`: q(g) is its shared module, trained in the slow step, saved with it.

    Figures of new documents average over q(g): they are bounds on -log of the predictive density
    p(x | corpus) = E_q(g)[p(x | g)]. A group that was never seen has its own sites' prior there, as
    far as q(g) was never moved from it.

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        local: what makes the guide of each document.
        shared: q(g), such as `SharedNormal`: a module that samples the sites when it is called.
    """

    def __init__(
        self, thoughts: Any, batch_size: int, local: MakeGuide = MeanField, shared: Any = None
    ):
        if shared is None:
            raise InputError(
                "Hierarchical needs q of what documents share: make it with "
                "Hierarchical.of(model, rows=rows)"
            )
        super().__init__(local_guide(local, thoughts, batch_size), shared)
        if isinstance(self.inner, Sampler | Point | LaplaceApproximation):
            raise InputError(
                f"{type(self.inner).__name__} knows nothing of what documents share, which the "
                "model samples before z: choose MeanField, or another family fitted by draws"
            )
        if self.inner.shared is not None:
            raise InputError(
                f"{type(self.inner).__name__} has a shared module of its own, beside q of what "
                "documents share: choose a guide without one, such as MeanField"
            )

    @classmethod
    def of(  # type: ignore[override]
        cls, model: Any, rows: AnyRows, local: MakeGuide = MeanField
    ) -> "functools.partial[Guide]":
        """This class, bound to a new q(g) of the model's shared sites."""
        make: Any = cls
        return functools.partial(make, local=local, shared=SharedNormal(model, rows))

    def forward(self, batch: Rows) -> Any:
        """Sample what documents share, then each document's; returns what the local guide does."""
        self.shared()
        return self.inner(batch)
