"""The one style of all pictures."""

import itertools
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ltm_pyro.diagnostics import plot_gains, plot_training, smoothed
from ltm_pyro.display.pictures import (
    MEANING,
    MOST,
    SERIES,
    Named,
    axis_or_new,
    dress,
    name_lines,
    with_errors,
)
from ltm_pyro.errors import InputError
from ltm_pyro.experiments import fast_steps, width
from ltm_pyro.experiments.grids.tax_plot import plot_tax

from .dressed import dressed

ROOT = Path(__file__).parents[2]
PROTANOPIA = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]])  # fmt: skip
DEUTERANOPIA = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]])  # fmt: skip
"""In linear RGB (Machado, Oliveira & Fernandes 2009)."""
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(color, seen_by=None):
    """CIELAB of a colour, as a reader sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = linear if seen_by is None else (seen_by @ linear).clip(0, 1)
    f = np.cbrt(TO_XYZ @ linear / (TO_XYZ @ np.ones(3)))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", [None, PROTANOPIA, DEUTERANOPIA], ids=["all", "protan", "deutan"])
def test_seven_series_are_told_apart_by_colour_whoever_looks(eyes):
    assert len(SERIES) == MOST == 7
    for (one, _), (other, _) in itertools.combinations(SERIES, 2):
        assert np.linalg.norm(lab(one, eyes) - lab(other, eyes)) > 15  # a step that is just seen: 2
    assert len({marker for _, marker in SERIES}) == MOST  # and in a grey print
    assert len(set(MEANING.values())) == len(MEANING)


def test_an_error_that_is_not_known_has_no_bar():
    ax = Figure().subplots()
    with_errors(ax, [1, 2, 3], [1.0, 2.0, 3.0], [0.1, np.nan, np.inf], SERIES[0])
    bars = ax.containers[0].lines[2][0].get_segments()
    lengths = [float(np.ptp(bar[:, 1])) if len(bar) else np.nan for bar in bars]
    assert lengths[0] == pytest.approx(0.4)
    assert np.isnan(lengths[1:]).all()


def test_every_plot_takes_an_axis_and_is_looked_at_here():
    sources = [*(ROOT / "ltm_pyro").rglob("*.py"), *(ROOT / "models").rglob("*.py")]
    found = {
        name: signature
        for path in sources
        for name, signature in re.findall(r"def (plot_\w+)\((.*?)\) -> ", path.read_text(), re.S)
    }
    assert len(found) >= 13
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name, signature in found.items():
        assert "ax: Axes | None = None" in signature, name
        assert re.search(rf"dressed\(\s*(\w+\.)?{name}\(", tests), f"{name} is not tested"


def test_the_smoothed_bound_neither_lags_nor_leads():
    steps = np.arange(100)
    line = pd.DataFrame({"step": steps, "nats_per_token": 5 - 0.02 * steps})
    for window in (2, 9, 25, 1000):
        np.testing.assert_allclose(smoothed(line, window).nats_per_token, line.nats_per_token)
    source = np.random.default_rng(0)
    fall = 3 + 4 * np.exp(-steps / 10)
    frame = pd.DataFrame({"step": steps, "nats_per_token": fall + source.normal(0, 0.1, 100)})
    smooth = smoothed(frame, 9)
    apart = frame.nats_per_token - smooth.nats_per_token
    inside = np.abs(apart) < 1.2816 * smooth.spread
    assert 0.65 < inside.mean() < 0.95  # the band holds the data: 80 % of them
    assert len(smoothed(frame[:1])) == 1


def test_what_thoughts_gain_is_drawn_with_its_paired_error():
    log = [
        {"step": s, "nats_per_token": 5 - s / 100, "seconds": 1.0}
        | ({"held_out_elbo": 5.0, "held_out_standard_error": 0.2, "held_out_prior": 5.1,
            "held_out_baseline": 5.3, "held_out_earned": 0.1,
            "held_out_earned_standard_error": 0.01, "held_out_tax": -0.3,
            "held_out_tax_standard_error": 0.02} if s % 10 == 0 else {})
        for s in range(1, 31)
    ]  # fmt: skip
    ax = dressed(plot_gains(log, Figure().subplots()))
    prior, control = (bar.lines for bar in ax.containers)
    assert list(prior[0].get_ydata()) == [0.1] * 3
    assert list(control[0].get_ydata()) == [0.3] * 3
    for lines, error in ((prior, 0.01), (control, 0.02)):
        (low, high), *_ = (segment[:, 1] for segment in lines[2][0].get_segments())
        assert high - low == pytest.approx(4 * error)
    training = dressed(plot_training(log, Figure().subplots()))
    assert {text.get_text() for text in training.texts[1:]} == {
        "training", "held-out bound", "z from the prior", "no latents",
    }  # fmt: skip
    with pytest.raises(InputError, match="no looks at held-out text with paired"):
        plot_gains(log[:9])


def test_the_pictures_of_studies():
    found = json.loads((ROOT / "docs/results/fast-steps.json").read_text())
    drawn = [way for ways in fast_steps.PANELS.values() for way in ways]
    assert sorted([*drawn, fast_steps.REFERENCE]) == sorted(found["ways"])
    for panel, ways in fast_steps.PANELS.items():
        ax = dressed(fast_steps.plot_fast_steps(found, panel, Figure().subplots()))
        assert {text.get_text() for text in ax.texts[1:]} == set(ways)
        assert len({bar.lines[0].get_color() for bar in ax.containers}) == len(ways) <= MOST
    one = json.loads((ROOT / "docs/results/width-tiny.json").read_text())
    dressed(width.plot_width(one, Figure().subplots()))
    looks = [{"step": s, "tax": 0.1, "tax_standard_error": 0.02} for s in (10, 20)]
    cells = [{"recipe": f"r{i}", "seed": seed, "looks": looks} for i in range(9) for seed in (0, 1)]
    ax = dressed(plot_tax(cells, Figure().subplots()))
    assert len(ax.containers) == 2 * MOST
    grown = {**cells[0], "before": {"iterations": 40}}
    (bars,) = dressed(plot_tax([grown], Figure().subplots())).containers
    assert list(bars.lines[0].get_xdata()) == [50, 60]


def test_names_stand_beside_their_lines_where_there_is_room_and_never_over_one_another():
    ax = dress(Figure(figsize=(5, 3)).subplots(), "t", "x", "nats/token", "a note " * 30)
    ax.plot([0, 1], [0, 10])
    name_lines(ax, [Named(str(y), 1, y, "k") for y in (1.0, 1.01, 1.02, 9.0)])
    dressed(ax)
    heights = [text.xy[1] for text in ax.texts[1:]]
    assert heights == sorted(heights)
    low, high = ax.get_ylim()
    assert heights[-1] == pytest.approx((9 - low) / (high - low))
    assert max(map(len, ax.texts[0].get_text().split("\n"))) < 110


def test_without_an_axis_there_is_a_new_one():
    ax = axis_or_new(None)
    assert axis_or_new(ax) is ax
    plt.close(ax.figure)
