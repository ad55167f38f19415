from ltm_pyro import guides
from ltm_pyro.experiments import zoo as module
from ltm_pyro.guides import Guide
from ltm_pyro.models import priors
from ltm_pyro.models.priors import Prior
from ltm_pyro.names import names


def test_every_pair_has_a_cell_and_refusals_say_why(corpus):
    found = module.zoo(
        corpus, steps=2, documents=6, of_priors=["standard-normal", "layerwise"],
        of_guides=["mean-field", "amortized", "point"], progress=False,
    )  # fmt: skip
    assert len(found.cells) == 6
    refused = found.cells["layerwise", "point"]
    assert refused.figure is None
    assert "without density" in refused.refused
    text = found.to_markdown()
    assert text.count("| refused | refused |") == 2
    assert "+0.000 ± 0.000" in text
    assert "- `point`: Point is a point" in text
    again = module.zoo(
        corpus, steps=2, documents=6, of_priors=["layerwise"], of_guides=["amortized"],
        progress=False,
    )  # fmt: skip
    pair = ("layerwise", "amortized")
    assert again.cells[pair].figure.nats.tolist() == found.cells[pair].figure.nats.tolist()


def test_all_members_are_in_the_table(monkeypatch, corpus, tmp_path, capsys):
    def cell(corpus, steps, documents, seed, pair):
        return module.Cell(None, 0.0, "not run here")

    monkeypatch.setattr(module, "_cell", cell)
    monkeypatch.setattr(module, "load_corpus", lambda *_, **__: corpus)
    out = tmp_path / "zoo.md"
    module.main(["--out", str(out)])
    text = out.read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    for prior in names(priors, Prior):
        assert f" {prior} |" in text
    for guide in set(names(guides, Guide)) - {"no-guide"}:
        assert f"| {guide} |" in text
