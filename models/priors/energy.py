"""A standard normal tilted by a learned energy, its constant bounded from the safe side."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le, Lt
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ltm_pyro.config import Thoughts
from ltm_pyro.errors import NotFinite
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.options import Count, Positive, Whole, checked
from ltm_pyro.seeds import seeded

Draws = Annotated[int, Ge(2), Le(2**24)]

LARGEST_BOUND = 5.0
"""Rejection takes up to exp(2 bound) proposals a draw: 22,000 here."""

PROPOSED_AT_ONCE = 1 << 22
"""Numbers in the largest array of proposals."""


@dataclass(frozen=True)
class Normaliser:
    """Two estimates of log C in nats: in expectation `lower` <= log C <= `upper`.

    `lower_error` and `upper_error` are their standard errors over draws.
    """

    lower: float
    upper: float
    lower_error: float
    upper_error: float


class EnergyTilt(Prior):
    """p(z) = N(z; 0, I) exp(f(z)) / C, the latent-space energy-based model of Pang et al. (2020).

    f(z) = bound tanh(v . tanh(W z + b)) is a small network whose last layer v starts at zero: the
    prior starts at N(0, I). For f is bounded, rejection from N(0, I) draws from p exactly, and so
    from every p_beta, proportional to N(0, I) exp(beta f).

    **The constant.** Figures that contain log p(z) remain bounds only if log C is not
    understated. E over p_b of exp(-(b - a) f) is C_a / C_b, so by Jensen -log of its mean over
    exact draws is in expectation at least log C_b / C_a; the sum over the steps 0 = beta_0 < ... <
    beta_T = 1 is in expectation at least log C. That is the reverse chain of annealed importance
    sampling (Grosse et al. 2015) with a perfect sampler in place of its transitions. `log_prob`
    uses this value, drawn from `seed` anew whenever the weights have changed. Its error is one
    number for all documents, which no spread over documents or draws of z shows: `constant_error`
    gives it, and figures that hold log p(z) have it in their errors.

    **Its gradient** is E_p[grad f] (contrastive), estimated with `chains` negative draws, other
    ones at each call, and only where the parameters require a gradient.

    Args:
        thoughts: shape of z.
        bound: largest |f|, nats; less than 5, since rejection takes up to exp(2 bound) proposals.
        hidden: units of the network.
        draws: exact draws at each temperature, for the constant.
        temperatures: T, steps to the constant; with more steps it is tighter.
        negatives: "rejection", exact negative draws and so an unbiased gradient, or "langevin", a
            short run from N(0, I), as in the paper.
        chains: how many negative draws.
        langevin_steps: length of that run.
        step: its step size s, in z + s grad log p(z) + sqrt(2 s) noise.
        seed: of the draws for the constant.
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        bound: Annotated[Positive, Lt(LARGEST_BOUND)] = 3.0,
        hidden: Count = 64,
        draws: Draws = 4096,
        temperatures: Count = 4,
        negatives: Literal["rejection", "langevin"] = "rejection",
        chains: Draws = 256,
        langevin_steps: Count = 20,
        step: Positive = 0.1,
        seed: Whole = 0,
    ):
        super().__init__(thoughts)
        self.bound, self.hidden, self.seed = bound, hidden, seed
        self.draws, self.temperatures = draws, temperatures
        self.negatives, self.chains = negatives, chains
        self.langevin_steps, self.step = langevin_steps, step
        self.first = nn.Linear(thoughts.count * thoughts.dim, hidden)
        self.last = nn.Linear(hidden, 1, bias=False)  # a constant added to f has no effect
        nn.init.zeros_(self.last.weight)
        self._known: tuple[list[Tensor], Normaliser] | None = None

    def distribution(self) -> TorchDistribution:
        """Event shape (layers, slots, dim)."""
        return _Tilted(self)

    def tilt(self, z: Tensor) -> Tensor:
        """f(z), nats: the event dimensions of z (*batch, layers, slots, dim) are taken up."""
        return self._tilt_of(self.first(z.flatten(-3)))

    def _tilt_of(self, inputs: Tensor) -> Tensor:
        score: Tensor = self.last(inputs.tanh())
        return self.bound * score.squeeze(-1).tanh()

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z; 0, I) + f(z) - (upper bound of log C), nats, shape (*batch)."""
        normal = -0.5 * (z.square() + math.log(2 * math.pi)).flatten(-3).sum(-1)
        found = normal + self.tilt(z) - self.log_constant()
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters()):
            log_c = self.tilt(self._negative_draws()).mean()
            found = found - (log_c - log_c.detach())  # 0, with the gradient of -log C
        return found

    def log_constant(self) -> float:
        """The upper bound of log C that `log_prob` uses, computed again for other weights."""
        return self._normaliser().upper

    def constant_error(self) -> float:
        """Standard error of `log_constant`, nats; figures that hold log p(z) add it to theirs."""
        return self._normaliser().upper_error

    def constant_gap(self) -> tuple[float, float]:
        """From the lower end of log C to the upper one, which `log_prob` uses."""
        ends = self._normaliser()
        return max(ends.upper - ends.lower, 0.0), ends.lower_error

    def _normaliser(self) -> Normaliser:
        # The weights are compared, not their version counters: those miss edits through `.data`.
        weights = [p.detach() for p in self.parameters()]
        if self._known is None or not all(map(_same, weights, self._known[0])):
            kept = [weight.clone() for weight in weights]
            self._known = (kept, self.log_normaliser())
        return self._known[1]

    @torch.no_grad()
    @checked
    def log_normaliser(self, draws: Draws | None = None, seed: Whole | None = None) -> Normaliser:
        """log C from both sides, from exact draws at each temperature.

        Args:
            draws: at each temperature; the prior's own number unless given.
            seed: the prior's own unless given.
        """
        count = self.draws if draws is None else draws
        step = 1 / self.temperatures
        _, inside = self._along_the_rows()
        with seeded(self.seed if seed is None else seed):
            drawn = (self._accepted(inside, count, t * step) for t in range(self.temperatures + 1))
            tilts = [step * self._tilt_along(along, inside).double() for along in drawn]
        up = [_log_mean_exp(f) for f in tilts[:-1]]
        down = [_log_mean_exp(-f) for f in tilts[1:]]
        return Normaliser(
            sum(value for value, _ in up),
            -sum(value for value, _ in down),
            math.hypot(*(error for _, error in up)),
            math.hypot(*(error for _, error in down)),
        )

    @torch.no_grad()
    def exact_draws(self, count: int, temperature: float = 1.0) -> Tensor:
        """Independent draws from N(0, I) exp(temperature f) / C, (count, layers, slots, dim).

        By rejection from N(0, I), from torch's global generators. f sees z only along the rows of
        W, so it is there that proposals are made; across them z is normal.

        Raises:
            NotFinite: if f is not finite.
        """
        basis, inside = self._along_the_rows()
        along = self._accepted(inside, count, temperature)
        z = self._noise(count).flatten(1)
        return (z + (along - z @ basis) @ basis.T).unflatten(1, self.shape)

    def _along_the_rows(self) -> tuple[Tensor, Tensor]:
        """W = (basis @ inside)', basis (D, k) orthonormal and inside (k, hidden), k <= hidden."""
        basis, inside = torch.linalg.qr(self.first.weight.T)
        return basis, inside

    def _tilt_along(self, along: Tensor, inside: Tensor) -> Tensor:
        return self._tilt_of(along @ inside + self.first.bias)

    def _accepted(self, inside: Tensor, count: int, temperature: float) -> Tensor:
        """Exact draws of basis' z, (count, k)."""
        # tanh units lie within 1, so f lies below this, at first much lower than `bound`.
        ceiling = self.bound * self.last.weight.abs().sum().tanh()
        most = max(1, PROPOSED_AT_ONCE // self.hidden)
        kept: list[Tensor] = []
        proposed, accepted = 0, 0
        while accepted < count:
            rate = (accepted + 1) / (proposed + 1)
            n = min(most, int(1.1 * (count - accepted) / rate) + 16)
            along = torch.randn(n, len(inside), dtype=inside.dtype, device=inside.device)
            f = self._tilt_along(along, inside)
            if not torch.isfinite(f).all():
                raise NotFinite("the energy of the prior is not finite: its weights are not")
            uniform = torch.rand(n, dtype=f.dtype, device=f.device)
            kept.append(along[uniform.log() < temperature * (f - ceiling)])
            proposed, accepted = proposed + n, accepted + len(kept[-1])
        return torch.cat(kept)[:count]

    @checked
    def langevin_draws(self, count: Count, steps: Count | None = None) -> Tensor:
        """States of `count` chains from N(0, I) after some steps, (count, layers, slots, dim).

        Langevin steps with a Metropolis test (MALA, Roberts & Tweedie 1996), so that more steps
        come nearer to p and the step size adds no error. From torch's global generators.
        """
        z = self._noise(count)
        log_p, drift = self._drift(z)
        for _ in range(self.langevin_steps if steps is None else steps):
            noise = self._noise(count)
            new = z + self.step * drift + math.sqrt(2 * self.step) * noise
            new_log_p, new_drift = self._drift(new)
            back = (z - new - self.step * new_drift) / math.sqrt(2 * self.step)
            log_ratio = new_log_p - log_p + 0.5 * (noise.square() - back.square()).sum((1, 2, 3))
            accept = torch.rand_like(log_ratio).log() < log_ratio
            where = accept[:, None, None, None]
            z, drift = torch.where(where, new, z), torch.where(where, new_drift, drift)
            log_p = torch.where(accept, new_log_p, log_p)
        return z

    def _drift(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(z) up to a constant, and its gradient."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_p = self.tilt(z) - 0.5 * z.square().sum((1, 2, 3))
            (gradient,) = torch.autograd.grad(log_p.sum(), z)
        return log_p.detach(), gradient

    def _negative_draws(self) -> Tensor:
        # From a seed drawn from the caller's generator: other ones at each call, and however many
        # numbers rejection takes, what the caller draws next is the same.
        with seeded(int(torch.randint(2**31, ()))):
            if self.negatives == "rejection":
                return self.exact_draws(self.chains)
            return self.langevin_draws(self.chains)

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, *self.shape, dtype=self.anchor.dtype, device=self.anchor.device)


class _Tilted(TorchDistribution):
    """An `EnergyTilt` as a distribution, drawn from by rejection."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.real, 3)
    has_rsample = False

    def __init__(self, prior: EnergyTilt, batch_shape: tuple[int, ...] = ()):
        self.prior = prior
        super().__init__(torch.Size(batch_shape), torch.Size(prior.shape), validate_args=False)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> "_Tilted":
        return _Tilted(self.prior, batch_shape)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return self.prior.exact_draws(shape[:-3].numel()).view(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(value.shape[:-3], self.batch_shape)
        return self.prior.log_prob(value.expand(*batch, *self.event_shape))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def _log_mean_exp(x: Tensor) -> tuple[float, float]:
    """log mean exp(x), and its standard error."""
    value = x.logsumexp(0) - math.log(len(x))
    return float(value), float((x - value).exp().std() / math.sqrt(len(x)))
