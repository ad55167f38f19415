"""Conformance checks for models, priors, guides, decoders and local optimizers: yours and ours.

Each check runs a member through everything the library will ask of it, on models whose answers are
known, and raises `AssertionError` with what was found and what was expected. Tolerances are 4.5
standard errors, so a sound member fails by chance about once in 100,000 comparisons; all draws
follow from `seed`.

    from ltm_pyro.testing import check_decoder, check_guide, check_model, check_prior
    print(check_prior(MyPrior))
    print(check_guide(MyGuide))
    print(check_decoder(MyDecoder))
    print(check_model(my_model, rows))
"""

from ltm_pyro.testing.decoders import check_decoder
from ltm_pyro.testing.guides import check_guide, check_optimizer
from ltm_pyro.testing.models import check_model
from ltm_pyro.testing.priors import check_prior
from ltm_pyro.testing.solvable import Checked

__all__ = [
    "Checked",
    "check_decoder",
    "check_guide",
    "check_model",
    "check_optimizer",
    "check_prior",
]
