"""Parts of what is read from traces, held to exact values."""

import dataclasses
import types

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from ltm_pyro.errors import InputError
from ltm_pyro.programs.densities import with_known
from ltm_pyro.programs.handlers import OWN, OnTheReals
from ltm_pyro.programs.proper import _falls_off
from ltm_pyro.programs.reading import Sites
from ltm_pyro.programs.scores import draw_discrete, log_prob, of_particles
from ltm_pyro.programs.support import image_of
from ltm_pyro.programs.thoughts import over_thoughts

from ..runs.programs import Labelled, Regressed


def test_the_plates_of_a_shared_site_are_summed_over():
    term = torch.arange(24.0).reshape(4, 3, 2)
    assert torch.equal(of_particles(term), term.sum((1, 2))[:, None])
    assert torch.equal(of_particles(torch.arange(4.0)), torch.arange(4.0))


@pytest.mark.parametrize("scale", [2, 2.0, torch.tensor([1.0, 2.0]), 1, 1.0, torch.ones(2)])
def test_a_scale_that_is_not_one_is_refused(scale):
    with pyro.poutine.trace() as traced, poutine.scale(scale=scale):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0), obs=torch.zeros(2))
    node = traced.trace.nodes["z"]
    if (torch.as_tensor(scale) == 1).all():
        assert torch.equal(log_prob(node), dist.Normal(0.0, 1.0).log_prob(torch.zeros(2)))
    else:
        with pytest.raises(InputError, match="scale"):
            log_prob(node)


def test_a_value_of_no_probability_is_never_drawn():
    """Value k has the uniforms of [its share's begin, its share's end), and 0 is one of them."""
    law = dist.Categorical(logits=torch.tensor([0.0, 0.25, 0.0, 0.75]).log())
    values = torch.arange(4)[:, None, None]
    node = {"type": "sample", "fn": law, "value": values, "is_observed": False,
            "infer": {"enumerate": "parallel"}, "scale": None, "mask": None}  # fmt: skip
    node["log_prob"] = node["unscaled_log_prob"] = law.log_prob(values)
    trace = types.SimpleNamespace(nodes={"k": node})
    uniform = torch.tensor([[0.0, 0.1, 0.25, 0.5, 1 - 2**-24]])
    node["value"] = values.expand(4, 1, 1)
    assert draw_discrete(trace, uniform)["k"].tolist() == [[1, 1, 3, 3, 3]]


def test_angles_of_many_slots_are_those_of_their_pairs():
    u = torch.randn(2, 5, 2, 4, 6)
    angle = image_of(dist.VonMises(torch.zeros(3), torch.ones(3)))(u)
    assert angle.shape == (2, 5, 2, 4, 3)
    assert torch.allclose(angle, torch.atan2(u[..., 1::2], u[..., 0::2]))


def test_angles_may_be_thoughts_of_half_as_many_dimensions():
    owner = types.SimpleNamespace(thoughts=types.SimpleNamespace(shape=(2, 3, 4)))
    fits = dist.VonMises(torch.zeros(2, 3, 2), torch.ones(2, 3, 2)).to_event(3)
    assert over_thoughts(owner, fits, ()) is fits
    wrong = dist.VonMises(torch.zeros(2, 2), torch.ones(2, 2)).to_event(2)
    with pytest.raises(InputError, match="expected"):
        over_thoughts(owner, wrong, ())


def test_a_shared_site_has_the_shape_of_one_value(config, rows):
    rows = dataclasses.replace(rows, columns={"rating": torch.zeros(len(rows))})
    (weight,) = [site for site in Sites.of(Regressed(config), rows) if site.kind == "shared"]
    assert weight.shape == tuple(config.thoughts.shape)
    assert weight.plates == 0


def test_what_is_known_of_a_label_takes_the_place_of_what_was_drawn(config, rows):
    code = torch.tensor([0, 1, -1, 1, -1])[: len(rows)]
    rows = dataclasses.replace(rows, columns={"topic": code})
    drawn = {"topic_unobserved": torch.ones(3, len(rows), dtype=torch.long), "z": torch.zeros(1)}
    found = with_known(Labelled(config, {"topic": ("sea", "wood")}), drawn, rows)
    assert found.keys() == {"topic", "z"}
    assert torch.equal(found["topic"], code.where(code >= 0, 1).expand(3, -1))
    assert found["z"] is drawn["z"]


@pytest.mark.parametrize("side", [-1, 1])
def test_a_density_that_falls_off_on_one_side_alone_is_none(side):
    """exp(-z) above zero and 1 below it: over the reals it is infinite."""

    def law(slope):
        fall = lambda z: -torch.where(side * z > 0, z.abs(), slope * z.abs()).sum((-1, -2, -3))  # noqa: E731
        return types.SimpleNamespace(log_prob=fall)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        value = torch.randn(8, 5, 2, 1, 3)
        assert _falls_off(law(1.0), value)
        assert not _falls_off(law(0.0), value)


def test_what_lives_elsewhere_is_carried_to_the_reals_but_for_thoughts_that_are_angles():
    one = torch.ones(3)
    laws = {
        "heading": dist.VonMises(one, one),
        "z": dist.Gamma(one, one),
        "length": dist.Gamma(one, one),
    }
    for name, law in laws.items():
        with poutine.trace() as traced, OnTheReals():
            own = pyro.sample(name, law.to_event(1))
        node = traced.trace.nodes[name]
        assert node["infer"][OWN].base_dist is law
        assert own.shape == (3,)
        assert torch.equal(own, image_of(law.to_event(1))(node["value"]))
    with poutine.trace() as traced, OnTheReals():
        pyro.sample("z", laws["heading"].to_event(1))
    assert OWN not in traced.trace.nodes["z"]["infer"]
