"""Text from thoughts."""

from ltm_pyro.generation.choosing import Sampling
from ltm_pyro.generation.texts import Generation, generate

__all__ = ["Generation", "Sampling", "generate"]
