import json

import pytest

import ltm_pyro.cli as cli
from ltm_pyro.errors import NotFinite

SMALL = [
    "--steps", "3", "--batch", "4", "--length", "12", "--vocabulary", "300", "--check-every", "3",
    "--architecture.width", "16", "--architecture.heads", "2", "--architecture.feedforward", "24",
    "--architecture.window", "4", "--thoughts.slots", "2", "--thoughts.dim", "3",
    "--fast.steps", "2", "--quiet",
]  # fmt: skip


def ltm(*arguments):
    return cli.main([str(a) for a in arguments])


@pytest.fixture
def run(text_file, tmp_path):
    out = tmp_path / "run"
    assert ltm("train", "--data", text_file, "--out", out, "--baseline", *SMALL) == 0
    return out


def test_train_evaluate_generate_info(run, text_file, capsys):
    capsys.readouterr()
    assert ltm("evaluate", run, "--data", text_file, "--json", "--bounds", "elbo:4,prior") == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"elbo", "prior", "baseline"}
    for figure in figures.values():
        assert {"nats_per_token", "perplexity", "bits_per_byte", "standard_error", "documents",
                "protocol"} <= set(figure)  # fmt: skip
    assert figures["elbo"]["draws"] == 4
    assert ltm("evaluate", run, "--split", "valid", "--sandwich", 3, "--temperatures", 3) == 0
    assert "reverse AIS" in capsys.readouterr().out
    assert ltm("evaluate", run, "--against", run, "--json", "--sandwich", 2) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["against"]["elbo"]["difference"] == 0
    assert found["sandwich"]["documents"] == 2
    assert ltm("evaluate", run, "--split", "valid") == 0
    assert "nats/token" in capsys.readouterr().out

    assert ltm("generate", run, "--prompt", "sea", "--n", 2, "--json", "--seed", 1) == 0
    first = json.loads(capsys.readouterr().out)
    assert [s["prompt"] for s in first["samples"]] == ["sea", "sea"]
    assert all(s["text"] == s["prompt"] + s["continuation"] for s in first["samples"])
    assert ltm("generate", run, "--prompt", "sea", "--n", 2, "--json", "--seed", 1) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert ltm("generate", run) == 0
    capsys.readouterr()

    assert ltm("info", run, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["iterations"], facts["of"], facts["baseline"]) == (3, 3, True)
    assert facts["tokens_seen"] > 0


def test_evaluating_takes_the_test_split_of_its_own_text_and_all_of_another(
    run, text_file, tmp_path, capsys
):
    capsys.readouterr()
    assert ltm("evaluate", run, "--json") == 0
    own = json.loads(capsys.readouterr().out)["elbo"]["documents"]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(text_file.read_text().splitlines(keepends=True)[:10]))
    assert ltm("evaluate", run, "--data", other, "--json") == 0
    assert json.loads(capsys.readouterr().out)["elbo"]["documents"] == 10
    assert 0 < own < 15


def test_a_resumed_run_keeps_its_own_configuration(run, text_file, capsys):
    assert ltm("train", "--out", run, "--resume", "--steps", 5, "--quiet") == 0
    assert "resuming" in capsys.readouterr().err
    assert ltm("info", run, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["iterations"], facts["of"], facts["width"]) == (5, 5, 16)
    text_file.write_text(text_file.read_text() + '{"text": "one more"}\n')
    assert ltm("train", "--out", run, "--resume", "--steps", 6) == 2
    assert "was trained on other text" in capsys.readouterr().err
    assert ltm("train", "--out", run.parent / "none", "--resume") == 2
    assert "holds no run to resume" in capsys.readouterr().err


def test_presets_are_told_with_their_sizes(capsys):
    assert ltm("info", "small", "--json") == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == pytest.approx(38.4e6, rel=0.01)
    assert ltm("info") == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("tiny", "small", "medium", "large"))


def test_a_preset_fills_in_what_is_not_given():
    train = cli.parse(["train", "--out", "x", "--preset=large", "--fast.steps", "5"])
    assert (train.architecture.layers, train.fast.steps, train.slow.lr) == (12, 5, 4e-4)
    released = cli.parse(["train", "--out", "x", "--protocol", "released"]).config()
    assert released.fast.leak
    assert released.guide.options == {"log_variance": -5.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian': did you mean 'train'"),
        (["train", "--out", "x", "--preset", "tny"], "unknown preset 'tny': did you mean 'tiny'"),
        (["train", "--out", "x", "--prior", "normal"], "unknown prior 'normal'"),
        (
            ["train", "--out", "x", "--guide", "meanfield"],
            "unknown guide 'meanfield': did you mean",
        ),
        (["train", "--out", "x", "--guide", "no.such:Guide"], "cannot import 'no.such:Guide'"),
        (["train", "--out", "x", "--data", "missing.txt"], "no file or folder at missing.txt"),
        (["train", "--out", "x", "--data", "TEXT", "--field", "txt"], "unknown field of"),
        (["train", "--out", "x", "--data", "EMPTY"], "is empty"),
        (["train", "--out", "x", "--data", "LATIN"], "is not UTF-8"),
        (["train", "--out", "x", "--fast.optimizer", "Adm", "--data", "TEXT"], "unknown optimizer"),
        (["train", "--out", "x", "--slow.lr", "-1"], "lr is -1.0"),
        (["train", "--out", "x", "--stps", "3"], "Unrecognized options: --stps"),
        (["train"], "Missing from ltm train: --out"),
        (["evaluate", "nowhere"], "nowhere is not a run"),
        (["generate", "nowhere"], "nowhere is not a run"),
        (["info", "smal"], "unknown preset or run 'smal': did you mean 'small'"),
    ],
)
def test_bad_input_ends_with_2_and_one_line(
    arguments, message, text_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    files = {"TEXT": str(text_file), "EMPTY": "empty.txt", "LATIN": "latin.txt"}
    assert ltm(*[files.get(a, a) for a in arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    last = told.err.strip().splitlines()[-1]
    assert last.startswith("ltm: error: ")
    assert message in last
    assert "Traceback" not in told.err


def test_bad_questions_to_a_run(run, capsys):
    for arguments, message in [
        (["evaluate", run, "--bounds", "elbow"], "unknown bound 'elbow': did you mean 'elbo'"),
        (["generate", run, "--prompt", "sea " * 40], "leaves no room"),
        (["generate", run, "--top-p", "2"], "top_p 2.0"),
        (["train", "--out", run], "already holds a run"),
    ]:
        assert ltm(*arguments) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_help_and_version(capsys):
    assert ltm() == 0
    assert ltm("--version") == 0
    assert "ltm train" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        ltm("train", "--help")
    assert stop.value.code == 0


def test_not_finite_ends_with_1(monkeypatch, capsys):
    def explode(self):
        raise NotFinite("site 'tokens' is not finite for rows [3]")

    monkeypatch.setattr(cli.Info, "run", explode)
    assert ltm("info") == 1
    assert "ltm: stopped: site 'tokens'" in capsys.readouterr().err
