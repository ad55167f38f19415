"""What no model or guide may hold: sites and parameters with which its figures were no bounds."""

from typing import Any

from pyro.distributions import Delta, Unit

from ltm_pyro.errors import InputError
from ltm_pyro.programs.handlers import OWN, is_local
from ltm_pyro.programs.support import flat, support_of, unwrapped


def refused(kind: str, node: Any) -> str:
    """Why a site of this kind (`Site.kind`), as it stands in a trace, cannot be handled; or ""."""
    law, scale = node["infer"].get(OWN, node["fn"]), node["scale"]
    if isinstance(node["fn"], Unit):
        return (
            "is a factor: it adds to the log density what is no part of a likelihood; observe a "
            "site in place of it"
        )
    if not (scale == 1 if isinstance(scale, int | float) else bool((scale == 1).all())):
        return (
            "is scaled (poutine.scale, or a plate with a subsample): what is scored with it is no "
            "likelihood; give the KL a weight with Objective(beta=...), and rows to fit in batches"
        )
    if kind == "observed":
        return ""
    if node["mask"] is not None and node["mask"] is not True and kind != "discrete":
        return (
            "is masked (poutine.mask, or obs_mask): a density with a part left out is none, and "
            "what is scored with it no bound; leave out missing values with poutine.mask around an "
            "observed site; obs_mask is for discrete sites, whose missing values are summed out"
        )
    inner, support = unwrapped(law), flat(support_of(law))
    if isinstance(inner, Delta):
        return "is a point (Delta), without density: no bound can be made of it"
    if kind != "discrete" and support is not None and support.is_discrete:
        return (
            f"({type(inner).__name__}) has the discrete support {support}, whose values cannot be "
            "listed: expected a few, one number a site, as of Categorical or Bernoulli without "
            ".to_event"
        )
    if kind == "discrete" and not is_local(node):
        return "is discrete and stands outside the plate of documents: sum it out in the model"
    return ""


def check_parameters(trace: Any, whose: str) -> None:
    """Raises InputError for a parameter of Pyro's store, in the trace of a model or a guide."""
    for name, node in trace.nodes.items():
        if node["type"] == "param":
            raise InputError(
                f"{whose}: pyro.param {name!r} stands in Pyro's global store, where it would be "
                "neither trained nor saved with the model: keep it as a torch.nn.Parameter"
            )
