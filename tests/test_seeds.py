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
