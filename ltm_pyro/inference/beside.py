"""Normals beside a guide, over the sites that it leaves out; they begin near the prior."""

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ltm_pyro.data.rows import Rows
from ltm_pyro.guides import Guide
from ltm_pyro.guides.mean_field import to_natural
from ltm_pyro.inference.around import Around
from ltm_pyro.programs.densities import draw_latents, prior_of
from ltm_pyro.programs.handlers import DOCUMENTS
from ltm_pyro.programs.reading import Site
from ltm_pyro.seeds import Noise

DRAWS = 64
"""Of the prior, that say where a site begins."""


def middle_and_spread(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Median, and half of what lies between the 16th and 84th percentile, over the first dimension.

    Of a normal, mean and standard deviation; a law without moments has them too.
    """
    low, middle, high = draws.quantile(torch.tensor([0.16, 0.5, 0.84]).to(draws), 0)
    return middle, (0.5 * (high - low)).clamp(min=1e-6)


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
            self._start[i] = middle_and_spread(u)
        super().start(model, batch)

    def natural_gradient(self) -> None:
        """Multiply the gradients by the inverse Fisher matrix of q, in place."""
        super().natural_gradient()
        for loc, log_variance in zip(self.loc, self.log_variance, strict=True):
            to_natural(loc, log_variance)
