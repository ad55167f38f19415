"""The commands of `ltm`, each a dataclass whose fields are its options."""

from ltm_pyro.commands.evaluate import Evaluate
from ltm_pyro.commands.generate import Generate
from ltm_pyro.commands.info import Info
from ltm_pyro.commands.train import Demo, Train, check_options

__all__ = ["Demo", "Evaluate", "Generate", "Info", "Train", "check_options"]
