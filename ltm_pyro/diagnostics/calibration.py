"""Whether the guide is calibrated: on documents the model wrote, true thoughts rank uniformly."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from ltm_pyro.bounds.estimate import how
from ltm_pyro.bounds.importance import AT_ONCE
from ltm_pyro.bounds.weights import Array
from ltm_pyro.config import Fast
from ltm_pyro.diagnostics.functionals import (
    Draws,
    Functional,
    default_functionals,
    evaluate_functional,
)
from ltm_pyro.diagnostics.ranks import Shape, UniformRanks, rank_shape
from ltm_pyro.display.pictures import GREY, SERIES, axis_or_new, dress, write_on, zero
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models.base import TextModel
from ltm_pyro.options import Count, Share, Whole, checked
from ltm_pyro.programs.densities import blank, draw_latents, needs_thoughts, simulate
from ltm_pyro.programs.proper import check_prior_proper
from ltm_pyro.seeds import Noise, Stream, derive


@dataclass(frozen=True)
class Calibration:
    """Ranks of true values among the guide's draws, for each functional of z.

    Attributes:
        ranks: how many of `draws` lie below the true value, (documents,) for each functional.
        draws: the guide's draws for each document; ranks go from 0 to this.
        level: probability with which a calibrated guide stays inside all envelopes.
        points: the fractions (r + 1) / (draws + 1), r = 0 ... draws - 1, shape (draws,).
        lower, upper: envelope of ECDF(r) - points, shape (draws,).
        p_value: of uniformity, for each functional by itself.
        outside: whether a functional's ECDF leaves the envelope.
        protocol: in words, how it was made.
    """

    ranks: Mapping[str, NDArray[np.int64]]
    draws: int
    level: float
    points: Array
    lower: Array
    upper: Array
    p_value: Mapping[str, float]
    outside: Mapping[str, bool]
    protocol: str

    @classmethod
    def from_ranks(
        cls,
        ranks: Mapping[str, NDArray[np.int64]],
        draws: int,
        level: float = 0.95,
        seed: int = 0,
        protocol: str = "",
    ) -> "Calibration":
        """Judge ranks, whoever made them: integers from 0 to `draws`, (documents,) each."""
        documents = len(next(iter(ranks.values())))
        uniform = UniformRanks(documents, draws, seed)
        # Bonferroni: the functionals are of the same documents and depend on one another.
        error = (1 - level) / len(ranks)
        lower, upper = uniform.envelope(error)
        return cls(
            ranks, draws, level, uniform.points, lower, upper,
            {name: uniform.p_value(r) for name, r in ranks.items()},
            {name: uniform.outside(r, error) for name, r in ranks.items()},
            protocol,
        )  # fmt: skip

    @property
    def difference(self) -> dict[str, Array]:
        """ECDF of the ranks minus that of uniform ones, (draws,) for each functional."""
        levels = np.arange(self.draws)
        return {
            name: (r[:, None] <= levels).mean(0) - self.points for name, r in self.ranks.items()
        }

    @property
    def shapes(self) -> dict[str, Shape]:
        """Bias and spread of the ranks, for each functional."""
        return {name: rank_shape(r, self.draws) for name, r in self.ranks.items()}

    @property
    def verdict(self) -> str:
        """In words what is miscalibrated and in which direction, with the evidence."""
        documents, worst = len(next(iter(self.ranks.values()))), min(self.p_value.values())
        where = (
            f"the simultaneous {self.level:.0%} envelope ({documents} simulated documents, "
            f"{self.draws} draws, smallest single p-value {worst:.2g})"
        )
        bad = [name for name, outside in self.outside.items() if outside]
        if not bad:
            return (
                f"No miscalibration seen: all {len(self.ranks)} functionals lie inside {where}. "
                "This is about marginals, averaged over documents of the model's own."
            )
        listed = "; ".join(f"{name}: {self.shapes[name]}" for name in bad)
        return f"Miscalibrated: {len(bad)} of {len(self.ranks)} functionals leave {where}. {listed}"

    def to_frame(self) -> pd.DataFrame:
        """A row for each functional."""
        shapes = self.shapes
        return pd.DataFrame.from_dict(
            {
                name: {
                    "p_value": self.p_value[name],
                    "outside": self.outside[name],
                    "bias": shapes[name].bias,
                    "bias_error": shapes[name].bias_error,
                    "spread": shapes[name].spread,
                    "spread_error": shapes[name].spread_error,
                    "shape": str(shapes[name]),
                }
                for name in self.ranks
            },
            orient="index",
        ).rename_axis("functional")

    def __str__(self) -> str:
        return self.verdict

    __repr__ = __str__


@checked
@with_gradients
def calibrate(
    model: TextModel,
    lengths: Tensor,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    draws: Count = 99,
    functionals: Mapping[str, Functional] | None = None,
    *,
    columns: Mapping[str, Tensor] | None = None,
    level: Share = 0.95,
    seed: Whole = 0,
    chunk: Count = 64,
) -> Calibration:
    """Variational simulation-based calibration (Yao et al. 2018, section 3; Talts et al. 2018).

    The model draws thoughts and a document for each length; a guide is fitted to each document;
    the true value of a functional is ranked among the guide's draws. Were the guide exact, ranks
    would be uniform. Too narrow a guide gives a U shape, too wide a one a cap, a biased one a
    slope. Envelopes are simultaneous over ranks (Säilynoja et al. 2022) and functionals.

    Args:
        model: what simulates; nothing is said of other documents than its own.
        lengths: tokens of each document, shape (documents,); a hundred or more say something.
        guide, fast: what is judged: the guide as this fast loop fits it.
        draws: of the guide, for each document.
        functionals: what is ranked, by name; by default the first coordinates of z, its sum of
            squares, and log p(x | z).
        columns: columns of each document, (documents,), for a prior that reads them.
        level: probability with which a calibrated guide stays inside all envelopes.
        seed: where every draw comes from.
        chunk: documents fitted at once; bounds the memory.

    Raises:
        InputError: for a model without latents, no documents or draws, a level outside (0, 1), or
            a functional of the wrong shape.
        NotFinite: for a functional that is NaN, naming it.
    """
    needs_thoughts(model, ", so no guide to calibrate")
    if lengths.dim() != 1 or not len(lengths) or int(lengths.min()) < 1:
        raise InputError(
            f"lengths has shape {tuple(lengths.shape)} and values {lengths.flatten()[:8].tolist()}:"
            " expected tokens of each document, 1 or more, shape (documents,)"
        )
    if functionals is not None and not functionals:
        raise InputError("functionals is empty: name at least one, or leave it out")
    fast = fast or Fast()
    lengths = lengths.to(next(model.parameters()).device)
    check_prior_proper(model, blank(lengths, columns))
    rows, latents = simulate(model, lengths, derive(seed, Stream.DOCUMENTS), columns)
    if functionals is None:
        like = Draws(model, latents, rows, Noise(seed, rows.key))
        functionals = default_functionals(tuple(like.z.shape[2:]))
    posterior = infer(model, rows, guide, fast, derive(seed, Stream.FITS), chunk)
    below = {name: np.zeros(len(rows), np.int64) for name in functionals}
    equal = {name: np.zeros(len(rows), np.int64) for name in functionals}
    for i, (fitted, part) in enumerate(posterior.chunks):
        here = slice(i * chunk, i * chunk + len(part))
        of_truth = posterior.noise(part, seed, Stream.TRUE_VALUES)
        true = Draws(model, {site: z[:, here] for site, z in latents.items()}, part, of_truth)
        targets = {name: evaluate_functional(name, f, true) for name, f in functionals.items()}
        noise = posterior.noise(part, seed, stream=2)
        of_values = posterior.noise(part, seed, Stream.VALUES)
        for start in range(0, draws, AT_ONCE):
            with torch.no_grad(), noise.draw():
                drawn = draw_latents(fitted, part, min(AT_ONCE, draws - start))
            some = Draws(model, drawn, part, of_values)
            for name, f in functionals.items():
                values = evaluate_functional(name, f, some)
                below[name][here] += (values < targets[name]).sum(0)
                equal[name][here] += (values == targets[name]).sum(0)
    ties = np.random.default_rng(
        derive(seed, Stream.TIES)
    )  # a true value among equals has a random place
    ranks = {name: below[name] + ties.integers(0, equal[name] + 1) for name in functionals}
    protocol = f"{how(guide, fast)}; {len(rows)} simulated documents, {draws} draws"
    return Calibration.from_ranks(ranks, draws, level, derive(seed, Stream.BANDS), protocol)


def plot_calibration(calibration: Calibration, ax: Axes | None = None) -> Axes:
    """ECDF of the ranks minus the uniform one, for each functional, in the envelope.

    Those that stay inside are grey; those that leave it are named, the worst seven of them, where
    they are the farthest from zero.
    """
    ax, points = axis_or_new(ax), calibration.points
    ax.fill_between(
        points, calibration.lower, calibration.upper, color="0.9", step="post", linewidth=0
    )
    zero(ax)
    differences = calibration.difference
    farthest = {name: int(np.abs(found).argmax()) for name, found in differences.items()}
    worst = sorted(
        (name for name, outside in calibration.outside.items() if outside),
        key=lambda name: -float(np.abs(differences[name]).max()),
    )
    like = dict(zip(worst, SERIES, strict=False))
    ax.set_xlim(0, 1)
    for name, difference in differences.items():
        color, marker = like.get(name, (GREY, ""))
        ax.step(points, difference, where="post", color=color, linewidth=1.2)
        if name in like:
            place = farthest[name]
            x, y = float(points[place]), float(difference[place])
            ax.plot(x, y, marker, color=color, markersize=5)
            write_on(ax, name, x, y, color)
    inside = len(differences) - len(worst)
    return dress(
        ax, "Calibration of the guide", "rank of the truth among the guide's draws, a fraction",
        "ECDF less uniform, a fraction",
        f"grey: {inside} of {len(differences)} functionals inside; shaded: all inside with "
        f"{calibration.level:.0%} if calibrated",
    )  # fmt: skip
