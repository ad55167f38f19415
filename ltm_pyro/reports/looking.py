"""Diagnostics of a run on a page: each with its verdict, its numbers and its picture."""

from typing import Any

from ltm_pyro.diagnostics import (
    GuideQuality,
    ThoughtUse,
    convergence,
    plot_ablation,
    plot_guide_quality,
    plot_inner_loop,
    plot_kl,
)
from ltm_pyro.programs.reading import Sites
from ltm_pyro.reports.measuring import LONGER, Inspected
from ltm_pyro.reports.page import Group, Section, Table, Text, Verdict
from ltm_pyro.reports.pictures import picture, sparse_ticks
from ltm_pyro.reports.words import within


def what(look: Inspected | None) -> Text:
    """What the diagnostics are of."""
    if look is None:
        return Text("No rows were looked at more closely (--inspected 0).")
    model, rows = look.posterior.model, look.posterior.rows
    observed = list(Sites.of(model, rows).of_kind("observed"))
    more = f"; bounds are of {', '.join(observed)} together" if len(observed) > 1 else ""
    return Text(
        f"Of {len(rows)} of the scored rows, chosen by lot; nats per row, which has one set of "
        f"thoughts{more}."
    )


def loops(look: Inspected) -> list[Verdict]:
    """Of the loop as it is scored, and of the longer one, whether it has converged."""
    own, longer = (convergence(one.inner) for one in (look.posterior, look.longer))
    return [
        Verdict(f"The fast loop, {own.steps} steps", own.recommendation),
        Verdict(f"A loop {LONGER} times as long, {longer.steps} steps", longer.recommendation),
    ]


def verdicts(look: Inspected | None) -> list[Verdict]:
    """All verdicts; where one is not to be had, why."""
    if look is None:
        return []
    said = loops(look)
    for name, one in (("Thought use", look.use), ("Guide quality", look.quality)):
        if one is not None:
            said.append(Verdict(name, one.verdict))
    return said + [Verdict(f"No {name}", why) for name, why in look.missing.items()]


def diagnostics(look: Inspected | None) -> list[Section]:
    """The fast loop, the use of thoughts, and the guide."""
    if look is None:
        return []
    parts = [_loop(look)]
    if look.use is not None:
        parts.append(_use(look.use))
    if look.quality is not None:
        parts.append(_guide(look.quality))
    missing = [Text(f"No {name}: {why}") for name, why in look.missing.items()]
    return [*parts, Section("Not to be had", missing)] if missing else parts


def _loop(look: Inspected) -> Section:
    steps, longer = len(look.posterior.inner.lr), look.longer.inner

    def draw(ax: Any) -> None:
        plot_inner_loop(longer, ax)
        ax.axvline(steps, color="0.45", linestyle="--", linewidth=0.8)

    drawn = picture(
        "fast-loop",
        draw,
        f"What the bound gains and what the KL is at each of {len(longer.lr)} fast steps; the "
        "verdict above has the numbers",
        "The longer loop, whose rate falls over all of its steps: median and 10 to 90 % of rows. "
        f"The dashed line stands at the {steps} steps that figures above are of.",
    )
    return Section("The fast loop", [*loops(look), drawn])


def _use(use: ThoughtUse) -> Section:
    slots = use.kl.sum(2)
    layers = Table(
        "By layer, nats per row",
        ["layer", "KL", "active units", "earned up to here"],
        [
            [
                str(i),
                f"{slots[i].sum():.3f}",
                str(use.active[i].sum()),
                within(gain[0], gain[1], "+"),
            ]
            for i, gain in enumerate(use.ablation[1:])
        ],
    )
    by_slot = Table(
        "KL of each slot of each layer, nats per row",
        ["layer", *(f"slot {slot + 1}" for slot in range(slots.shape[1]))],
        [[str(i), *(f"{value:.3f}" for value in row)] for i, row in enumerate(slots)],
    )
    kl = picture(
        "kl",
        lambda ax: sparse_ticks(plot_kl(use, ax)),
        f"KL of each dimension of each latent, {use.kl.max():.3f} nats at the most; the table "
        "above sums them by slot",
        "KL of each dimension, a row for each layer.slot"
        + ("." if use.factorised else ", by the moments of its marginals."),
    )
    ablation = picture(
        "ablation",
        lambda ax: plot_ablation(use, ax),
        "What posterior thoughts earn up to each layer; the numbers stand in the table by layer",
        "What the bound gains with inferred thoughts up to a layer, and thoughts from the prior "
        "above it, with two standard errors.",
    )
    verdict = Verdict("Thought use", use.verdict)
    return Section("What thoughts carry", [verdict, layers, by_slot, Group([kl, ablation])])


def _guide(quality: GuideQuality) -> Section:
    def draw(ax: Any) -> None:
        plot_guide_quality(quality, ax)
        ax.set_ylabel("Pareto k-hat")

    drawn = picture(
        "guide",
        draw,
        f"k-hat of {len(quality.khat)} rows, {int(quality.unreliable.sum())} of them above "
        f"{quality.threshold:.2f}",
        f"k-hat of each row from {quality.draws} draws, with two standard errors.",
    )
    return Section("The guide", [Verdict("Guide quality", quality.verdict), drawn])
