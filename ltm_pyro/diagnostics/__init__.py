"""Looking at inference: what the fast loop and the slow one did, and what thoughts carry."""

from ltm_pyro.diagnostics.calibration import Calibration, calibrate, plot_calibration
from ltm_pyro.diagnostics.compute import compute_curve, plot_compute_curve
from ltm_pyro.diagnostics.inner_loop import (
    Convergence,
    convergence,
    inner_loop_frame,
    plot_inner_loop,
)
from ltm_pyro.diagnostics.nuts import NutsComparison, compare_with_nuts, plot_nuts
from ltm_pyro.diagnostics.outer_loop import Plateau, plot_gains, plot_training, smoothed
from ltm_pyro.diagnostics.quality import (
    GuideQuality,
    guide_quality,
    pareto_khat,
    plot_guide_quality,
)
from ltm_pyro.diagnostics.surprising import Surprise, surprise
from ltm_pyro.diagnostics.texts import TextChecks, plot_text_checks, text_checks
from ltm_pyro.diagnostics.thoughts import ThoughtUse, plot_ablation, plot_kl, thought_use

__all__ = [
    "Calibration",
    "Convergence",
    "GuideQuality",
    "NutsComparison",
    "Plateau",
    "Surprise",
    "TextChecks",
    "ThoughtUse",
    "calibrate",
    "compare_with_nuts",
    "compute_curve",
    "convergence",
    "guide_quality",
    "inner_loop_frame",
    "pareto_khat",
    "plot_ablation",
    "plot_calibration",
    "plot_compute_curve",
    "plot_gains",
    "plot_guide_quality",
    "plot_inner_loop",
    "plot_kl",
    "plot_nuts",
    "plot_text_checks",
    "plot_training",
    "smoothed",
    "surprise",
    "text_checks",
    "thought_use",
]
