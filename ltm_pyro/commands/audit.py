"""`ltm audit`."""

from dataclasses import dataclass

from tyro.conf import UseAppendAction

from ltm_pyro.auditing import RECIPES, audit, explained, table
from ltm_pyro.commands.text import as_json, show
from ltm_pyro.options import Count, Whole


@dataclass(frozen=True)
class Audit:
    """Whether scores are bounds: your own estimator, or recipes in use, where log p(x) is known."""

    estimator: UseAppendAction[tuple[str, ...]] = ()
    """package.module:name, a function from model and rows to nats of each document; or the name of
    a recipe. May be given several times; without any, all recipes."""
    documents: Count = 64
    """Documents of each case."""
    seed: Whole = 0
    """Models, documents and draws follow from it."""
    json: bool = False
    """Print one JSON object and nothing else on standard output."""

    def run(self) -> None:
        """Audit and print."""
        names = self.estimator or tuple(RECIPES)
        found = {name: audit(name, documents=self.documents, seed=self.seed) for name in names}
        if self.json:
            show(as_json({name: one.to_dict() for name, one in found.items()}))
        elif self.estimator:
            show("\n\n".join(str(one) for one in found.values()))
        else:
            show(f"{table(found)}\n\n{explained(found)}")
