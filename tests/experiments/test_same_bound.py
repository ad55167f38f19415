import dataclasses

import pytest

import ltm_pyro as ltm
from ltm_pyro.config import Architecture, Config, Fast, Thoughts, Training
from ltm_pyro.experiments import same_bound
from ltm_pyro.inference import DualRateSVI

TINY = Config(
    Architecture(32, 0, 16, window=4, layers=2, width=16, heads=2, feedforward=24),
    Thoughts(2, 2, 4),
    fast=Fast(steps=2),
    training=Training(batch=2),
)


@pytest.mark.parametrize(
    "of", ["race", "topics", pytest.param("documents", marks=pytest.mark.slow)]
)
def test_bounds_are_compared_document_by_document(of):
    words = 300 if of == "documents" else 32
    config = TINY.replace(architecture=dataclasses.replace(TINY.architecture, vocabulary=words))
    setup = {
        "race": lambda: same_bound.of_race(3, config),
        "topics": lambda: same_bound.of_topics(3, config, tokens=12, batch=2),
        "documents": lambda: same_bound.of_documents(3, config, tokens=12, batch=2),
    }[of]()
    assert next(iter(setup.ways.values())).fast == TINY.fast
    lines = []
    found = same_bound.same_bound(setup, 1, 2, lines.append)
    assert found["documents"] == 3
    assert len(lines) == 2 * 2 * len(found["ways"])
    assert len(found["ways"]["default"]["own loop"]["behind_by_seed"]) == 2
    assert found["ways"]["exact"]["own loop"]["behind"] == 0
    assert found["ways"]["default"]["own loop"]["behind_error"] > 0
    trained = found["training"]
    assert [len(trained[name]["seconds"]) for name in found["ways"]] == [2] * len(found["ways"])
    assert all(min(each["seconds"]) > 0 for each in trained.values())


def test_bounds_of_real_text_are_those_of_a_run_with_its_objective(monkeypatch):
    setup = same_bound.of_text(3, limit=40)
    assert setup.objective == ltm.preset("tiny").objective
    weights = []
    step = DualRateSVI.step

    def spy(svi, *arguments):
        report = step(svi, *arguments)
        weights.append((svi.fast.steps, report.kl_weight))
        return report

    monkeypatch.setattr(DualRateSVI, "step", spy)
    monkeypatch.setattr(same_bound, "seconds", lambda run: (run(), 0.5)[1])
    setup = dataclasses.replace(setup, fast=Fast(steps=2), batch=2)
    found = same_bound.same_bound(setup, 4, names=["longer"])
    assert list(found["ways"]) == ["exact", "longer"]
    assert found["documents"] == len(setup.test.document.unique())
    assert [weight for _, weight in weights[:4]] == pytest.approx([0.1, 0.475, 0.85, 1.0])
    assert [found["training"][way]["seconds"] for way in found["ways"]] == [[2.0], [3.0]]
    # The weight rises over all of its iterations, however many they are.
    assert found["training"]["longer"]["iterations"] == len(weights[4:]) == 6
    assert [weight for _, weight in weights[4:]] == pytest.approx([0.1, 0.35, 0.6, 0.85, 1, 1])
