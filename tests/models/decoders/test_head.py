import pytest
import torch
from torch.nn.functional import cross_entropy

from ltm_pyro.models.decoders import head as heads
from ltm_pyro.models.decoders.head import head_log_prob


def plain(hidden, head, targets):
    return -cross_entropy(hidden @ head.T, targets, reduction="none")


def case(tokens=37, width=16, words=50, dtype=torch.float64, scale=1.0):
    hidden = torch.randn(tokens, width, dtype=dtype, requires_grad=True)
    head = (scale * torch.randn(words, width, dtype=dtype)).requires_grad_()
    return hidden, head, torch.randint(words, (tokens,))


@pytest.fixture(params=[(1024, 2**20), (8, 64), (5, 7), (1, 1), (37, 50 * 37)])
def tiles(request, monkeypatch):
    """Blocks that hold everything, or a few tokens and words, or one, or leave a rest."""
    rows, logits = request.param
    monkeypatch.setitem(heads.ROWS, "cpu", rows)
    monkeypatch.setitem(heads.LOGITS, "cpu", logits)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_values_and_gradients_are_those_of_all_the_logits(tiles, dtype, rtol):
    hidden, head, targets = case(dtype=dtype)
    weight = torch.randn(37, dtype=dtype)
    got, want = head_log_prob(hidden, head, targets), plain(hidden, head, targets)
    torch.testing.assert_close(got, want, rtol=rtol, atol=rtol)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), (hidden, head)),
        torch.autograd.grad((want * weight).sum(), (hidden, head)),
        strict=True,
    ):
        assert (a - b).norm() <= rtol * b.norm()


def test_gradients_of_first_and_second_order(tiles):
    hidden, head, targets = case(tokens=4, width=3, words=6)
    assert torch.autograd.gradcheck(head_log_prob, (hidden, head, targets))
    assert torch.autograd.gradgradcheck(head_log_prob, (hidden, head, targets))
    fixed = head.detach()
    assert torch.autograd.gradgradcheck(lambda h: head_log_prob(h, fixed, targets), (hidden,))
    assert torch.autograd.gradgradcheck(
        lambda w: head_log_prob(hidden.detach(), w, targets), (head,)
    )


def test_large_logits_neither_overflow_nor_lose_their_digits(tiles):
    hidden, head, targets = case(dtype=torch.float32, scale=200.0)
    want = plain(hidden.double(), head.double(), targets)
    got = head_log_prob(hidden, head, targets)
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-3)


def test_a_frozen_head_gets_no_gradient_and_the_forward_pass_has_made_that_of_hidden(monkeypatch):
    hidden, head, targets = case()
    scores = head_log_prob(hidden, head.detach(), targets)
    for name in ("_scan", "_head_gradient"):
        monkeypatch.setattr(heads, name, None)
    scores.sum().backward()
    assert head.grad is None
    want = torch.autograd.grad(plain(hidden, head, targets).sum(), hidden)[0]
    torch.testing.assert_close(hidden.grad, want)


def test_the_logits_of_a_batch_never_exist(monkeypatch):
    monkeypatch.setitem(heads.LOGITS, "cpu", 1024)
    hidden, head, targets = case(tokens=64, words=1000)
    largest = 0

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, tuple | list) else [out]:
                if isinstance(x, torch.Tensor):
                    largest = max(largest, x.numel())
            return out

    with Sizes():
        head_log_prob(hidden, head, targets).sum().backward()
    assert largest <= head.numel() < 64 * 1000


def test_low_precision_products_give_fp32():
    hidden, head, targets = case(dtype=torch.float32, scale=0.3)
    want = head_log_prob(hidden, head, targets)
    with torch.autocast("cpu", torch.bfloat16):
        got = head_log_prob(hidden, head, targets)
    assert got.dtype == torch.float32
    assert ((got - want).abs() < 0.02 * want.abs() + 0.02).all()
    grads = torch.autograd.grad(got.sum(), (hidden, head))
    for a, b in zip(grads, torch.autograd.grad(want.sum(), (hidden, head)), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()


def test_no_tokens_have_no_log_probability():
    hidden, head, _ = case(tokens=0)
    got = head_log_prob(hidden, head, torch.zeros(0, dtype=torch.long))
    assert got.shape == (0,)
    got.sum().backward()
    assert (head.grad == 0).all()
