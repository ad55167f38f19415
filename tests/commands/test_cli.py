import dataclasses
import json
import re
import shutil
import sys

import pytest
import torch

import ltm_pyro.commands.cli as cli
from ltm_pyro import load
from ltm_pyro.commands import command
from ltm_pyro.config import Config, Fast, Named
from ltm_pyro.data.building import split_of
from ltm_pyro.errors import InputError, NotFinite
from ltm_pyro.inference.released import FixedNoise, Leaking, Released
from ltm_pyro.runs.build import build_guide, shared_of
from ltm_pyro.runs.config_json import from_dict, to_dict

SMALL = [
    "--steps", "3", "--batch", "4", "--length", "12", "--vocabulary", "300", "--check-every", "3",
    "--architecture.layers", "2", "--architecture.width", "16", "--architecture.heads", "2",
    "--architecture.feedforward", "24", "--architecture.window", "4", "--thoughts.layers", "2",
    "--thoughts.slots", "1", "--thoughts.dim", "3", "--fast.steps", "2", "--quiet",
]  # fmt: skip


def ltm(*arguments):
    return cli.main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run and its text, made once: to be copied."""
    place = tmp_path_factory.mktemp("whole")
    things = {"sea": ["wave", "fish", "sail", "salt"], "wood": ["tree", "leaf", "root", "moss"]}
    lines = []
    for i in range(60):
        topic = list(things)[i % 2]
        words = [things[topic][(i // 2 + j * (i % 5 + 1)) % 4] for j in range(4 + i % 7)]
        lines.append(json.dumps({"text": f"{topic} {i}: " + " ".join(words), "label": i}))
    (place / "documents.jsonl").write_text("\n".join(lines) + "\n")
    data = ("--data", place / "documents.jsonl")
    assert ltm("train", *data, "--out", place / "run", "--baseline", *SMALL) == 0
    return place


@pytest.fixture
def text_file(whole):
    """The text of the run; put back if a test has changed it."""
    path = whole / "documents.jsonl"
    before = path.read_text()
    yield path
    path.write_text(before)


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole / "run", tmp_path / "run")


def test_train_evaluate_generate_info(run, text_file, capsys):
    capsys.readouterr()
    assert ltm("evaluate", run, "--data", text_file, "--json", "--bounds", "elbo:4,prior") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.pop("data")["split"] == "test"
    assert set(figures) == {"elbo", "prior", "baseline"}
    for figure in figures.values():
        assert {"nats_per_token", "perplexity", "bits_per_byte", "standard_error", "documents",
                "protocol"} <= set(figure)  # fmt: skip
    assert figures["elbo"]["draws"] == 4
    few = ("--bounds", "elbo:2")
    assert ltm("evaluate", run, *few, "--sandwich", 3, "--temperatures", 3) == 0
    assert "reverse AIS" in capsys.readouterr().out
    sandwich = ("--sandwich", 2, "--temperatures", 3)
    assert ltm("evaluate", run, *few, "--against", run, "--json", *sandwich) == 0
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


def test_generating_streams_stops_and_takes_several_prompts(run, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_bytes("wood 2: tr\r\n\nsea é\n".encode())
    several = ["generate", run, "--prompt", "sea", "--prompts-file", prompts, "--top-k", "50"]
    capsys.readouterr()
    assert ltm(*several, "--stop", "e", "--stop", "a", "--json") == 0
    samples = json.loads(capsys.readouterr().out)["samples"]
    assert [s["prompt"] for s in samples] == ["sea", "wood 2: tr", "sea é"]
    assert {s["ended"] for s in samples} <= {"end", "stop", "length"}
    assert not any(set("ea") & set(s["continuation"]) for s in samples)

    line = "\n" + "-" * 72 + "\n"
    for arguments in (several, ["generate", run, "--n", "3"], ["generate", run, "--prompt", "sea"]):
        assert ltm(*arguments) == 0
        whole = capsys.readouterr().out
        assert ltm(*arguments, "--stream") == 0
        streamed = capsys.readouterr().out
        assert sorted(streamed[:-1].split(line)) == sorted(whole[:-1].split(line))
    assert streamed == whole
    assert whole.startswith("sea")


def test_thoughts_are_fitted_anew_and_texts_written_again(run, capsys):
    def written(*options):
        capsys.readouterr()
        assert ltm("generate", run, "--prompt", "sea", "--n", 2, "--json", *options) == 0
        return json.loads(capsys.readouterr().out)

    plain = written()
    assert written("--progressive", 500)["samples"] == plain["samples"]
    assert "every 4 tokens" in written("--progressive", 4)["protocol"]
    assert written("--rethink", 0)["samples"] == plain["samples"]
    found = written("--rethink", 2)
    assert found["protocol"].startswith("search, no draw of the model and no likelihood")
    best = [max(range(3), key=[turn[i] for turn in found["search_scores"]].__getitem__)
            for i in range(2)]  # fmt: skip
    assert found["kept"] == best
    assert ltm("generate", run, "--prompt", "sea", "--rethink", 1) == 0
    told = capsys.readouterr()
    assert told.out.startswith("sea")
    assert "search, no draw of the model and no likelihood" in told.err


def test_one_text_is_printed_as_it_comes(run, monkeypatch):
    printed = []
    monkeypatch.setattr("builtins.print", lambda *text, **options: printed.append((text, options)))
    assert ltm("generate", run, "--prompt", "sea", "--stream") == 0
    *pieces, end = printed
    assert len(pieces) > 2
    assert pieces[0][0][0].startswith("sea")
    assert all(options == {"end": "", "flush": True} for _, options in pieces)
    assert end[0] == ("",)


def test_bad_questions_to_generate(run, tmp_path, capsys):
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for arguments, message in [
        (["--top-k", "0"], "--top-k is 0"),
        (["--stop", ""], "stop holds an empty string"),
        (["--stream", "--json"], "choose one"),
        (["--rethink", "1", "--stream"], "--rethink and --stream do not go together"),
        (["--rethink", "1", "--progressive", "4"], "--rethink and --progressive do not go"),
        (["--progressive", "0"], "--progressive is 0"),
        (["--prompts-file", "nowhere.txt"], "cannot read prompts from nowhere.txt: No such file"),
        (["--prompts-file", tmp_path], "Is a directory"),
        (["--prompts-file", tmp_path / "blank.txt"], "holds no prompt: expected one a line"),
        (["--prompts-file", tmp_path / "latin.txt"], "is not UTF-8 (byte 3 is 0xe9)"),
    ]:
        capsys.readouterr()
        assert ltm("generate", run, *arguments) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert message in told.err


def test_text_is_fitted_by_as_many_draws_a_step_as_asked_for(run, capsys):
    capsys.readouterr()
    found = {}
    for draws in ("", "1", "3"):
        asked = ["--fast.particles", draws] if draws else []
        assert ltm("evaluate", run, "--bounds", "elbo:2", "--json", *asked) == 0
        found[draws] = json.loads(capsys.readouterr().out)["elbo"]
    nats = {draws: one["nats_per_token"] for draws, one in found.items()}
    assert nats[""] == nats["1"] != nats["3"]
    assert "by 3 draws each" in found["3"]["protocol"]
    assert "each" not in found["1"]["protocol"]
    assert ltm("evaluate", run, "--fast.particles", "0") == 2
    assert "--fast.particles" in capsys.readouterr().err
    paired = ["--fast.particles", "3", "--fast.antithetic", "True"]
    assert ltm("evaluate", run, "--bounds", "elbo:2", "--json", *paired) == 0
    other = json.loads(capsys.readouterr().out)["elbo"]
    assert other["nats_per_token"] != nats["3"]
    assert "by 3 draws each in pairs" in other["protocol"]
    assert ltm("evaluate", run, "--fast.antithetic", "True") == 2
    assert "fast.antithetic pairs draws, of which fast.particles has 1" in capsys.readouterr().err


def test_evaluating_takes_the_test_split_of_its_own_text_and_all_of_another(
    run, text_file, tmp_path, capsys
):
    capsys.readouterr()
    assert ltm("evaluate", run, "--json") == 0
    own = json.loads(capsys.readouterr().out)["elbo"]["documents"]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(text_file.read_text().splitlines(keepends=True)[:10]))
    assert ltm("evaluate", run, "--data", other, "--json") == 0
    some = [json.loads(line)["text"] for line in other.read_text().splitlines()]
    held_out = sum(split_of(text) != "train" for text in some)
    assert json.loads(capsys.readouterr().out)["elbo"]["documents"] == held_out
    assert ltm("evaluate", run, "--data", other, "--split", "all", "--json") == 0
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


def test_a_run_is_repeated_from_its_configuration(run, text_file, tmp_path, capsys):
    def weights(folder):
        return (folder / "model.safetensors").read_bytes()

    again, other, plain = (tmp_path / name for name in ("again", "other", "plain"))
    assert ltm("train", "--config", run / "config.json", "--out", again, "--quiet") == 0
    assert weights(again) == weights(run)
    assert (again / "tokenizer.json").read_bytes() == (run / "tokenizer.json").read_bytes()
    whole, repeated = (json.loads((f / "config.json").read_text()) for f in (run, again))
    assert repeated["config"] == whole["config"]
    assert ltm("train", "--config", run, "--out", other, "--seed", 3, "--steps=2", "--quiet") == 0
    assert weights(other) != weights(run)
    config = json.loads((other / "config.json").read_text())["config"]
    assert (config["training"]["seed"], config["training"]["steps"]) == (3, 2)
    (tmp_path / "plain.json").write_text(json.dumps(whole["config"]))
    arguments = ["train", "--config", tmp_path / "plain.json", "--out", plain, "--quiet"]
    assert ltm(*arguments) == 0
    assert weights(plain) == weights(run)
    capsys.readouterr()

    text_file.write_text(text_file.read_text() + '{"text": "one more"}\n')
    whole["versions"]["torch"] = "1.0"
    (run / "config.json").write_text(json.dumps(whole))
    capsys.readouterr()
    assert ltm("train", "--config", run, "--out", plain, "--quiet", "--overwrite") == 2
    assert "config.json is damaged, or another run's" in capsys.readouterr().err
    assert ltm("info", run, "--seal") == 0
    capsys.readouterr()
    assert ltm("train", "--config", run, "--out", plain, "--quiet", "--overwrite") == 0
    told = capsys.readouterr().err
    assert "torch was 1.0, now it is 2" in told
    assert "is not the text it was trained on" in told
    assert ltm(*arguments, "--resume") == 0  # the same with --resume goes on


@pytest.mark.parametrize("option", ["--batch=3", "--preset", "--fast.steps", "--baseline",
                                    "--no-baseline", "--check_every"])  # fmt: skip
def test_what_a_configuration_sets_cannot_stand_beside_it(run, option, capsys):
    values = {"--preset": ["small"], "--fast.steps": ["2"], "--check_every": ["5"]}
    arguments = [option, *values.get(option, [])]
    assert ltm("train", "--config", run / "config.json", "--out", "x", *arguments) == 2
    name = option.partition("=")[0].replace("_", "-").replace("no-", "")
    assert f"{name} is given beside --config" in capsys.readouterr().err


def test_the_best_checkpoint_is_scored(run, capsys):
    assert ltm("train", "--out", run, "--resume", "--steps", "5", "--quiet") == 0
    capsys.readouterr()
    figures = {}
    for name in ("best", "last"):
        assert ltm("evaluate", run, "--split", "valid", "--json", "--checkpoint", name) == 0
        told = capsys.readouterr()
        step = load(run, name).step
        assert f"the {name} checkpoint, of iteration {step}" in told.err
        figures[name] = json.loads(told.out)
    assert set(figures["best"]) == {"elbo", "prior", "baseline", "data"}
    same = load(run, "best").step == load(run, "last").step
    assert (figures["best"]["elbo"] == figures["last"]["elbo"]) in (same, False)
    assert ltm("evaluate", run, "--checkpoint", "best", "--against", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["against"]["elbo"]["difference"] == 0


def test_the_progress_bar_tells_nats_and_time_left_and_notes_keep_off_it(
    text_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # in a terminal
    settings = [*SMALL[:-1], "--check-every", "1"]
    assert ltm("train", "--data", text_file, "--out", tmp_path / "run", *settings) == 0
    told = capsys.readouterr().err
    assert re.search(r"training: 100%.* 3/3 \[\d\d:\d\d<\d\d:\d\d, .*\d\.\d{3} nats/token\]", told)
    lines = [line.split("\r")[-1] for line in told.split("\n")]
    notes = [line for line in lines if line.startswith("step ")]
    assert len(notes) == 3
    whole = r"step \d: held-out bound \S+ ± \S+ \(KL \S+\), prior \S+ nats/token"
    assert all(re.fullmatch(whole, note) for note in notes)
    assert all("held-out" not in part for part in re.split(r"[\r\n]", told) if "training:" in part)


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
    assert released.fast == Released(released.fast.steps)
    assert released.guide.options == {"log_variance": -5.0}
    for name, loop in (("fixed-noise", FixedNoise), ("leaking", Leaking)):
        options = ["train", "--out", "x", "--protocol", name, "--fast.lr", "0.2"]
        config = cli.parse(options).config()
        assert config.fast == loop(steps=4, lr=0.2)
        assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config


def test_the_quick_protocol_leaves_what_is_given(text_file):
    def fast(*options):
        return cli.parse(["train", "--out", "x", "--protocol", "quick", *options]).config().fast

    assert fast("--preset=small") == Fast.quick()
    assert fast() == Fast.quick(4)
    assert fast("--fast.steps", "3") == Fast.quick(3)
    assert fast("--fast.steps", "6", "--fast.precision", "bf16") == dataclasses.replace(
        Fast.quick(6), precision="bf16"
    )
    usual = fast("--preset=small", "--fast.steps", "16", "--fast.optimizer=Adam")
    assert (usual.steps, usual.optimizer, usual.lr) == (16, "Adam", Fast.quick().lr)
    flow = ["--protocol", "quick", "--guide", "flow"]
    train = cli.parse(["train", "--out", "x", "--data", str(text_file), *flow])
    with pytest.raises(InputError, match="NaturalGradient needs a guide"):
        train.run()


def test_the_grown_protocol_is_defaults_of_options():
    def config(*options):
        return cli.parse(["train", "--out", "x", "--protocol", "grown", *options]).config()

    found, quick = config(), cli.parse(["train", "--out", "x", "--protocol", "quick"]).config()
    assert found.fast == quick.fast.changed(particles=2, antithetic=True)
    assert config("--fast.particles", "4").fast.particles == 4
    alone = config("--fast.particles", "1", "--fast.no-antithetic")
    assert alone.fast == quick.fast
    assert found.thoughts == dataclasses.replace(quick.thoughts, slots=1)
    assert quick.thoughts.slots > 1
    assert config("--thoughts.slots", "3").thoughts.slots == 3
    assert found.training == dataclasses.replace(quick.training, speak=0.5)
    assert found.objective == dataclasses.replace(quick.objective, start=1.0)
    assert found.slow == dataclasses.replace(quick.slow, thoughts_lr=quick.slow.lr / 4)
    assert config("--preset=small").slow.thoughts_lr == 1e-4
    assert config("--slow.lr", "1e-3").slow.thoughts_lr == 2.5e-4
    assert config("--slow.lr", "1e-3", "--slow.thoughts-lr", "1e-3").slow.thoughts_lr == 1e-3
    other = config("--speak", "0.2", "--slow.thoughts-lr", "1e-3", "--objective.start", "0.1")
    assert (other.training.speak, other.slow.thoughts_lr) == (0.2, 1e-3)
    assert other.objective == quick.objective


def test_bad_questions_to_a_run(run, capsys):
    for arguments, message in [
        (["evaluate", run, "--bounds", "elbow"], "unknown bound 'elbow': did you mean 'elbo'"),
        (["generate", run, "--prompt", "sea " * 40], "leaves no room"),
        (["generate", run, "--top-p", "2"], "--top-p is 2.0"),
        (["train", "--out", run], "already holds a run"),
    ]:
        assert ltm(*arguments) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("command", ["generate", "evaluate", "info", "train"])
def test_null_characters_are_told(command, capsys):
    for arguments in ([command, "a\0b"], [command, "--seed", "\0"]):
        assert cli.main(arguments) == 2
        assert "holds a null character" in capsys.readouterr().err


def test_help_and_version(capsys):
    assert ltm() == 0
    assert ltm("--version") == 0
    assert "ltm train" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        ltm("train", "--help")
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(name in told for name in ("gated-linear", "vamp-prior", "laplace-approximation"))


def test_not_finite_ends_with_1(monkeypatch, capsys):
    def explode(self):
        raise NotFinite("site 'tokens' is not finite for rows [3]")

    monkeypatch.setattr(command("info"), "run", explode)
    assert ltm("info") == 1
    assert "ltm: stopped: site 'tokens'" in capsys.readouterr().err


def test_priors_and_guides_take_options(text_file, tmp_path, capsys):
    out = tmp_path / "mixed"
    assert ltm(
        "train", "--data", text_file, "--out", out, *SMALL, "--prior", "mixture",
        "--prior.components", "3", "--guide=covariance", "--guide.scope=layer",
    ) == 0  # fmt: skip
    config = load(out).config
    assert config.prior == Named("mixture", {"components": 3})
    assert config.guide == Named("covariance", {"scope": "layer"})
    assert ltm("evaluate", out, "--bounds", "elbo:2,iwae:4", "--json") == 0
    capsys.readouterr()
    for arguments, message in (
        (["--prior", "mixture", "--prior.component", "3"], "did you mean 'components'"),
        (["--prior", "mixture", "--prior.components", "0"], "components is 0"),
        (["--prior.components"], "--prior.components has no value"),
        (["--guide.rank", "3"], "unknown option of guide mean-field 'rank'"),
        (["--guide", "point"], "guide 'point' has no density"),
    ):
        assert ltm("train", "--data", text_file, "--out", tmp_path / "x", *arguments) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_sampler_gets_a_rate_that_suits_it_unless_one_is_given():
    def rate(*more):
        return cli.parse(["train", "--out", "x", "--guide", "langevin", *more]).config().fast.lr

    assert rate() == 0.005
    assert rate("--fast.lr", "0.02") == 0.02
    assert cli.parse(["train", "--out", "x"]).config().fast.lr == 0.3


def test_what_guides_share_is_trained_saved_and_loaded(text_file, tmp_path, capsys):
    out = tmp_path / "amortized"
    arguments = ["--data", text_file, *SMALL, "--guide", "amortized", "--guide.width", "8"]
    assert ltm("train", "--out", out, *arguments) == 0
    capsys.readouterr()
    figures = []
    for _ in range(2):
        assert ltm("evaluate", out, "--json") == 0
        figures.append(json.loads(capsys.readouterr().out)["elbo"]["nats_per_token"])
    assert figures[0] == figures[1]
    run = load(out)
    fresh = build_guide(run.config.guide, run.model, run.config.training.seed)
    before, after = (shared_of(g).state_dict() for g in (fresh, run.guide))
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--guide", "covariance", "--guide.rank", "abc"], "guide.rank is 'abc'"),
        (["--guide", "covariance", "--guide.rank", "1000"], "rank is 1000"),
        (["--guide", "mixture", "--guide.components", "2.5"], "guide.components is 2.5"),
        (["--guide", "langevin", "--warm.steps", "2"], "a warm start needs parameters"),
        (["--length", "0"], "length is 0"),
        (["--slow.optimizer", "LBFGS"], "optimizer LBFGS"),
    ],
)
def test_nothing_is_overwritten_before_the_new_run_can_start(
    run, text_file, arguments, message, capsys
):
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    small = [a for a in SMALL if a != "--length" and a != "12"]
    assert ltm("train", "--data", text_file, "--out", run, "--overwrite", *small, *arguments) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


def test_questions_out_of_range_end_with_one_line(run, capsys):
    for arguments, message in (
        (["--seed", "-1"], "--seed is -1: expected a whole number, 0 or more"),
        (["--chunk", "0"], "chunk is 0: expected a whole number, 1 or more"),
        (["--sandwich", "-1"], "--sandwich is -1: expected a whole number, 0 or more"),
        (["--sandwich", "1"], "a sandwich needs at least"),
        (
            ["--sandwich", "2", "--temperatures", "0"],
            "temperatures is 0: expected a whole number, 1 or more",
        ),
    ):
        assert ltm("evaluate", run, *arguments) == 2
        assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_what_a_resumed_run_ignores_is_told(run, capsys):
    assert ltm("train", "--out", run, "--resume", "--slow.lr", "9", "--quiet") == 0
    assert "--slow.lr: ignored, a resumed run keeps its own" in capsys.readouterr().err
    assert ltm("train", "--out", run, "--resume", "--steps", "1", "--quiet") == 2
    assert "has done 3 iterations, more than the 1 asked for" in capsys.readouterr().err


def test_figures_are_of_documents_that_were_not_trained_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    texts = [f"Story {i}: a fox met {i % 7} owls by the river." for i in range(120)]
    (tmp_path / "texts.txt").write_text("\n\n".join(texts))
    more = [*texts[:60], *(f"Tale {i}: an owl met a fox." for i in range(25))]
    (tmp_path / "more.txt").write_text("\n\n".join(more))
    small = [
        "--vocabulary",
        "300",
        "--length",
        "16",
        "--batch",
        "4",
        "--fast.steps",
        "1",
        "--steps",
        "1",
        "--quiet",
    ]
    assert ltm("train", "--data", "texts.txt", "--out", "run", *small) == 0

    def scored(*asked):
        capsys.readouterr()
        assert ltm("evaluate", "run", "--bounds", "prior:2", "--json", *asked) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["prior"]["documents"] == found["data"]["documents"]
        assert 0 < found["data"].pop("trained_tokens") <= 4 * 16  # a step of 4 rows
        return found["data"]

    test = {t for t in texts if split_of(t) == "test"}
    trained = {t for t in texts if split_of(t) == "train"}
    assert scored() | {"rows": 0, "notes": []} == {
        "source": "texts.txt", "split": "test", "rows": 0, "documents": len(test),
        "left_out_as_trained_on": 0, "notes": [],
    }  # fmt: skip
    limited = scored("--limit", "60")  # another text by its fingerprint, the same by its documents
    assert limited["split"] == "test"
    assert limited["documents"] == len(test & set(texts[:60]))
    other = scored("--data", "more.txt")
    assert (other["split"], other["left_out_as_trained_on"]) == ("all", len(trained & set(more)))
    assert other["documents"] == len(set(more) - trained)
    assert scored("--data", "more.txt", "--split", "all")["documents"] == len(set(more))


def test_a_control_is_not_asked_for_and_refused():
    words = ["train", "--out", "x", "--no-baseline", "--control"]
    with pytest.raises(InputError, match="--control flops asks for a control, and --no-baseline"):
        cli.parse([*words, "flops"])
    assert not cli.parse([*words, "decoder"]).config().training.baseline
