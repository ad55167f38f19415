"""A normalising flow."""

import functools
import importlib
from typing import Any, Literal

import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import ReshapeTransform, constraints

from ltm_pyro.config import Thoughts
from ltm_pyro.errors import InputError
from ltm_pyro.models.priors.base import Prior
from ltm_pyro.options import Count, checked

BINS = 8
REACH = 5.0
"""Splines have `BINS` pieces within [-REACH, REACH]."""


class Flow(Prior):
    """A learned normalising flow from N(0, I) to the flattened z, by zuko.

    Every transformation starts at the identity, so the prior starts at N(0, I). Splines act
    within [-5, 5] and leave what is further out as it is. The masks of its networks hold some D^2
    numbers, so D is to be in the hundreds, a few thousand at most.

    Args:
        thoughts: shape of z, of D numbers in all.
        transforms: how many transformations, in turn from the first dimension to the last and back.
        hidden: units in each of the two hidden layers of a transformation's network.
        kind: "nsf", rational-quadratic splines (Durkan et al. 2019), or "maf", affine
            (Papamakarios et al. 2017).
        autoregressive: let each dimension depend on all before it. A draw then takes D passes
            through each network, a density one. Otherwise half of the dimensions depend on the
            other half (coupling; Dinh et al. 2017), and a draw takes two passes.

    Raises:
        InputError: if zuko is not installed.
    """

    @checked
    def __init__(
        self,
        thoughts: Thoughts,
        transforms: Count = 2,
        hidden: Count = 64,
        kind: Literal["nsf", "maf"] = "nsf",
        autoregressive: bool = False,
    ):
        super().__init__(thoughts)
        self.transforms, self.hidden = transforms, hidden
        self.kind, self.autoregressive = kind, autoregressive
        self.size = thoughts.count * thoughts.dim
        flow = _zuko().flows.MAF(
            features=self.size,
            transforms=transforms,
            hidden_features=(hidden, hidden),
            passes=self.size if autoregressive else 2,
            **self._univariate(),
        )
        self.transform: Any = flow.transform  # what it learns; its base is constant
        for transform in self.transform.transforms:
            # One dimension has no network, only parameters.
            last = transform.hyper[-1] if hasattr(transform, "hyper") else transform
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def _univariate(self) -> dict[str, Any]:
        # Written out, for zuko's defaults changed in 1.5: a saved prior stays the same density.
        transforms = _zuko().transforms
        if self.kind == "maf":
            affine = functools.partial(transforms.MonotonicAffineTransform, slope=1e-3)
            return {"univariate": affine, "shapes": [(), ()]}
        spline = functools.partial(transforms.MonotonicRQSTransform, bound=REACH, slope=1e-3)
        return {"univariate": spline, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}

    def distribution(self) -> TorchDistribution:
        """Event shape (layers, slots, dim)."""
        zuko = _zuko()
        zero = self.anchor.expand(self.size)
        base = dist.Normal(zero, torch.ones_like(zero), validate_args=False).to_event(1)
        reshape = ReshapeTransform(torch.Size(self.shape), torch.Size([self.size]))
        shaped = zuko.transforms.ComposedTransform(reshape, self.transform())
        return _Flow(zuko.distributions.NormalizingFlow(shaped, base))


class _Flow(ZukoToPyro):
    """Has a support by name, which NUTS asks for, and draws by torch's methods too."""

    @constraints.dependent_property
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> "_Flow":
        return _Flow(self.dist.expand(torch.Size(batch_shape)))

    def rsample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        return self.dist.rsample(torch.Size(sample_shape))

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)


def _zuko() -> Any:
    try:
        for name in ("flows", "transforms", "distributions"):
            importlib.import_module(f"zuko.{name}")
        return importlib.import_module("zuko")
    except ImportError as error:
        raise InputError(
            f"the prior flow needs zuko ({error}): pip install 'ltm_pyro[flows]'"
        ) from None
