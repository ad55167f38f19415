"""What one who knows Pyro and torch does first, and what is said where that does not do."""

import functools
import subprocess
import sys
import warnings

import pyro
import pyro.distributions as dist
import pyro.optim
import pytest
import torch
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal

import ltm_pyro as ltm
from ltm_pyro import guides, testing
from ltm_pyro.bounds import sandwich
from ltm_pyro.config import Named
from ltm_pyro.errors import InputError
from ltm_pyro.guides import Auto, Guide, MeanField
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel, priors
from ltm_pyro.models.priors import Prior
from ltm_pyro.programs.thoughts import loose_parameters
from ltm_pyro.runs.checks import warn_of_main
from ltm_pyro.runs.training import for_corpus

ONE = ltm.Fast(steps=1)


@pytest.fixture
def model(config):
    return LatentThoughtModel(config)


def fit(model, rows, guide=MeanField, fast=ONE, **slow):
    svi = ltm.DualRateSVI(model, guide, fast, ltm.Slow(**slow) if slow else None)
    svi.fit(rows, 1, 4, progress=False)
    return svi


# Parameters that torch does not see.


class Listed(Prior):
    def __init__(self, thoughts, keep=list):
        super().__init__(thoughts)
        self.both = keep([torch.nn.Parameter(torch.zeros(())) for _ in range(2)])

    def distribution(self):
        scale = self.both[1].exp()
        return dist.Normal(self.anchor + self.both[0], scale).expand(self.shape).to_event(3)


class ListedGuide(Guide):
    def __init__(self, thoughts, batch_size):
        super().__init__(thoughts, batch_size)
        shape = (batch_size, *thoughts.shape)
        self.parts = {"loc": [torch.nn.Parameter(torch.zeros(shape))]}

    def distribution(self):
        return dist.Normal(self.parts["loc"][0], 1.0).to_event(3)


def test_parameters_in_a_list_are_named(config, rows):
    model = LatentThoughtModel(config, prior=Listed)
    for give in (
        lambda: ltm.DualRateSVI(model),
        lambda: ltm.evaluate(model, rows, ["prior:2"], progress=False),
        lambda: ltm.DualRateSVI(LatentThoughtModel(config), ListedGuide).infer(rows),
    ):
        with pytest.raises(InputError, match=r"in (prior\.both|parts): they would be neither"):
            give()
    with pytest.raises(AssertionError, match="Listed keeps parameters where torch does not see"):
        testing.check_prior(Listed)
    kept = functools.partial(Listed, keep=torch.nn.ParameterList)
    fit(LatentThoughtModel(config, prior=kept), rows)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ([torch.nn.Linear(2, 2)], False),
        ({"a": {"b": (torch.nn.Parameter(torch.zeros(2)),)}}, False),
        (torch.zeros(2, requires_grad=True), False),
        ({torch.nn.Parameter(torch.zeros(2))}, False),
        (torch.nn.Parameter(torch.zeros(2)), True),
        (torch.nn.ParameterDict({"a": torch.zeros(2)}), True),
        ([torch.zeros(2)], True),
        ([torch.nn.Parameter(torch.zeros(2), requires_grad=False)], True),
        ([torch.zeros(2, requires_grad=True).exp()], True),
    ],
)
def test_what_is_lost_and_what_is_not(value, seen):
    module = torch.nn.Module()
    module.inner = torch.nn.Module()
    module.inner.kept = value
    assert loose_parameters(module) == ([] if seen else ["inner.kept"])


def test_what_is_registered_elsewhere_or_left_out_on_purpose_is_not_lost():
    module = torch.nn.Linear(2, 2)
    module.all = [module.weight, module.bias]
    module._apart = (torch.nn.Linear(2, 2),)
    assert loose_parameters(module) == []
    module._apart = [torch.nn.Linear(2, 2)]
    assert loose_parameters(module) == ["_apart"]


# Objects of Pyro, and objects for classes.


