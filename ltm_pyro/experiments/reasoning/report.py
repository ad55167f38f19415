"""What a study of reasoning tells: shares of right answers, and what thoughts change."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ltm_pyro.display.pictures import BLUE, GREEN, GREY, ORANGE, dress
from ltm_pyro.experiments.reasoning.answers import (
    LEVEL,
    MARKER,
    answer_of,
    marked,
    mean_interval,
    paired_interval,
    pass_at,
    vote,
)
from ltm_pyro.experiments.studies.base import Found, Picture, Results, markdown

ARMS = {
    "posterior": "thoughts fitted to the prompt, z ~ q(z | prompt)",
    "prior": "thoughts of the prior, z ~ p(z)",
    "control": "no thoughts: the control, trained beside the model",
}
"""What prompts are continued with."""
GUESS = "guess"
WORDS = ARMS | {GUESS: "no model: the commonest answers of the training split, for k samples k of "
                       "them, for a vote the first"}  # fmt: skip
"""What figures are of."""
LIKE = {
    "posterior": (BLUE, "o"),
    "prior": (ORANGE, "v"),
    "control": (GREEN, "^"),
    GUESS: (GREY, ""),
}
VOTE = "vote"


def report(
    found: Mapping[str, Found], samples: int, shots: int, split: str, sampling: str = ""
) -> Results:
    """Tables, words and a picture of finished parts.

    Args:
        found: what each part found, see `Reasoning.answered`.
        samples: answers to each question.
        shots: demonstrations that were asked for.
        split: whose questions were asked.
        sampling: how tokens were drawn, in words.
    """
    by_arm = {arm: _questions(found, arm) for arm in ARMS}
    by_arm = {arm: some for arm, some in by_arm.items() if some}
    scores = {
        arm: {name: scores_of(one, samples) for name, one in some.items()}
        for arm, some in by_arm.items()
    }
    every = {name: one for some in by_arm.values() for name, one in some.items()}
    known = next(iter(found.values()))["facts"]
    scores[GUESS] = {name: guessed(one, known["commonest"], samples) for name, one in every.items()}
    arms: dict[str, dict[str, Any]] = {
        arm: {
            "questions": len(own),
            "right": {what: _mean([one[what] for one in own.values()]) for what in names(samples)},
            **({"texts": texts_of([*by_arm[arm].values()])} if arm in by_arm else {}),
        }
        for arm, own in scores.items()
    }
    between = {
        f"{arm} - {other}": _difference(scores[arm], scores[other], samples)
        for arm, other in combinations(WORDS, 2)
        if arm in scores and other in scores and {*scores[arm]} & {*scores[other]}
    }
    facts = known | {
        "not_asked": sum(not one["asked"] for one in every.values()),
        "demonstrations": dict(sorted(Counter(
            str(len(one["demonstrations"])) for one in every.values() if one["asked"]
        ).items())),
    }  # fmt: skip
    shown = [what for what in names(samples) if what == VOTE or _is_power(int(what[5:]))]
    texts = [
        _protocol(facts, len(every), samples, shots, split, sampling),
        markdown(["% right", *shown], [
            [arm, *(_percent(own["right"][what]) for what in shown)] for arm, own in arms.items()
        ]),
        "\n".join(f"- `{arm}`: {WORDS[arm]}." for arm in arms)
        + ("" if "control" in arms else "\n- The run has no control: train it with --baseline."),
        "What that changes, in percentage points, paired by question:",
        markdown(["difference", *shown], [
            [name, *(_percent(own[what], "+") for what in shown)] for name, own in between.items()
        ]),
        f"In brackets: {LEVEL:.0%} over questions, Wilson's interval for a share (conservative for "
        "pass@k, whose values lie between 0 and 1), Bonett and Price's for paired differences. "
        "Demonstrations are drawn anew for each question, so their choice is in it; the run is "
        "one.",
        "What was written, % of texts:",
        markdown(
            ["", f"{MARKER} and a number", "another number", "none", "ended", "cut by the row"],
            [
                [arm, *(f"{100 * share:.1f}" for share in own["texts"].values())]
                for arm, own in arms.items() if arm != GUESS
            ],
        ),
        _example(by_arm),
    ]  # fmt: skip
    picture = Picture(
        f"Questions of which one of k samples is right. Bars: {LEVEL:.0%} over {len(every)} "
        "questions",
        lambda figure: _draw(figure, arms, samples),
    )
    summary = {"arms": arms, "differences": between, "facts": facts}
    return Results(summary, texts, {"pass-at-k": picture})


def names(samples: int) -> list[str]:
    """What is told of each question: pass@1 to pass@n, and the vote of all n."""
    return [*(f"pass@{k}" for k in range(1, samples + 1)), VOTE]


def scores_of(question: Found, samples: int) -> dict[str, float]:
    """Each of `names` for a question; 0 for one that was not asked, for want of room."""
    if not question["asked"]:
        return dict.fromkeys(names(samples), 0.0)
    answers = [answer_of(text) for text in question["texts"]]
    reference = question["reference"]
    correct = sum(one == reference for one in answers)
    found = {f"pass@{k}": pass_at(samples, correct, k) for k in range(1, samples + 1)}
    return found | {VOTE: vote(answers, reference)}


def guessed(question: Found, commonest: Sequence[str], samples: int) -> dict[str, float]:
    """Each of `names` for who gives the commonest answers, without reading the question."""
    reference = question["reference"]
    found = {f"pass@{k}": float(reference in commonest[:k]) for k in range(1, samples + 1)}
    return found | {VOTE: float(reference in commonest[:1])}


def texts_of(questions: Sequence[Found]) -> dict[str, float]:
    """Shares of texts: how their answer was found, and how they ended."""
    texts = [text for one in questions for text in one["texts"]]
    ended = [why for one in questions for why in one["ended"]]
    answers = [answer_of(text) for text in texts]
    behind = [marked(text) is not None for text in texts]
    none = [one is None for one in answers]
    n = max(1, len(texts))
    return {
        "marked": sum(behind) / n,
        "last_number": (len(texts) - sum(behind) - sum(none)) / n,
        "no_number": sum(none) / n,
        "ended": sum(why != "length" for why in ended) / n,
        "cut": sum(why == "length" for why in ended) / n,
    }


def _questions(found: Mapping[str, Found], arm: str) -> dict[str, Found]:
    return {q["id"]: q for part in found.values() if part["arm"] == arm for q in part["questions"]}


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "interval": mean_interval(values)}


def _difference(
    first: Mapping[str, dict[str, float]], second: Mapping[str, dict[str, float]], samples: int
) -> dict[str, Any]:
    """Means of differences over the questions that both have."""
    both = [name for name in first if name in second]
    found = {}
    for what in names(samples):
        each = [first[name][what] - second[name][what] for name in both]
        found[what] = {"mean": float(np.mean(each)), "interval": paired_interval(each)}
    return found


def _is_power(k: int) -> bool:
    return k & (k - 1) == 0


def _percent(one: Mapping[str, Any], sign: str = "") -> str:
    low, high = one["interval"]
    return f"{100 * one['mean']:{sign}.2f} [{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def _protocol(
    facts: Mapping[str, Any], questions: int, samples: int, shots: int, split: str, sampling: str
) -> str:
    counts = facts["demonstrations"]
    fewer = facts["not_asked"] or {*counts} != {str(shots)}
    told = [
        f"{questions} questions, by lot of {facts['of']} of split {split}; {samples} answers each"
        + (f", {sampling}." if sampling else "."),
        "Each stands behind demonstrations of the training split, drawn by lot, none of them a "
        "question that is asked or a near-duplicate of one.",
        f"A row has {facts['row']} tokens, of which {facts['room']} are kept for the answer."
        + (f" So not all questions have the {shots} demonstrations asked for:" if fewer else ""),
        *([", ".join(f"{n} have {k}" for k, n in counts.items()) + "."] if fewer else
          [f"All questions have {shots} demonstrations."]),
        *([f"{facts['not_asked']} do not fit by themselves; they are not asked, and what is "
           "written counts as wrong (the guess, which reads nothing, may be right)."]
          if facts["not_asked"] else []),
        *([f"The decoder sees {facts['reach']} tokens back; of what stands further back it knows "
           "by thoughts alone."] if facts["reach"] else []),
        *([f"Left out are {facts['left_out']} that the run was trained on, or copies."]
          if facts["left_out"] else []),
        f"Of those asked, {facts['near_training']} have a near-duplicate in the training split.",
        "Thoughts are fitted to the prompt alone. An answer is the number right behind "
        f"{MARKER}, or else the last number of the text; it is right if it is the same number.",
    ]  # fmt: skip
    return " ".join(told)


def _example(by_arm: Mapping[str, Mapping[str, Found]]) -> str:
    """The first question that was asked, and the first text of each kind."""
    lines = list[str]()
    for arm, some in by_arm.items():
        one = next((one for one in some.values() if one["asked"]), None)
        if one is None:
            continue
        if not lines:
            lines += [f"question: {one['question']}", f"reference: {one['reference']}"]
        text = one["texts"][0]
        lines.append(f"{arm}: {text!r} (read as {answer_of(text)})")
    return "For example:\n\n" + "\n".join(f"    {line}" for line in lines) if lines else ""


def _draw(figure: Figure, arms: Mapping[str, Any], samples: int) -> None:
    ax = figure.subplots()
    ks = [k for k in range(1, samples + 1) if _is_power(k) or k == samples]
    for i, (arm, own) in enumerate(arms.items()):
        color, marker = LIKE[arm]
        means = np.array([own["right"][f"pass@{k}"]["mean"] for k in ks]) * 100
        ends = np.array([own["right"][f"pass@{k}"]["interval"] for k in ks]).T * 100
        x = np.array(ks) * 1.06 ** (i - (len(arms) - 1) / 2)
        ax.errorbar(
            x, means, np.abs(ends - means), color=color, marker=marker, markersize=4, capsize=2,
            elinewidth=1, linewidth=1.4, label=arm, linestyle=":" if arm == GUESS else "-",
        )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.minorticks_off()
    ax.set_ylim(bottom=-0.02 * ax.get_ylim()[1])  # so that markers at 0 are whole
    dress(ax, "Right answers", "k samples", "% of questions: pass@k")
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
