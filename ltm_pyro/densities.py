"""The former name of `ltm_pyro.programs.densities`, for programs written before 0.4."""

from ltm_pyro.programs.densities import *  # noqa: F403
