import pytest
import torch

from ltm_pyro.errors import InputError
from ltm_pyro.generation.choosing import Sampling, pick

LOGITS = torch.tensor([[0.05, 0.5, 0.15, 0.3]]).log() + 7.0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.05, 0.5, 0.15, 0.3]),
        ({"temperature": 0.5}, [0.0025, 0.25, 0.0225, 0.09]),
        ({"temperature": 1e-300}, [0, 1, 0, 0]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 3}, [0, 0.5, 0.15, 0.3]),
        ({"top_k": 9}, [0.05, 0.5, 0.15, 0.3]),
        ({"top_p": 0.79}, [0, 0.5, 0, 0.3]),
        ({"top_p": 0.81}, [0, 0.5, 0.15, 0.3]),
        ({"top_p": 1e-9}, [0, 1, 0, 0]),
        ({"temperature": 0.5, "top_k": 2}, [0, 0.25, 0, 0.09]),
        # Of the two left by top_k, the first alone holds 0.625; of all four it takes two.
        ({"top_k": 2, "top_p": 0.6}, [0, 1, 0, 0]),
        ({"top_p": 0.6}, [0, 0.5, 0, 0.3]),
    ],
)
def test_probabilities_follow_the_settings(settings, expected):
    found = Sampling(**settings).probabilities(LOGITS)
    wanted = torch.tensor([expected], dtype=torch.float64)
    torch.testing.assert_close(found, wanted / wanted.sum(), atol=1e-6, rtol=0)
    assert ((found == 0) == (wanted == 0)).all()


def test_of_equal_logits_top_k_keeps_exactly_k_the_lower_ids():
    found = Sampling(top_k=2).probabilities(torch.zeros(1, 50))
    assert found.nonzero()[:, 1].tolist() == [0, 1]


def test_each_token_has_its_share_of_the_uniforms():
    """Over a grid of N uniforms a token of probability p is picked N p times."""
    grid = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    for sampling in (Sampling(), Sampling(top_k=3), Sampling(0.7, top_p=0.9)):
        ids = sampling.choose(LOGITS.expand(10_000, 4), grid)
        counts = torch.bincount(ids, minlength=4)
        expected = 10_000 * sampling.probabilities(LOGITS)[0]
        torch.testing.assert_close(counts.double(), expected, atol=1.0, rtol=0)


def test_no_token_without_probability_is_picked():
    probabilities = torch.tensor([0.0, 0.3, 0.0, 0.7, 0.0], dtype=torch.float64)
    uniforms = torch.tensor([0.0, 0.29, 0.31, 1 - 2**-53, 1.0], dtype=torch.float64)
    assert pick(probabilities.expand(5, 5), uniforms).tolist() == [1, 1, 3, 3, 3]


def test_rounding_that_swaps_two_likely_tokens_leaves_the_choice_alone():
    near = torch.tensor([[2.0, 1.0, 2.0 + 1e-6]])
    sampling, uniform = Sampling(top_p=0.99), torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    before = sampling.choose(near.expand(10, 3), uniform)
    swapped = sampling.choose(torch.tensor([[2.0 + 1e-6, 1.0, 2.0]]).expand(10, 3), uniform)
    assert torch.equal(before, swapped)


def test_greedy_takes_the_likeliest_whatever_the_uniform():
    uniforms = torch.rand(20, dtype=torch.float64)
    assert (Sampling(temperature=0).choose(LOGITS.expand(20, 4), uniforms) == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1: expected a finite number, 0 or more"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0: expected a whole number, 1 or more"),
        ({"top_p": 0.0}, "top_p is 0.0: expected .*, more than 0 and at most 1"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"top_p": float("nan")}, "top_p is nan"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        Sampling(**settings)
