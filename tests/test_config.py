import pytest

import ltm_pyro as ltm
from ltm_pyro.config import Architecture, Config, Thoughts
from ltm_pyro.errors import InputError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ltm.preset("smal"), "unknown preset 'smal': did you mean 'small'"),
        (lambda: ltm.Fast(steps=-1), "fast.steps is -1: expected a whole number, 0 or more"),
        (lambda: ltm.Fast(precision="fp23"), "unknown fast.precision 'fp23': did you mean 'fp32'"),
        (lambda: ltm.Slow(clip=0), "clip is 0: expected a finite number, more than 0"),
        (lambda: Thoughts(1, 0, 3), "slots is 0"),
        (lambda: Architecture(10, 10), "begin 10 lies outside the vocabulary of 10"),
        (lambda: Architecture(10, 0, width=30, heads=4), "width 30 with 4 heads"),
        (lambda: Config(Architecture(10, 0), Thoughts(2, 1, 1)), "thoughts for 2 layers"),
    ],
)
def test_wrong_values_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_preset_takes_vocabulary_and_length_from_its_corpus(corpus):
    config = ltm.preset("small", corpus)
    assert config.architecture.vocabulary == corpus.vocabulary
    assert config.architecture.begin == corpus.begin
    assert config.architecture.length == config.architecture.window == 12
    assert config.thoughts.count == 24


def test_the_papers_numbers_of_latents():
    assert [ltm.preset(n).thoughts.count for n in ("small", "medium", "large")] == [24, 24, 96]
    assert [ltm.preset(n).fast.steps for n in ("small", "medium", "large")] == [16, 16, 64]
