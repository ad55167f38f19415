"""Looking at inference: what the fast loop and the slow one did."""

from ltm_pyro.diagnostics.inner_loop import inner_loop_frame, plot_inner_loop
from ltm_pyro.diagnostics.outer_loop import plot_training

__all__ = ["inner_loop_frame", "plot_inner_loop", "plot_training"]
