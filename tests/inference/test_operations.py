"""Operations against what the sizes of matrices say."""

import dataclasses

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from ltm_pyro import guides
from ltm_pyro.config import Fast
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.operations import count, training_flops
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.decoders.head import head_log_prob

from ..conftest import some_rows


def test_a_decoder_alone_takes_three_forward_passes(config):
    a, row = config.architecture, some_rows(1)
    layers = a.layers * (4 * a.width**2 + 3 * a.width * a.feedforward)
    head = a.width * a.vocabulary
    found = training_flops(AutoregressiveModel(config), row)
    # 2 for a multiplication and addition, 3 for forward and both backward passes; 4 for the head,
    # whose logits are made again. Attention itself comes on top, and of the embedding and of
    # weights in a window's first block not all is needed.
    attention = a.layers * 2 * a.width * row.tokens.shape[1]
    products = 6 * layers + 8 * head
    assert 0.95 * products <= found <= products + 6 * attention


def test_padding_is_no_token(config):
    """It costs what tokens do but for the head, whose four products are of tokens alone."""
    a, full = config.architecture, some_rows(1)
    half = dataclasses.replace(full, lengths=torch.tensor([6]))
    of_full, of_half = (training_flops(AutoregressiveModel(config), row) for row in (full, half))
    assert 12 * of_full - 6 * of_half == pytest.approx(6 * 8 * a.width * a.vocabulary)


def test_products_that_are_added_in_place_are_counted():
    hidden, head = torch.randn(5, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True)
    targets = torch.arange(5)
    one = 2 * 5 * 8 * 30

    def run(frozen):
        weights = head.detach() if frozen else head
        head_log_prob(hidden, weights, targets).sum().backward()

    assert count(lambda: run(True)) == 2 * one  # the logits, and their slope beside them
    assert count(lambda: run(False)) == 4 * one  # the logits again, and the head's gradient


def test_attention_is_counted_on_every_device():
    q, k, v = (torch.randn(1, 2, 8, 4) for _ in range(3))
    found = count(lambda: scaled_dot_product_attention(q, k, v, is_causal=True))
    assert found == 2 * (2 * 2 * 8 * 8 * 4)  # two products, two operations, two heads, 8 x 8 x 4


def test_the_fast_loop_costs_a_multiple(config):
    model, row = LatentThoughtModel(config), some_rows(1)
    costs = [training_flops(model, row, MeanField, Fast(steps=steps)) for steps in (0, 1, 4, 7)]
    alone = training_flops(AutoregressiveModel(config), row)
    assert costs[0] > alone
    assert costs[3] - costs[2] == pytest.approx(costs[2] - costs[1])  # each step as much
    step = (costs[3] - costs[2]) / 3
    assert 0.4 * costs[0] < step < 0.8 * costs[0]  # frozen weights have no gradient
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("guide", [guides.Point, guides.Langevin, guides.LaplaceApproximation])
def test_loops_that_take_gradients_of_their_own_are_counted(config, guide):
    model, row = LatentThoughtModel(config), some_rows(1)
    alone = training_flops(AutoregressiveModel(config), row)
    assert training_flops(model, row, guide, Fast(steps=1)) > alone
