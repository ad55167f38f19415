"""Pyro's automatic guides, one for each document."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution, constraints
from pyro.infer import autoguide
from torch import Tensor, nn

from ltm_pyro.config import Thoughts
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.guides.base import Guide
from ltm_pyro.guides.blocks import Blocks
from ltm_pyro.names import imported
from ltm_pyro.options import Count, Positive, checked
from ltm_pyro.seeds import seeded


class Auto(Guide):
    """A Pyro AutoGuide for each document, over all of its thoughts.

    It takes `AutoNormal` and the AutoContinuous guides whose posterior is a normal or a flow of
    one: AutoDiagonalNormal, AutoMultivariateNormal, AutoLowRankMultivariateNormal, AutoIAFNormal,
    or a class of one's own. They are made on the thoughts of a single document, which start at
    mean zero, and side by side become one distribution. Their parameters live here, with the
    document as leading dimension; Pyro's parameter store is not used.

    The guides written for this purpose are faster: this one visits every document in turn. (In
    fp64, Pyro's AutoIAFNormal has a density at its own draws alone.)

    Args:
        thoughts: layers, slots and size of the thoughts.
        batch_size: number of documents.
        guide: the name of a class of `pyro.infer.autoguide`, or `package.module:Class`.
        init_scale: where standard deviations start; 1 unless given.
        rank: of AutoLowRankMultivariateNormal.
        hidden_dim: units in the one hidden layer of AutoIAFNormal's networks.
        num_transforms: of AutoIAFNormal.

    Raises:
        InputError: for a class that is not known or has no posterior of those kinds, or an option
            it does not take.
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        batch_size: int,
        guide: str = "AutoNormal",
        init_scale: Positive | None = None,
        rank: Count | None = None,
        hidden_dim: Count | None = None,
        num_transforms: Count | None = None,
    ):
        super().__init__(thoughts, batch_size)
        cls = _autoguide(guide)
        given = {
            "init_scale": init_scale,
            "rank": rank,
            "hidden_dim": None if hidden_dim is None else [hidden_dim],
            "num_transforms": num_transforms,
        }
        make = _bound(cls, {k: v for k, v in given.items() if v is not None}, thoughts)
        # Registered nowhere: what they hold are slices of this module's own parameters.
        self._each = tuple(make() for _ in range(max(1, batch_size)))
        # A parameter may stand in several places.
        places: dict[nn.Parameter, list[str]] = {}
        for name, parameter in self._each[0].named_parameters(remove_duplicate=False):
            places.setdefault(parameter, []).append(name)
        self.values = nn.ParameterList(
            torch.stack([each.get_parameter(names[0]).detach() for each in self._each])[:batch_size]
            for names in places.values()
        )
        self._places = list(places.values())

    @property
    def path_gradient(self) -> bool:  # type: ignore[override]
        """Not of flows: they are known at their own draws, and costly elsewhere."""
        return not isinstance(self._each[0], autoguide.AutoNormalizingFlow)

    def distribution(self) -> TorchDistribution:
        """Batch shape (documents,), event shape (layers, slots, dim)."""
        for names, values in zip(self._places, self.values, strict=True):
            for each, value in zip(self._each, values.unbind(), strict=False):
                for name in names:
                    path, _, leaf = name.rpartition(".")
                    each.get_submodule(path)._parameters[leaf] = value
        each = self._each[: self.batch_size]
        event = torch.Size(self.thoughts.shape)
        return side_by_side([_posterior(e, event.numel()) for e in each], event)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Auto":
        for each in self._each:
            for module in each.modules():
                for name, value in module._buffers.items():
                    module._buffers[name] = None if value is None else fn(value)
        return super()._apply(fn, recurse)


def _autoguide(name: str) -> type[Any]:
    known = {
        key: cls
        for key, cls in vars(autoguide).items()
        if inspect.isclass(cls) and issubclass(cls, autoguide.AutoGuide)
    }
    if ":" not in name and name not in known:
        raise unknown("autoguide", name, known)
    cls = imported(name) if ":" in name else known[name]
    usable = inspect.isclass(cls) and issubclass(
        cls, autoguide.AutoNormal | autoguide.AutoContinuous
    )
    if not usable or issubclass(cls, autoguide.AutoLaplaceApproximation):
        others = {"AutoDelta": "Point", "AutoLaplaceApproximation": "LaplaceApproximation"}
        hint = (
            f"use the guide {others[name]}"
            if name in others
            else "expected AutoNormal or an AutoContinuous"
        )
        raise InputError(f"autoguide {name} cannot be used for each document by itself: {hint}")
    return cls


