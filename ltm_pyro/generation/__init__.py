"""Text from thoughts."""

from ltm_pyro.generation.choosing import Sampling
from ltm_pyro.generation.rethinking import Rethought, rethink
from ltm_pyro.generation.texts import Generation, generate

__all__ = ["Generation", "Rethought", "Sampling", "generate", "rethink"]
