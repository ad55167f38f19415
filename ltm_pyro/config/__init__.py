"""What a run is made of, as frozen dataclasses; `ltm_pyro.runs.config_json` saves them."""

from ltm_pyro.config.inference import Fast, Objective, Slow, Warm
from ltm_pyro.config.run import Config, Training
from ltm_pyro.config.sizes import Architecture, Named, Thoughts
from ltm_pyro.config.text import Data

__all__ = [
    "Architecture",
    "Config",
    "Data",
    "Fast",
    "Named",
    "Objective",
    "Slow",
    "Thoughts",
    "Training",
    "Warm",
]
