"""What the library asks of a decoder."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ltm_pyro.config import Architecture, Fast, Thoughts
from ltm_pyro.models.decoders import Decoder
from ltm_pyro.models.decoders.computing import computing
from ltm_pyro.models.decoders.decode import decode
from ltm_pyro.models.likelihood import TokenSequence
from ltm_pyro.seeds import generator, seeded
from ltm_pyro.testing.solvable import Checked, expect, expect_registered, perturb, saves

SIZES = Architecture(
    vocabulary=11, begin=0, length=12, window=4, layers=2, width=16, heads=2, feedforward=24
)
THOUGHTS = Thoughts(layers=2, slots=2, dim=3)
ROWS = 5
NEAR = 2e-4
"""How far numbers may lie apart that are equal but for rounding."""

Make = Callable[[Architecture, Thoughts | None], Decoder]


def check_decoder(make: Make, *, seed: int = 0) -> Checked:
    """Everything the library asks of a decoder.

    Args:
        make: a `Decoder` class, or a callable from architecture and thoughts to a decoder
            (`functools.partial`).
        seed: where every draw comes from.
    """
    decoder = _new(make, THOUGHTS, seed)
    expect(isinstance(decoder, Decoder), f"{make!r} makes {decoder!r}: expected a Decoder")
    expect_registered(decoder)
    done = Checked(type(decoder).__name__)
    for one, z in ((decoder, _z(seed)), (_new(make, None, seed), None)):
        which = "" if one.thoughts else " (without latents)"
        tokens = _tokens(seed)
        _causal(one, z, tokens)
        done.passed.append(f"a later token changes no earlier log-probability{which}")
        _normalised(one, z, tokens)
        done.passed.append(f"probabilities of a token sum to one{which}")
        _pads(one, z, tokens)
        done.passed.append(f"padding and other rows change nothing{which}")
        _remembers(one, z, tokens, seed)
        done.passed.append(f"reading in parts, rows that end, and rewinds change nothing{which}")
        _reached(one, z, tokens)
        done.passed.append(f"gradients reach every parameter and each layer's z{which}")
    _computes(decoder, _z(seed), _tokens(seed))
    done.passed.append("bf16 and recomputed layers give what fp32 gives, near enough")
    _twice(make, seed)
    done.passed.append("it follows a change of dtype, and can be differentiated twice")
    look = functools.partial(_scores, z=_z(seed), tokens=_tokens(seed))
    saves(decoder, lambda: make(SIZES, THOUGHTS), look)
    done.passed.append("saved and loaded it gives the same log-probabilities")
    return done


def _new(make: Make, thoughts: Thoughts | None, seed: int) -> Decoder:
    """A decoder whose weights are larger than at the start, so that everything matters."""
    with seeded(seed, 0):
        decoder = make(SIZES, thoughts)
    perturb(decoder, seed)
    return decoder


def _tokens(seed: int) -> Tensor:
    return torch.randint(SIZES.vocabulary, (ROWS, SIZES.length), generator=generator(seed, 1))


def _z(seed: int) -> Tensor:
    return torch.randn(ROWS, *THOUGHTS.shape, generator=generator(seed, 2))


def _logits(decoder: Decoder, hidden: Tensor) -> Tensor:
    return (hidden @ decoder.head.T).log_softmax(-1)


def _scores(decoder: Decoder, z: Tensor | None, tokens: Tensor) -> Tensor:
    """Log-probability of each token, (B, N)."""
    lengths = torch.full((len(tokens),), tokens.shape[1])
    return TokenSequence(decoder, z, lengths, tokens.shape[1]).token_log_prob(tokens)


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max()) if a.numel() else 0.0


def _normalised(decoder: Decoder, z: Tensor | None, tokens: Tensor) -> None:
    """Over every word a position could hold; those behind it are left as they are."""
    for n in (0, 1, SIZES.length - 1):
        total = torch.zeros(ROWS)
        for word in range(SIZES.vocabulary):
            other = tokens.clone()
            other[:, n] = word
            total += _scores(decoder, z, other)[:, n].detach().exp()
        expect(
            bool(((total - 1).abs() < 1e-3).all()),
            f"probabilities of the token at position {n} sum to {total.tolist()}: expected 1",
        )


def _causal(decoder: Decoder, z: Tensor | None, tokens: Tensor) -> None:
    hidden = decoder(tokens, z)
    expected = (ROWS, SIZES.length, decoder.head.shape[1])
    expect(hidden.shape == expected, f"hidden states are {tuple(hidden.shape)}, not {expected}")
    before, reach = _logits(decoder, hidden), decoder.reach
    for n in range(SIZES.length):
        changed = tokens.clone()
        changed[:, n] = (changed[:, n] + 1) % SIZES.vocabulary
        moved = (_logits(decoder, decoder(changed, z)) - before).detach().abs().amax((0, 2))
        expect(
            not bool((moved[: n + 1] > NEAR).any()),
            f"token {n} changes log-probabilities at positions "
            f"{(moved > NEAR).nonzero()[:, 0].tolist()}: expected later ones alone",
        )
        if n + 1 < SIZES.length:
            expect(bool(moved[n + 1] > 1e-6), f"position {n + 1} does not read token {n}")
        if reach is not None:
            expect(
                not bool((moved[n + 1 + reach :] > NEAR).any()),
                f"token {n} is seen beyond the {reach} tokens that `reach` says",
            )


def _remembers(decoder: Decoder, z: Tensor | None, tokens: Tensor, seed: int) -> None:
    """`next` in parts, `keep` and `rewind` against the whole row at once."""
    inputs, whole = decoder.inputs(tokens), decoder(tokens, z)
    with torch.no_grad():
        for parts in ([1] * SIZES.length, [7, 1, 4], [SIZES.length]):
            state = decoder.start(z, ROWS)
            read = torch.cat([decoder.next(state, part) for part in inputs.split(parts, 1)], 1)
            apart = _apart(read, whole)
            expect(apart < NEAR, f"hidden states read in parts of {parts} differ by {apart:.3g}")
        state, live = decoder.start(z, ROWS, rewinds=3), torch.arange(ROWS)
        decoder.next(state, inputs[:, :2])
        wrong = torch.randint(SIZES.vocabulary, (ROWS, 3), generator=generator(seed, 3))
        for stay in (torch.tensor([0, 2, 3, 4]), torch.tensor([3, 0])):
            decoder.next(state, wrong[live])
            state.rewind(3)
            for back in (torch.tensor([0, 1, 2, 0, 1])[: len(live)], None):
                here = state.position[:, None] + torch.arange(2)
                read = decoder.next(state, inputs[live[:, None], here])
                apart = _apart(read, whole[live[:, None], here])
                expect(apart < NEAR, f"after keep and rewind, hidden states differ by {apart:.3g}")
                if back is not None:
                    state.rewind(back)
            state.keep(stay)
            live = live[stay]
        greedy = [
            decode(decoder, z, ROWS, SIZES.length, lambda x, *_: x.argmax(-1), cached=cached)
            for cached in (True, False)
        ]
        expect(torch.equal(*greedy), "texts written with and without memory differ")


def _pads(decoder: Decoder, z: Tensor | None, tokens: Tensor) -> None:
    """A row alone and cut to its length, against the same row among others and padded."""
    together = _scores(decoder, z, tokens).detach()
    for row, size in enumerate((SIZES.length, 7, 1, 3, 10)):
        alone = _scores(decoder, None if z is None else z[[row]], tokens[[row], :size])[0]
        apart = _apart(alone, together[row, :size])
        expect(
            apart < NEAR,
            f"log-probabilities of a row of {size} tokens differ by {apart:.3g} from those it has "
            "with padding behind it, among other rows",
        )


def _reached(decoder: Decoder, z: Tensor | None, tokens: Tensor) -> None:
    if z is not None:
        z = z.clone().requires_grad_()
    decoder.zero_grad()
    _scores(decoder, z, tokens).sum().backward()
    if z is not None:
        gradient = torch.zeros_like(z) if z.grad is None else z.grad
        missed = [str(i) for i, one in enumerate(gradient.unbind(1)) if not bool((one != 0).all())]
        expect(not missed, f"no gradient reaches z of layer {', '.join(missed)}")
    for name, parameter in decoder.named_parameters():
        found = parameter.grad is not None and bool((parameter.grad != 0).any())
        expect(found or not parameter.requires_grad, f"no gradient reaches parameter {name!r}")


@dataclass
class _Holder:
    decoder: Decoder


def _computes(decoder: Decoder, z: Tensor, tokens: Tensor) -> None:
    """What `computing` sets, against what it is without."""
    lengths = torch.full((ROWS,), SIZES.length)

    def score(z: Tensor) -> Tensor:
        return TokenSequence(decoder, z, lengths, SIZES.length, h).log_prob(tokens)

    z, h = z.clone().requires_grad_(), decoder.read(tokens).detach()
    want = score(z)
    slope = torch.autograd.grad(want.sum(), z)[0]
    for fast, fixed, near in (
        (Fast(recompute=True), False, 1e-4),
        (Fast(precision="bf16"), False, 0.05),
        (Fast(precision="bf16"), True, 0.05),
        (Fast(precision="bf16", recompute=True), True, 0.05),
    ):
        decoder.requires_grad_(not fixed)
        with computing(fast, _Holder(decoder), fixed):
            found = score(z)
            gradient = torch.autograd.grad(found.sum(), z)[0]
        decoder.requires_grad_(True)
        how = f"{fast.precision}{', recomputed' * fast.recompute}{', weights fixed' * fixed}"
        expect(found.dtype == torch.float32, f"{how}: log-probabilities are {found.dtype}")
        worst = float(((found - want).abs() / want.abs()).detach().max())
        expect(worst < near, f"{how}: log-probabilities differ by {worst:.1%}")
        off = float((gradient - slope).norm() / slope.norm())
        expect(off < 4 * near, f"{how}: the gradient of z differs by {off:.1%}")


def _twice(make: Make, seed: int) -> None:
    """Curvature along a direction, in fp64 against differences, and in fp32 against that."""
    decoder, z, tokens = _new(make, THOUGHTS, seed), _z(seed), _tokens(seed)
    decoder.requires_grad_(False)
    direction = torch.randn(z.shape, generator=generator(seed, 4))

    def slope(at: Tensor, graph: bool = False) -> Tensor:
        logits = _logits(decoder, decoder(tokens, at))
        total = logits.gather(-1, tokens[..., None]).sum()
        return torch.autograd.grad(total, at, create_graph=graph)[0]

    found = []
    for kind in (torch.float32, torch.float64):
        decoder.to(kind)
        at, along = z.to(kind).requires_grad_(), direction.to(kind)
        with sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative
            curved = (slope(at, graph=True) * along).sum()
            found.append(torch.autograd.grad(curved, at)[0].double())
    step = 1e-4 * along
    ends = [slope((at + sign * step).detach().requires_grad_()) for sign in (1, -1)]
    want = (ends[0] - ends[1]) / 2e-4
    for kind_name, one, near in (("fp32", found[0], 1e-2), ("fp64", found[1], 1e-4)):
        off = float((one - want).norm() / want.norm())
        expect(
            off < near, f"second derivatives in {kind_name} differ by {off:.2g} from differences"
        )
