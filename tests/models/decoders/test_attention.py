import pytest
import torch

from ltm_pyro.models.decoders import attention
from ltm_pyro.models.decoders.attention import (
    dense_window_attention,
    rotate,
    window_attention,
)


@pytest.mark.parametrize(
    ("n", "window"), [(1, 4), (4, 4), (5, 4), (9, 4), (12, 4), (13, 4), (30, 7), (9, 1)]
)
def test_blocks_equal_the_dense_mask(n, window, monkeypatch):
    monkeypatch.setattr(attention, "DENSE", 0)
    q, k, v = (torch.randn(2, 3, n, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    blocks, dense = window_attention(q, k, v, window), dense_window_attention(q, k, v, window)
    torch.testing.assert_close(blocks, dense)
    weight = torch.randn_like(dense)
    for a, b in zip(
        torch.autograd.grad((blocks * weight).sum(), (q, k, v)),
        torch.autograd.grad((dense * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_compiled_on_a_gpu_it_has_the_same_gradient():
    q, k, v = (torch.randn(2, 4, 200, 32, device="cuda", requires_grad=True) for _ in range(3))
    compiled = torch.compile(window_attention, dynamic=True)
    found, dense = compiled(q, k, v, 64), dense_window_attention(q, k, v, 64)
    torch.testing.assert_close(found, dense, atol=2e-3, rtol=2e-3)
    weight = torch.randn_like(dense)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), (q, k, v)),
        torch.autograd.grad((dense * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=5e-3, rtol=5e-3)


def test_a_position_sees_exactly_its_window(monkeypatch):
    q, k, v = (torch.randn(1, 1, 10, 4) for _ in range(3))
    monkeypatch.setattr(attention, "DENSE", 0)
    before = window_attention(q, k, v, 3)
    changed = v.clone()
    changed[:, :, 4] += 1.0
    moved = (window_attention(q, k, changed, 3) - before).abs().sum((0, 1, 3)) > 0
    assert moved.nonzero()[:, 0].tolist() == [4, 5, 6]


def test_rotary_scores_depend_on_distance_alone():
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(i, j):
        return (rotate(q, torch.tensor([i])) * rotate(k, torch.tensor([j]))).sum()

    torch.testing.assert_close(score(3, 1), score(13, 11), atol=1e-5, rtol=1e-5)
    assert not torch.isclose(score(3, 1), score(3, 2))