def guide_function(batch):
    with pyro.plate("documents", len(batch), dim=-1):
        return pyro.sample("z", dist.Normal(torch.zeros(2, 2, 3), 1.0).to_event(3))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model: AutoNormal(model), "guide is an AutoNormal object.*guide=AutoNormal"),
        (lambda model: guide_function, "guide is the function guide_function: expected a class"),
        (
            lambda model: MeanField(model.thoughts, 4),
            r"guide is a MeanField object, made for 4 documents: .*functools.partial\(MeanField",
        ),
        (lambda model: lambda thoughts, documents: None, "makes None: expected an object"),
        (lambda model: torch.nn.Linear, "guide is the class Linear: expected a class below"),
    ],
)
def test_guides_that_are_none_are_told_what_to_write(model, rows, make, words):
    for give in (
        lambda guide: fit(model, rows, guide),
        lambda guide: ltm.evaluate(model, rows, ["elbo:2"], guide=guide, progress=False),
    ):
        with pytest.raises(InputError, match=words):
            give(make(model))


def test_an_autoguide_class_stands_for_auto(model, rows):
    for cls in (AutoNormal, AutoDiagonalNormal):
        named = functools.partial(Auto, guide=cls.__name__)
        figures = [
            ltm.evaluate(model, rows, ["elbo:2"], guide=guide, fast=ONE, repeat=0, progress=False)
            for guide in (cls, named)
        ]
        assert (figures[0]["elbo"].nats == figures[1]["elbo"].nats).all()


def test_a_prior_may_be_a_class_or_a_partial_of_one(config):
    made = functools.partial(priors.Mixture, components=3)
    assert type(LatentThoughtModel(config, prior=priors.Laplace).prior) is priors.Laplace
    assert LatentThoughtModel(config, prior=made).prior.components == 3


class OfTorch(Prior):
    def distribution(self):
        normal = torch.distributions.Normal(torch.zeros(self.shape), torch.ones(self.shape))
        return torch.distributions.Independent(normal, 3)


class Flat(Prior):
    def distribution(self):
        return dist.Normal(torch.zeros(self.shape), 1.0)


class Own(Prior):
    def forward(self, batch=None):
        return pyro.sample("z", dist.Normal(torch.zeros(7), 1.0).to_event(1))


class ForOne(Guide):
    def distribution(self):
        return dist.Normal(torch.zeros(self.thoughts.shape), 1.0).to_event(3)


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        (OfTorch, r"OfTorch.distribution\(\) gives a Independent of torch.distributions: expected"),
        (Flat, r"batch shape \(2, 2, 3\) and event shape \(\): expected \(\) and \(2, 2, 3\)"),
        (Own, r"Own gives z of shape \(.*7\): expected \(..., documents, 2, 2, 3\)"),
        ("mixture", "prior is 'mixture': expected an object or a class below"),
        (dist.Normal(0.0, 1.0), "prior is a Normal: expected an object or a class below"),
        (priors.StandardNormal(ltm.Thoughts(2, 3, 3)), r"slots=3.*the configuration has.*slots=2"),
    ],
)
def test_priors_that_are_none_are_told(config, rows, prior, words):
    with pytest.raises(InputError, match=words):
        ltm.evaluate(LatentThoughtModel(config, prior), rows, ["prior:2"], progress=False)


def test_a_guide_of_one_document_for_all_is_told(model, rows):
    with pytest.raises(InputError, match=r"batch shape \(\) .*: expected \(\d+,\) and"):
        ltm.DualRateSVI(model, ForOne, ONE).infer(rows).sample()


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (pyro.optim.Adam({"lr": 0.1}), "a PyroOptim of pyro.optim: expected .* torch.optim"),
        (pyro.optim.Adam, "the function Adam of pyro.optim: expected"),
        (torch.optim.Adam([torch.zeros(2)]), "optimizer is a Adam: expected the name of a class"),
        (None, "optimizer is None: expected"),
        (lambda parameters, lr: None, "makes None: expected an optimizer of torch.optim"),
        ("SparseAdam", "SparseAdam takes no step here: .*dense gradients"),
    ],
)
def test_optimizers_that_cannot_step_are_told(model, rows, optimizer, words):
    with pytest.raises(InputError, match=words):
        ltm.DualRateSVI(model, fast=ltm.Fast(steps=1, optimizer=optimizer)).infer(rows)
    with pytest.raises(InputError, match=words):
        ltm.DualRateSVI(model, slow=ltm.Slow(optimizer=optimizer))


