import pyro
import pyro.distributions as dist
import torch

from ltm_pyro.seeds import Noise, derive, generator, seeded


def test_each_place_has_its_own_stream():
    seeds = {derive(s, a, b) for s in range(4) for a in range(4) for b in range(4)}
    assert len(seeds) == 64
    assert derive(1, 2) == derive(1, 2)
    assert torch.rand(1, generator=generator(3)) == torch.rand(1, generator=generator(3))


def test_a_block_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    with seeded(1):
        inside = torch.randn(3)
    assert torch.equal(torch.randn(3), expected)
    with seeded(1):
        assert torch.equal(torch.randn(3), inside)


def test_noise_is_fresh_unless_fixed():
    def draws(noise):
        found = []
        for _ in range(3):
            with noise.draw():
                found.append(torch.randn(()).item())
        return found

    assert len(set(draws(Noise(0)))) == 3
    assert draws(Noise(0)) == draws(Noise(0))
    assert len(set(draws(Noise(0, fixed=True)))) == 1


LAWS = {
    "z": dist.Normal(0.0, 1.0), "angle": dist.VonMises(0.0, 0.5),
    "kind": dist.Categorical(torch.ones(50)),
}  # fmt: skip


def program(keys, names=LAWS):
    """Draws of a program's sites by documents, and of what documents share before and after."""
    found = {}
    with Noise(0, torch.tensor(keys)).draw(), pyro.plate("particles", 3, dim=-2):
        found["before"] = pyro.sample("before", dist.Normal(0.0, 1.0))
        with pyro.plate("documents", len(keys), dim=-1):
            for name in names:
                found[name] = pyro.sample(name, LAWS[name])
        for name in ("after", "last"):
            found[name] = pyro.sample(name, dist.Normal(0.0, 1.0))
    return found


def test_what_two_batches_draw_is_independent():
    """By rejection or by lot too, where no document has its own; shared sites are the same."""
    one, other, more, alone = map(program, ([1, 2], [3, 4], [1, 2, 3], [1]))
    for name in LAWS:
        assert not torch.equal(one[name], other[name])
        first, second = (program(keys, [name])[name] for keys in ([1, 2], [3, 4]))
        assert not torch.equal(first, second)
    again = program([1, 2])
    assert all(torch.equal(one[name], again[name]) for name in one)
    torch.testing.assert_close(more["z"][:, :2], one["z"], rtol=0, atol=0)
    for name in ("before", "after", "last"):
        assert all(torch.equal(one[name], found[name]) for found in (other, more, alone))
    assert not torch.equal(one["after"], one["last"])
    assert not torch.equal(one["after"], one["before"])
