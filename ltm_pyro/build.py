"""Models and guides from a configuration, and the names of those made in Python."""

from ltm_pyro import guides
from ltm_pyro.config import Config, Named, Thoughts
from ltm_pyro.guides import Guide
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import LatentThoughtModel, priors
from ltm_pyro.models.priors import Prior
from ltm_pyro.registry import describe, find


def build_prior(named: Named, thoughts: Thoughts) -> Prior:
    """A prior by name, e.g. `Named("standard-normal")`, or by `package.module:Class`."""
    prior: Prior = find("prior", named, priors, Prior)(thoughts)
    return prior


def build_guide(named: Named) -> MakeGuide:
    """A guide class with its options bound, to be called with (thoughts, batch_size)."""
    return find("guide", named, guides, Guide)


def build_model(config: Config, seed: int | None = None) -> LatentThoughtModel:
    """The configuration's model, its weights drawn from `seed` (training's unless given)."""
    from ltm_pyro.seeds import seeded

    with seeded(config.training.seed if seed is None else seed):
        return LatentThoughtModel(config, build_prior(config.prior, config.thoughts))


def named_prior(prior: Prior) -> Named:
    """The name and options that `build_prior` would need."""
    return describe(prior, priors, Prior, given=("thoughts",))


def named_guide(guide: MakeGuide) -> Named:
    """The name and options that `build_guide` would need."""
    return describe(guide, guides, Guide, given=("thoughts", "batch_size"))