@pytest.mark.parametrize("options", [{"betas": [0.9]}, {"betas": "x"}, {"capturable": True}])
def test_options_that_an_optimizer_cannot_use_are_told(model, rows, options):
    with pytest.raises(InputError, match="optimizer Adam"):
        ltm.DualRateSVI(model, slow=ltm.Slow(optimizer="Adam", options=options))
    with pytest.raises(InputError, match="optimizer Adam"):
        ltm.DualRateSVI(model, fast=ltm.Fast(steps=1, options=options)).infer(rows)


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda m, r: ltm.DualRateSVI(m, seed=-1), "seed is -1: expected a whole number, 0 or"),
        (lambda m, r: ltm.DualRateSVI(m, seed=None), "seed is None"),
        (lambda m, r: ltm.evaluate(m, r, seed=2**64), "seed is 18446744073709551616: expected a w"),
        (lambda m, r: ltm.evaluate(m, r, [3]), r"bounds\[0\] is 3: expected text"),
        (lambda m, r: ltm.evaluate(m, r, []), "bounds is empty"),
        (lambda m, r: ltm.evaluate(torch.nn.DataParallel(m), r), "a DataParallel: expected a Text"),
        (lambda m, r: ltm.evaluate(m, r.tokens), "rows is a Tensor: expected Rows"),
        (lambda m, r: ltm.DualRateSVI(type(m)), "model is the class LatentThoughtModel: expected"),
        (lambda m, r: ltm.DualRateSVI(m, fast={"steps": 1}), "fast is {'steps': 1}: expected Fast"),
        (lambda m, r: ltm.DualRateSVI(m).fit(r, None), "steps is None"),
        (lambda m, r: ltm.DualRateSVI(m).fit(r, 1, callbacks=[3]), r"callbacks\[0\] is 3"),
        (lambda m, r: ltm.DualRateSVI(m).fit(r[:0], 1), "there are no rows"),
        (lambda m, r: ltm.DualRateSVI(m).step(r[:0]), "the batch has no rows"),
        (lambda m, r: ltm.DualRateSVI(m).infer(r[:0]), "there are no rows"),
        (lambda m, r: LatentThoughtModel("tiny"), "config is 'tiny': expected Config"),
        (lambda m, r: ltm.train("tiny", "out"), "config is 'tiny': expected Config"),
        (lambda m, r: ltm.load(None), "path is None: expected text, or a path"),
        (
            lambda m, r: m.config.replace(prior=m.prior),
            "prior is a StandardNormal: expected a Named",
        ),
    ],
)
def test_small_mistakes_are_named(model, rows, give, words):
    with pytest.raises(InputError, match=words):
        give(model, rows)


def test_an_object_is_no_class_to_check(config):
    with pytest.raises(AssertionError, match=r"guide is a MeanField object.*give the class"):
        testing.check_guide(MeanField(config.thoughts, 2))
    with pytest.raises(AssertionError, match="a StandardNormal object: give the class, Standard"):
        testing.check_prior(priors.StandardNormal(config.thoughts))


# What torch is set to.


def test_all_parameters_frozen_is_told_where_they_would_be_trained(model, rows):
    svi = ltm.DualRateSVI(model.requires_grad_(False), fast=ONE)
    svi.infer(rows)  # thoughts can be fitted to it
    with pytest.raises(InputError, match="every parameter of the LatentThoughtModel is frozen"):
        svi.fit(rows, 1, 4, progress=False)


def weights(svi):
    return torch.cat([p.detach().flatten() for p in svi.model.parameters()])


def test_no_grad_and_inference_mode_change_nothing(config, rows):
    def train_and_score():
        svi = ltm.DualRateSVI(model, fast=ONE)
        svi.fit(rows, 2, 4, progress=False)
        report = ltm.evaluate(model, rows, ["elbo:2", "ais:2"], fast=ONE, progress=False)
        return weights(svi), report["elbo"].nats, report["ais"].nats

    found = []
    for around in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        torch.manual_seed(0)
        model = LatentThoughtModel(config)
        with around():
            found.append(train_and_score())
    for other in found[1:]:
        assert all((a == b).all() for a, b in zip(found[0], other, strict=True))


