import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.experiments import demo


def test_the_demo_tells_the_whole_story(tmp_path, monkeypatch, capsys):
    small = ltm.load_corpus("python-docs", limit=60, length=demo.LENGTH)
    monkeypatch.setattr(demo, "load_corpus", lambda length: small)
    monkeypatch.setattr(demo, "THINKING", 1)
    report = demo.demo(tmp_path / "run", steps=2)
    told = capsys.readouterr().out
    assert set(report.figures) == {"elbo", "prior", "baseline"}
    for part in ("nats/token", "(prior - elbo, paired)", "Three texts", "Going on from",
                 "Plots: ", "Checkpoint: "):  # fmt: skip
        assert part in told
    tax = report["elbo"].nats_per_token - report["baseline"].nats_per_token
    assert told.splitlines()[-2].startswith(f"tax of elbo: {tax:+.4f} ± ")
    assert (tmp_path / "run" / "training.png").stat().st_size > 10_000
    assert ltm.load(tmp_path / "run").step == 2
    (tmp_path / "mine.png").write_text("mine")
    (tmp_path / "run" / "training.png").unlink()
    (tmp_path / "run" / "training.png").symlink_to(tmp_path / "mine.png")
    demo.draw(ltm.load(tmp_path / "run"), small.test[:4], 0)
    assert (tmp_path / "run" / "training.png").stat().st_size > 10_000
    demo.check_is_demo(tmp_path / "run")  # may be replaced
    assert (tmp_path / "mine.png").read_text() == "mine"


def test_a_demo_replaces_only_a_demo(run_config, tmp_path, capsys):
    run = ltm.train(run_config, tmp_path / "run", progress=False)
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}

    def refused():
        assert cli.main(["demo", "--out", str(run.path)]) == 2
        assert "run holds a run that is not a demo" in capsys.readouterr().err

    refused()
    assert before == {path.name: path.read_bytes() for path in run.path.iterdir()}
    (run.path / "config.json").write_text("{")
    refused()
    (run.path / "config.json").unlink()
    refused()
