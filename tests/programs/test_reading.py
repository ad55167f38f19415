"""What cannot be read as a model or as rows is told before a trace."""

import pytest

from ltm_pyro.errors import InputError
from ltm_pyro.inference import Hierarchical
from ltm_pyro.programs.reading import Sites
from ltm_pyro.testing import check_model


def test_no_rows(model, rows):
    with pytest.raises(InputError, match=r"rows is empty: the sites of a model are read from"):
        Sites.of(model, rows[:0])


def test_texts_are_no_rows(model):
    with pytest.raises(InputError, match=r"rows is .*a text.*: expected"):
        Hierarchical.of(model, rows=["a text"])


def test_a_number_is_no_model(rows):
    with pytest.raises(InputError, match="model is 3: expected a Pyro program"):
        Sites.of(3, rows)
    with pytest.raises(AssertionError, match="model is 3: expected a TextModel"):
        check_model(3, rows)
