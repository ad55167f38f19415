"""Studies that `ltm study` runs: `zero_shot.py` holds the study `zero-shot`, a class `ZeroShot`."""

from ltm_pyro.errors import unknown
from ltm_pyro.experiments.studies.base import Part, Picture, Results, Study, Trial
from ltm_pyro.experiments.studies.running import redraw
from ltm_pyro.names import kebab, members

__all__ = ["Part", "Picture", "Results", "Study", "Trial", "redraw", "studies", "study_named"]


def studies() -> dict[str, type[Study]]:
    """The studies there are, by name."""
    return {name_of(cls): cls for cls in members(__name__, Study).values()}


def name_of(cls: type) -> str:
    """`zero-shot` of `ZeroShot`."""
    return kebab(cls.__name__)


def study_named(name: str) -> type[Study]:
    """The class of a study.

    Raises:
        InputError: for a name that is not known.
    """
    known = studies()
    if name not in known:
        raise unknown("study", name, known)
    return known[name]
