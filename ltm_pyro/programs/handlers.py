"""Handlers under which models and guides run: sites on the reals, at given latents, enumerated.

A latent site of any continuous support is run on the reals, where guides live: its law is carried
there (`support.on_the_reals`), a trace records the real numbers and their density, and the program
goes on with their image on the site's own support. A discrete latent site takes all its values at
once, each along a dimension of its own, left of particles and documents.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import Independent, Normal
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor

from ltm_pyro.errors import InputError
from ltm_pyro.programs.support import (
    ToSupport,
    flat,
    image_of,
    is_circular,
    is_real,
    on_the_reals,
    support_of,
)

DOCUMENTS = "documents"
"""The plate of documents, dim -1; particles are dim -2."""
OWN = "_ltm_law"
"""Where a trace keeps the law that a site had before it was carried to the reals."""
SITES = (
    "A prior and a guide need sites of the same names, or z on one side and z_0, z_1, ... on the "
    "other"
)


class OnTheReals(Messenger):
    """Runs latent sites of any continuous support on the reals."""

    def __init__(self) -> None:
        super().__init__()
        self._images: dict[str, ToSupport] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg):
            self._carry(msg)

    def _pyro_post_sample(self, msg: Any) -> None:
        # Outer handlers, such as a trace, come first: they have kept the real numbers.
        if self._images and msg["name"] in self._images:
            msg["value"] = self._images.pop(msg["name"])(msg["value"])

    def _carry(self, msg: Any) -> None:
        """Exchanges the law of a site for one on the reals, if it lives elsewhere."""
        name, law = msg["name"], msg["fn"]
        if type(law.base_dist if isinstance(law, Independent) else law) is Normal:
            return  # nearly every site; a look at supports takes longer
        kind = flat(support_of(law))
        if kind is None or kind.is_discrete or (is_real(kind) and not is_circular(law)):
            return
        if is_circular(law) and is_thoughts(name):
            return  # a prior gives half as many angles, carried by itself
        try:
            real, image = on_the_reals(law)[0], image_of(law)
        except InputError as error:
            raise InputError(f"site {name!r}: {error}") from None
        self._images[name] = image
        msg["fn"], msg["infer"] = real, {**msg["infer"], OWN: law}


class At(OnTheReals):
    """Gives latent sites their values, and enumerates discrete ones that have none.

    Observed sites stay as they are.

    Attributes:
        unused: latents that no site has taken.
    """

    def __init__(self, latents: Mapping[str, Tensor]):
        super().__init__()
        self.latents, self.unused = latents, set(latents)
        self._enumerated = 0

    def _pyro_sample(self, msg: Any) -> None:
        if not is_latent(msg):
            return
        name = msg["name"]
        if name not in self.latents and is_enumerable(msg["fn"]):
            msg["value"] = self._every_value(msg["fn"])
        else:
            msg["value"] = self._value(name)
            self._carry(msg)
        msg["done"] = True

    def _every_value(self, law: Any) -> Tensor:
        """(values, 1, ..., 1, 1, 1): those of a discrete site, along a dimension of its own."""
        values: Tensor = law.enumerate_support(expand=False)
        self._enumerated += 1
        return values.reshape(-1, *[1] * (1 + self._enumerated))

    def _value(self, site: str) -> Tensor:
        latents, layer = self.latents, layer_of(site)
        layers = [name for name in latents if layer_of(name) is not None]
        if site in latents:
            self.unused -= {site}
            return latents[site]
        if site == "z" and layers:
            self.unused -= set(layers)
            return torch.stack([latents[f"z_{i}"] for i in range(len(layers))], dim=-3)
        if layer is not None and "z" in latents and layer < latents["z"].shape[-3]:
            self.unused -= {"z"}
            return latents["z"][..., layer, :, :]
        raise InputError(
            f"no value for site {site!r}: the other side has {', '.join(latents) or 'no site'}. "
            f"{SITES}"
        )


class Unobserved(Messenger):
    """Hides what a program observes from handlers around it: what is left is its prior."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"]:
            msg["stop"] = True


def is_latent(msg: Any) -> bool:
    """Whether a sample site has a value to be found: not observed, no plate."""
    observed = msg["is_observed"] or msg["infer"].get("was_observed", False)
    return not (observed or isinstance(msg["fn"], _Subsample))


def is_enumerable(law: Any) -> bool:
    """Whether a law has a few discrete values that can be listed, one number each."""
    return bool(getattr(law, "has_enumerate_support", False)) and not law.event_shape


def layer_of(site: str) -> int | None:
    """The layer of a site `z_0`, `z_1`, ..., else None."""
    start, _, number = site.partition("_")
    return int(number) if start == "z" and number.isdecimal() else None


def is_thoughts(site: str) -> bool:
    """Whether a site is `z`, or one of `z_0`, `z_1`, ..."""
    return site == "z" or layer_of(site) is not None


def is_local(node: Any) -> bool:
    """Whether a site stands in the plate of documents."""
    return any(frame.name == DOCUMENTS for frame in node["cond_indep_stack"])
