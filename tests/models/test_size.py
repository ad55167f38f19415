"""Sizes that cannot fit are refused before anything is allocated, with the arithmetic."""

import dataclasses
import functools
import os
import re

import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro.config import Named
from ltm_pyro.errors import InputError
from ltm_pyro.models import LatentThoughtModel, decoders, size
from ltm_pyro.models.decoders import Transformer
from ltm_pyro.runs.build import build_guide, build_prior
from ltm_pyro.runs.checks import check_fits, try_guide


@pytest.fixture
def little(monkeypatch):
    """A machine with a gigabyte of memory."""
    monkeypatch.setattr(size, "free_memory", lambda: 10**9)


@pytest.mark.parametrize("name", ["transformer", "lstm", "gated-linear"])
@pytest.mark.parametrize("thoughts", [True, False])
def test_parameters_are_counted_exactly_without_making_them(config, name, thoughts):
    architecture = dataclasses.replace(config.architecture, layers=5)
    shape = ltm.Thoughts(5, 2, 3)
    make = {"transformer": Transformer, "lstm": decoders.Lstm, "gated-linear": decoders.GatedLinear}
    counted = size.decoder_parameters(make[name], architecture, shape if thoughts else None)
    made = make[name](architecture, shape if thoughts else None)
    assert counted == sum(p.numel() for p in made.parameters())


def test_the_presets_count_what_the_paper_says():
    for name, millions in (("small", 38.4), ("medium", 51.0), ("large", 76.3)):
        config = ltm.preset(name)
        count = size.decoder_parameters(Transformer, config.architecture, config.thoughts)
        assert round(count / 1e6, 1) == millions


def test_a_run_is_refused_with_the_arithmetic(little):
    large = ltm.preset("large")
    count = size.decoder_parameters(Transformer, large.architecture, large.thoughts)
    with pytest.raises(InputError) as told:
        check_fits(large)
    total, part = count * 16, size.in_bytes(count * 4)
    assert str(told.value) == (
        f"this needs {size.in_bytes(total)} of memory or more ({part} for {count:,} parameters of "
        f"4 bytes + {part} for their gradients + {size.in_bytes(2 * count * 4)} for the 2 moments "
        "of AdamW), and 1.0 GB are free here: lower the vocabulary, or the architecture's layers, "
        "width or feedforward"
    )
    check_fits(ltm.preset("small"))  # 614 MB


def test_a_baseline_counts_too(little):
    medium = ltm.preset("medium")
    check_fits(medium)
    training = dataclasses.replace(medium.training, baseline=True)
    with pytest.raises(InputError, match=r"this needs 1\.\d GB"):
        check_fits(medium.replace(training=training))


def test_nothing_is_allocated_before_the_refusal(monkeypatch):
    wide = dataclasses.replace(ltm.preset("small").architecture, width=2**20, heads=2)
    config = ltm.preset("small").replace(architecture=wide)
    monkeypatch.setattr(size, "free_memory", lambda: 10**12)
    with pytest.raises(InputError, match=r"TB for [\d,]+ parameters"):
        LatentThoughtModel(config)  # hundreds of terabytes, which no machine hands out
    endless = dataclasses.replace(wide, feedforward=2**62)
    with pytest.raises(InputError, match="more than 2\\^63 bytes"):
        LatentThoughtModel(config.replace(architecture=endless))


def test_a_batch_a_guide_and_a_prior_that_do_not_fit(config, corpus, little):
    def of(batch):
        return config.replace(training=dataclasses.replace(config.training, batch=batch))

    with pytest.raises(InputError, match=r"960 GB .* for thoughts of 10,000,000,000 rows, 12 numb"):
        check_fits(of(10**10))
    check_fits(of(10**6))
    model = LatentThoughtModel(config)
    guide = build_guide(Named("mixture", {"components": 10**5}), model)
    with pytest.raises(InputError, match=r"local parameters of each of 1,000 rows"):
        try_guide(of(1000), model, guide, corpus.train[:1])
    with pytest.raises(InputError, match="parameters of the prior mixture"):
        build_prior(Named("mixture", {"components": 10**8}), config.thoughts)
    with pytest.raises(InputError, match=r"10,000,000 texts, .* lower n, or the prompts"):
        ltm.generate(model, corpus.tokenizer, n=10**7)


def test_a_decoder_that_cannot_be_made_without_memory_is_not_counted(config):
    class Computes(Transformer):
        def __init__(self, architecture, thoughts):
            super().__init__(architecture, thoughts)
            self.mean = float(self.embedding.weight.detach().mean())

    count = functools.partial(size.decoder_parameters, Computes, config.architecture)
    assert count(config.thoughts) is None


def test_counting_draws_nothing(config):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    size.decoder_parameters(Transformer, config.architecture, config.thoughts)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_free_memory_is_that_of_the_machine():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < size.free_memory() < 100 * total


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate "
                      "2000000000000 bytes."), "one array of 2.0 TB was asked for, and"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB."), "free here"),
        (MemoryError(), "^out of memory: .* are free here; lower the batch"),
    ],
)  # fmt: skip
def test_an_allocation_that_failed_is_told(error, words):
    assert re.search(words, size.out_of_memory(error))
    assert size.out_of_memory(RuntimeError("shapes differ")) is None
    assert size.out_of_memory(ValueError("tried to allocate 3 bytes")) is None
