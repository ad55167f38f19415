"""The mixture of learned pseudo-posteriors."""

import math

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.models.priors.mixture import NormalMixture, spread_out
from ltm_pyro.options import Count, Share, checked
from ltm_pyro.seeds import generator

SMALLEST_VARIANCE = 1e-4


class VampPrior(Prior):
    """An equal-weight mixture of pseudo-posteriors, after Tomczak & Welling (2018).

    Their prior is the average of q(z | u_k) over learned pseudo-inputs u_k, which an encoder turns
    into normals. There is no encoder here, so **the normals themselves are learned**: `loc` and
    `log_variance` (components, layers, slots, dim), the parameters of a mean-field guide. What is
    lost is the tie between prior and posterior; what is kept is the shape of the aggregated
    posterior, which `start_from` places the components at.

    Args:
        thoughts: shape of z.
        components: number of pseudo-posteriors.
        spread: as in `Mixture`, where they lie until `start_from` is called.
    """

    @checked
    def __init__(self, thoughts: Thoughts, components: Count = 32, spread: Share = 0.5):
        super().__init__(thoughts)
        self.components, self.spread = components, spread
        loc, scale = spread_out(components, self.shape, spread)
        self.loc = nn.Parameter(loc)
        self.log_variance = nn.Parameter(torch.full_like(loc, 2 * math.log(scale)))

    def distribution(self) -> TorchDistribution:
        """The mixture, of event shape (layers, slots, dim)."""
        equal = self.anchor.expand(self.components)
        return NormalMixture(equal, self.loc, (0.5 * self.log_variance).exp())

    def start_from(self, loc: Tensor, log_variance: Tensor | None = None, seed: int = 0) -> None:
        """Place the components at documents' posteriors, chosen far apart (k-means++ seeding).

        Args:
            loc: means of fitted posteriors, or draws from them: (N, layers, slots, dim).
            log_variance: the posteriors' log variances, of the same shape. Without it, each
                dimension's variance is the mean square distance of the draws that were not chosen
                from the chosen one that is nearest: one variance for all components.
            seed: which of them are chosen.

        Raises:
            InputError: for wrong shapes, too few of them, or values that are not finite.
        """
        least = self.components + (log_variance is None)
        self._check("loc", loc, least)
        points = loc.detach().to("cpu", torch.float64)
        chosen, nearest = _far_apart(points.flatten(1), self.components, seed)
        if log_variance is None:
            rest = torch.ones(len(points), dtype=torch.bool)
            rest[chosen] = False
            away = points[rest] - points[chosen][nearest[rest]]
            variance = away.square().mean(0).clamp(min=SMALLEST_VARIANCE)
            logs = variance.log().expand(self.components, *self.shape)
        else:
            self._check("log_variance", log_variance, len(loc))
            logs = log_variance.detach().to("cpu", torch.float64)[chosen]
        with torch.no_grad():
            self.loc.copy_(points[chosen])
            self.log_variance.copy_(logs)

    def _check(self, name: str, value: Tensor, least: int) -> None:
        if value.shape[1:] != self.shape or len(value) < least:
            raise InputError(
                f"{name} has shape {tuple(value.shape)}: expected ({least} or more, "
                f"{', '.join(map(str, self.shape))}) for {self.components} components"
            )
        if not torch.isfinite(value).all():
            raise InputError(f"{name} holds NaN or infinity: expected finite numbers")


def _far_apart(points: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of `count` points, each drawn in proportion to its squared distance from the others.

    The seeding of k-means++ (Arthur & Vassilvitskii 2007). Also returns which chosen one is
    nearest to each point, (N,).
    """
    source = generator(seed)
    chosen = [int(torch.randint(len(points), (), generator=source))]
    distance = (points - points[chosen[0]]).square().sum(1)
    nearest = torch.zeros(len(points), dtype=torch.long)
    for place in range(1, count):
        weights = distance.clone()
        weights[chosen] = 0.0
        if weights.sum() == 0:  # all that are left coincide with a chosen one
            weights = torch.ones_like(weights)
            weights[chosen] = 0.0
        chosen.append(int(torch.multinomial(weights, 1, generator=source)))
        new = (points - points[chosen[-1]]).square().sum(1)
        nearest[new < distance] = place
        distance = torch.minimum(distance, new)
    return torch.tensor(chosen), nearest
