import ltm_pyro as ltm
from ltm_pyro.experiments import demo


def test_the_demo_tells_the_whole_story(tmp_path, monkeypatch, capsys):
    small = ltm.load_corpus("python-docs", limit=400)
    monkeypatch.setattr(demo, "load_corpus", lambda: small)
    report = demo.demo(tmp_path / "run", steps=2)
    told = capsys.readouterr().out
    assert set(report.figures) == {"elbo", "prior", "baseline"}
    for part in ("nats/token", "(baseline - elbo, paired)", "Three texts", "Going on from",
                 "Plots: ", "Checkpoint: "):  # fmt: skip
        assert part in told
    assert (tmp_path / "run" / "training.png").stat().st_size > 10_000
    assert ltm.load(tmp_path / "run").step == 2
