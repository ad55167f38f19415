"""Laws on bounded or curved supports, carried to the reals where guides live."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import biject_to, constraints

from ltm_pyro.errors import InputError

ToSupport = Callable[[Tensor], Tensor]
TINY = 1e-8
"""Keeps the direction of a vector differentiable at zero."""


def on_the_reals(law: Any) -> tuple[Any, ToSupport]:
    """A law whose draws are real numbers, and the map from there to the support of the given one.

    A law on the reals stays as it is. Where the support is an interval, positive, or the like, the
    new law is that of the preimage under torch's bijection, Jacobian included. A simplex of K parts
    becomes K reals u: z = softmax(u), and what z leaves open, sum(u) / sqrt(K), is N(0, 1). An
    angle (von Mises) becomes two reals u, and z = u / |u|, its cosine and sine; what z leaves open,
    |u|, is as of two standard normals. So the mean over u of what reads z alone is that over z.

    Args:
        law: a distribution; a simplex in its last dimension, angles in its last event dimension.

    Raises:
        InputError: for a support that cannot be carried to the reals, such as a discrete one.
    """
    inner = unwrapped(law)
    if is_circular(law):
        return _Circles(law), _unit_vectors
    support = flat(support_of(law))
    if support is None or is_real(support):
        return law, the_reals
    if isinstance(support, type(constraints.simplex)):
        return _Softmax(law), _softmax
    try:
        bijection = biject_to(support_of(law))
    except NotImplementedError:
        raise InputError(
            f"a prior of kind {type(inner).__name__} has the support {support}, which cannot be "
            "carried to the reals, where guides live: expected a continuous distribution"
        ) from None
    return dist.TransformedDistribution(_unchecked(law), [bijection.inv]), bijection


def is_circular(law: Any) -> bool:
    """Whether a law is one of angles."""
    return isinstance(unwrapped(law), dist.VonMises | torch.distributions.VonMises)


def image_of(law: Any) -> ToSupport:
    """The map from the reals to the values of a site of this law: of angles, the angles."""
    return _angles if is_circular(law) else on_the_reals(law)[1]


def _angles(u: Tensor) -> Tensor:
    """The angles of pairs of reals, (..., 2 n) -> (..., n)."""
    pair = u.unflatten(-1, (-1, 2))
    return torch.atan2(pair[..., 1], pair[..., 0] + TINY)


def _unchecked(law: Any) -> Any:
    """The law without torch's look at values, which stops at those that rounding takes to an end
    of their support; their density is zero there."""
    part = law
    while part is not None:
        part._validate_args = False
        part = getattr(part, "base_dist", None)
    return law


def unwrapped(law: Any) -> Any:
    """What stands under `to_event`, `expand` and `mask`."""
    while isinstance(
        law, torch.distributions.Independent | dist.ExpandedDistribution | dist.MaskedDistribution
    ):
        law = law.base_dist
    return law


def support_of(law: Any) -> Any:
    """The support that a distribution declares; None if it declares none."""
    try:
        return law.support
    except NotImplementedError:
        return None


def flat(support: Any) -> Any:
    """A support without its dimensions of independence."""
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    return support


def is_real(support: Any) -> bool:
    """Whether a flat support is the real line."""
    return isinstance(support, type(constraints.real))


class _Carried(TorchDistribution):
    """A law on the reals made from another; `law` is the other one."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(self, law: Any, event_shape: torch.Size):
        self.law = law
        super().__init__(law.batch_shape, event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """Real tensors of the event's shape."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_Carried":
        """The same law with its batch broadcast."""
        return type(self)(self.law.expand(torch.Size(batch_shape)))  # type: ignore[call-arg]


class _Softmax(_Carried):
    """Of u with softmax(u) from a law on a simplex, and sum(u) / sqrt(K) from N(0, 1)."""

    def __init__(self, law: Any):
        super().__init__(law, law.event_shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """(*sample_shape, *batch, *event)."""
        parts = self.law.sample(torch.Size(sample_shape))
        log_parts = parts.clamp(min=torch.finfo(parts.dtype).tiny).log()
        along = torch.randn_like(parts[..., :1]) / math.sqrt(parts.shape[-1])
        return log_parts - log_parts.mean(-1, keepdim=True) + along

    def log_prob(self, value: Tensor) -> Tensor:
        """(*batch, *event) -> (*batch), nats."""
        size = value.shape[-1]
        # From K - 1 orthonormal coordinates of log z to z the volume changes by sqrt(K) prod z.
        volume = value.log_softmax(-1).sum(-1) + 0.5 * math.log(size)
        along = value.sum(-1) / math.sqrt(size)
        left = volume - 0.5 * (along.square() + math.log(2 * math.pi))
        for _ in self.event_shape[:-1]:
            left = left.sum(-1)
        return self.law.log_prob(_softmax(value)) + left


class _Circles(_Carried):
    """Of u in the plane with a direction from a law of angles, and |u|^2 a standard normal's."""

    def __init__(self, law: Any):
        event = law.event_shape
        if not event:
            raise InputError("angles stand in the event of a prior: add .to_event(3)")
        super().__init__(law, torch.Size([*event[:-1], 2 * event[-1]]))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """(*sample_shape, *batch, *event)."""
        angle = self.law.sample(torch.Size(sample_shape))
        length = torch.randn_like(angle).square() + torch.randn_like(angle).square()
        pair = torch.stack([angle.cos(), angle.sin()], -1) * length.sqrt()[..., None]
        return pair.flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*batch, *event) -> (*batch), nats."""
        pair = value.unflatten(-1, (-1, 2))
        angle = torch.atan2(pair[..., 1], pair[..., 0] + TINY)
        # With |u| from Rayleigh's law, its density |u| exp(-|u|^2 / 2) over the circle's length.
        radial = -0.5 * pair.square().flatten(-len(self.event_shape) - 1).sum(-1)
        return self.law.log_prob(angle) + radial


def the_reals(u: Tensor) -> Tensor:
    """The image of real numbers that are to stay as they are."""
    return u


def _softmax(u: Tensor) -> Tensor:
    return u.softmax(-1)


def _unit_vectors(u: Tensor) -> Tensor:
    pair = u.unflatten(-1, (-1, 2))
    return (pair / (pair.square().sum(-1, keepdim=True) + TINY).sqrt()).flatten(-2)
