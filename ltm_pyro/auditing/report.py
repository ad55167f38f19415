"""An audit of an estimator of -log p(x), and the table of recipes beside which it stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltm_pyro.auditing.checks import CHECKS, Finding
from ltm_pyro.auditing.recipes import RECIPES, Estimator
from ltm_pyro.display.progress import bar
from ltm_pyro.errors import InputError, unknown
from ltm_pyro.names import imported
from ltm_pyro.options import Whole, taken
from ltm_pyro.seeds import derive


@dataclass(frozen=True)
class Audit:
    """What was found out about an estimator.

    Attributes:
        name: of the estimator.
        findings: the answer to each check, by name.
    """

    name: str
    findings: Mapping[str, Finding]

    @property
    def faults(self) -> list[Finding]:
        """Checks that speak against its being a bound."""
        return [finding for finding in self.findings.values() if finding.passed is False]

    @property
    def is_bound(self) -> bool | None:
        """False where a check speaks against it; None where not all could be run; else True."""
        if self.faults:
            return False
        return None if any(f.passed is None for f in self.findings.values()) else True

    @property
    def verdict(self) -> str:
        """In words."""
        if self.faults:
            return f"{self.name} is NO BOUND on -log p(x): " + "; ".join(
                finding.text for finding in self.faults
            )
        exact = [f.text for f in self.findings.values() if f.name in ("linear", "decoder")
                 and f.passed]  # fmt: skip
        left = [name for name, finding in self.findings.items() if finding.passed is None]
        limits = f"; not tried: {', '.join(left)}" if left else ""
        return f"{self.name}: nothing speaks against a bound; {'; '.join(exact)}{limits}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; null where a number is not known."""
        return {
            "is_bound": self.is_bound,
            "verdict": self.verdict,
            "checks": {
                name: {"passed": f.passed, "value": _number(f.value), "error": _number(f.error),
                       "text": f.text}
                for name, f in self.findings.items()
            },
        }  # fmt: skip

    def __str__(self) -> str:
        sign = {True: "passed", False: "FAULT", None: "not run"}
        lines = [f"{name:<11}{sign[f.passed]:<9}{f.text}" for name, f in self.findings.items()]
        return "\n".join([*lines, self.verdict])

    __repr__ = __str__


def audit(
    estimator: Estimator | str,
    *,
    documents: int = 64,
    seed: int = 0,
    checks: Iterable[str] = tuple(CHECKS),
    progress: bool = True,
) -> Audit:
    """Whether an estimator's numbers may be called bounds on -log p(x), as far as tests can tell.

    The estimator is held against models whose log p(x) is known; against the sum over all texts,
    which no probability exceeds 1 with; and asked whether it charges the KL, scores draws that its
    fit has seen, or mixes padding or other documents in.

    Args:
        estimator: from `model, rows` to nats of each document, shape (documents,): a tensor, an
            array or a list. Its draws come from torch's global generators, which are seeded before
            each call. Or `package.module:name`, or the name of a recipe.
        documents: of each case, 8 or more.
        seed: where models, documents and draws come from.
        checks: which to run, of `CHECKS`.
        progress: whether to show a progress bar.

    Raises:
        InputError: for an unknown name or check, or an estimator that returns something else, or
            that no check could be run on.
    """
    name, call = named(estimator)
    if taken("documents", documents, Whole) < 8:
        raise InputError(f"documents is {documents}: expected 8 or more, for a standard error")
    wanted = list(checks)
    for check in wanted:
        if check not in CHECKS:
            raise unknown("check", check, CHECKS)
    findings = {}
    for check in bar(wanted, name, unit="check", shown=progress, leave=False):
        place = list(CHECKS).index(check)
        try:
            findings[check] = CHECKS[check](call, documents, derive(seed, place))
        except InputError as error:
            if "the estimator returned" in str(error):
                raise InputError(f"{name}: {error}") from None
            findings[check] = Finding(check, None, f"could not be run: {error}")
        except Exception as error:
            text = f"could not be run: {type(error).__name__}: {error}"
            findings[check] = Finding(check, None, text)
    if wanted and all(finding.passed is None for finding in findings.values()):
        raise InputError(f"{name} could not be run at all: {findings[wanted[0]].text}")
    return Audit(name, findings)


def named(estimator: Estimator | str) -> tuple[str, Estimator]:
    """An estimator and its name, from itself, its import path, or the name of a recipe.

    Raises:
        InputError: if there is none, or it cannot be called.
    """
    if not isinstance(estimator, str):
        return getattr(estimator, "__name__", type(estimator).__name__), estimator
    if ":" not in estimator:
        if estimator not in RECIPES:
            raise unknown("estimator", estimator, RECIPES)
        return estimator, RECIPES[estimator].estimator
    found = imported(estimator)
    if not callable(found):
        raise InputError(
            f"estimator {estimator} is {found!r}: expected a function of model and rows"
        )
    return estimator, found


def table(audits: Mapping[str, Audit]) -> str:
    """A line for each: nats above -log p(x) where it is known, and what the other checks say."""
    head = (
        f"{'':<23}{'above -log p(x)':>17}{'the same,':>17}{'all texts':>16}{'KL':>9}"
        f"{'noise':>8}{'others':>8}\n"
        f"{'nats/document':<23}{'linear-Gaussian':>17}{'decoder':>17}{'sum to':>16}{'paid':>9}"
        f"{'fresh':>8}{'alone':>8}"
    )
    lines = [head]
    for name, one in audits.items():
        found = one.findings
        cells = [
            _cell(found.get("linear"), "{:+.2f} ± {:.2f}", 17),
            _cell(found.get("decoder"), "{:+.3f} ± {:.3f}", 17),
            _cell(found.get("kraft"), "{:.3f} ± {:.3f}", 16),
            _cell(found.get("kl"), "{:.0%}", 9),
            _word(found.get("noise"), 8),
            _word(found.get("neighbours"), 8),
        ]
        mark = " " if one.is_bound is not False else "*"
        lines.append(f"{name:<22}{mark}" + "".join(cells))
    lines.append("* no bound: a check says so")
    return "\n".join(lines)


def explained(names: Iterable[str]) -> str:
    """What each recipe does, and its formula."""
    lines = []
    for name in names:
        recipe = RECIPES[name]
        kind = "a bound" if recipe.valid else "NO BOUND"
        lines += [f"{name} ({kind}): {recipe.formula}", f"    {recipe.text}"]
    return "\n".join(lines)


def _cell(finding: Finding | None, form: str, width: int) -> str:
    if finding is None or finding.passed is None:
        return f"{'-':>{width}}"
    text = (
        form.format(finding.value, finding.error)
        if form.count("{") > 1
        else form.format(finding.value)
    )
    return f"{text:>{width}}"


def _word(finding: Finding | None, width: int) -> str:
    known = finding is not None and finding.passed is not None
    return f"{('yes' if finding.passed else 'NO') if known else '-':>{width}}"  # type: ignore[union-attr]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