def test_what_was_made_in_inference_mode_is_copied_or_named(config, model, rows):
    guide = guides.LaplaceApproximation
    with torch.inference_mode():
        chosen = rows[torch.arange(3)]
        assert chosen.tokens.is_inference()
        ltm.evaluate(model, chosen, ["elbo:2"], guide=guide, fast=ONE, progress=False)
        ltm.DualRateSVI(model, fast=ONE).step(chosen)
        sandwich(model, chosen.lengths, ["elbo:2"], temperatures=2, chains=2, progress=False)
        made = LatentThoughtModel(config)
        encoder = guides.Amortized.of(model)
    for wrong in (
        lambda: ltm.DualRateSVI(made),
        lambda: ltm.evaluate(made, rows, progress=False),
        lambda: ltm.evaluate(model, rows, guide=encoder, progress=False),
    ):
        with pytest.raises(InputError, match=r"was made inside torch.inference_mode.*make it out"):
            wrong()


def test_a_default_of_float64_is_followed_from_prior_to_figures(config, corpus):
    torch.set_default_dtype(torch.float64)
    try:
        model = LatentThoughtModel(for_corpus(config, corpus))
        rows = corpus.train[:4]
        assert fit(model, rows).infer(rows).sample(1).dtype == torch.float64
        report = ltm.evaluate(model, rows, "elbo:2,iwae:2,ais:2,prior:2", fast=ONE, progress=False)
        assert all(figure.is_bound for figure in report.figures.values())
        ltm.generate(model, corpus.tokenizer, "sea", length=6, fast=ONE)
        with pytest.raises(InputError, match=r"bf16, and the weights are torch.float64"):
            fit(model, rows, precision="bf16")
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_refused_by_name(model, rows, dtype):
    for give in (ltm.DualRateSVI, lambda m: ltm.evaluate(m, rows, ["prior:2"], progress=False)):
        with pytest.raises(InputError, match=f"embedding.weight is {dtype}: .* need fp32 weights"):
            give(model.to(dtype))


def test_eval_mode_changes_nothing(config, rows):
    for cls in (LatentThoughtModel, AutoregressiveModel):
        model = cls(config)
        name = "elbo:2" if cls is LatentThoughtModel else "baseline"
        baseline = None if cls is LatentThoughtModel else model
        scored = [
            ltm.evaluate(model.train(mode), rows, [name], fast=ONE, baseline=baseline,
                         repeat=0, progress=False)
            for mode in (True, False)
        ]  # fmt: skip
        one, other = (next(iter(report.figures.values())).nats for report in scored)
        assert (one == other).all()


# Classes of the running script.


def test_a_class_of_the_running_script_is_warned_of(config):
    named = {
        "prior": Named("__main__:Mine"), "guide": Named("__main__:Mine"),
        "decoder": Named("__main__:Mine"), "callbacks": (Named("__main__:Mine"),),
        "fast": ltm.Fast(optimizer="__main__:Mine"), "slow": ltm.Slow(optimizer="__main__:Mine"),
    }  # fmt: skip
    for part, value in named.items():
        with pytest.warns(UserWarning, match="Mine stands in the running script.*'mine:Mine'"):
            warn_of_main(config.replace(**{part: value}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_main(config.replace(prior=Named("mine:Mine")))


SCRIPT = """
import dataclasses, sys
import pyro.distributions as dist
import ltm_pyro as ltm
from ltm_pyro.config import Named
from ltm_pyro.models.priors import Prior

class Mine(Prior):
    def distribution(self):
        return dist.Normal(self.anchor, self.anchor + 2).expand(self.shape).to_event(3)

corpus = ltm.load_corpus("texts.txt", length=8, vocabulary=260)
config = ltm.preset("tiny", corpus)
training = dataclasses.replace(config.training, steps=0)
ltm.train(config.replace(training=training, prior=Named("__main__:Mine")), "run", corpus,
          progress=False)
"""


@pytest.mark.slow
def test_it_is_warned_of_before_training(tmp_path):
    (tmp_path / "texts.txt").write_text("\n\n".join(f"text {i}" for i in range(60)))
    (tmp_path / "book.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "book.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "__main__:Mine stands in the running script" in done.stderr