def _bound(cls: type[Any], given: dict[str, Any], thoughts: Thoughts) -> Callable[[], Any]:
    """Makes one document's autoguide; the same each time."""
    takes = inspect.signature(cls.__init__).parameters
    for name in given:
        if name not in takes:
            raise InputError(f"autoguide {cls.__name__} takes no {name}")
    options = {"init_scale": 1.0, **given} if "init_scale" in takes else dict(given)
    if "init_loc_fn" in takes and not issubclass(cls, autoguide.AutoNormalizingFlow):
        options["init_loc_fn"] = autoguide.init_to_mean

    def one_document() -> None:
        normal = dist.Normal(torch.tensor(0.0), torch.tensor(1.0))
        pyro.sample("z", normal.expand(thoughts.shape).to_event(3))

    def make() -> Any:
        local = pyro.settings.context(module_local_params=True)
        with seeded(0), local, poutine.block(), torch.no_grad():
            try:
                made = cls(one_document, **options)
            except (TypeError, ValueError) as error:
                raise InputError(f"autoguide {cls.__name__}: {error}") from None
            made()
        return made

    return make


def _posterior(guide: Any, size: int) -> Any:
    """q of one document, event shape (size,)."""
    if isinstance(guide, autoguide.AutoNormal):
        loc, scale = guide.locs.z, guide.scales.z
        return dist.Normal(loc.reshape(size), scale.reshape(size), validate_args=False).to_event(1)
    return guide.get_posterior()


def side_by_side(parts: list[Any], event: torch.Size) -> TorchDistribution:
    """One distribution of batch shape (documents,) from those of single documents.

    Args:
        parts: each of event shape (size,) and no batch shape.
        event: the shape of a draw, of that size.

    Raises:
        InputError: for kinds of distributions other than normals and flows of them.
    """

    def stack(name: str) -> Tensor:
        return torch.stack([getattr(part, name) for part in parts])

    kind = parts[0]
    if isinstance(kind, dist.Independent) and isinstance(kind.base_dist, dist.Normal):
        bases = [part.base_dist for part in parts]
        loc = torch.stack([base.loc for base in bases]).unflatten(-1, event)
        scale = torch.stack([base.scale for base in bases]).unflatten(-1, event)
        return dist.Normal(loc, scale, validate_args=False).to_event(len(event))
    if isinstance(kind, dist.MultivariateNormal):
        normal = dist.MultivariateNormal(
            stack("loc")[:, None], scale_tril=stack("scale_tril")[:, None], validate_args=False
        )
        return Blocks(normal, event)
    if isinstance(kind, dist.LowRankMultivariateNormal):
        names = ("loc", "cov_factor", "cov_diag")
        parameters = (stack(name)[:, None] for name in names)
        return Blocks(dist.LowRankMultivariateNormal(*parameters, validate_args=False), event)
    if isinstance(kind, dist.TransformedDistribution):
        noise = side_by_side([part.base_dist for part in parts], event)
        return Flows(noise, [part.transforms for part in parts])
    raise InputError(
        f"autoguide with a posterior of kind {type(kind).__name__}: expected a normal, or a flow "
        "of a normal"
    )


class Flows(TorchDistribution):
    """Documents' own transforms of the same kind of noise.

    Args:
        noise: batch shape (*batch, documents), event shape (layers, slots, dim).
        transforms: of vectors of its size, a chain for each document.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.real, 3)
    has_rsample = True

    def __init__(self, noise: Any, transforms: list[list[Any]]):
        self.noise, self.transforms = noise, transforms
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(noise.batch_shape, noise.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Flows":
        """The same distribution with particles before its documents."""
        return Flows(self.noise.expand(torch.Size(batch_shape)), self.transforms)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """(*sample_shape, *batch, *event)."""
        noise = self.noise.rsample(torch.Size(sample_shape))
        log_prob, found = self.noise.log_prob(noise), []
        log_dets = []
        for x, chain in zip(noise.flatten(-3).unbind(-2), self.transforms, strict=True):
            log_det = torch.zeros_like(x[..., 0])
            for transform in chain:
                y = transform(x)
                log_det = log_det + _summed(transform.log_abs_det_jacobian(x, y), x)
                x = y
            found.append(x)
            log_dets.append(log_det)
        z = torch.stack(found, -2).unflatten(-1, self.event_shape)
        self._drawn = (z, log_prob - torch.stack(log_dets, -1))
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """(*batch, *event) -> (*batch), nats; known already of a draw just made."""
        if self._drawn is not None and value is self._drawn[0]:
            return self._drawn[1]
        found, log_dets = [], []
        for y, chain in zip(value.flatten(-3).unbind(-2), self.transforms, strict=True):
            log_det = torch.zeros_like(y[..., 0])
            for transform in reversed(chain):
                x = transform.inv(y)
                log_det = log_det + _summed(transform.log_abs_det_jacobian(x, y), y)
                y = x
            found.append(y)
            log_dets.append(log_det)
        noise = torch.stack(found, -2).unflatten(-1, self.event_shape)
        return self.noise.log_prob(noise) - torch.stack(log_dets, -1)


def _summed(log_det: Tensor, x: Tensor) -> Tensor:
    """A transform's log-determinant of the whole vector, whether it gives it by element or not."""
    return log_det.sum(-1) if log_det.dim() == x.dim() else log_det
