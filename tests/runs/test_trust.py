"""A stranger's run imports, reads and asks for nothing that its reader did not ask for."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ltm_pyro as ltm
from ltm_pyro.commands import cli
from ltm_pyro.config import Named
from ltm_pyro.errors import InputError, printable
from ltm_pyro.names import from_here, imported
from ltm_pyro.runs import folder
from ltm_pyro.runs.manifest import Manifest
from ltm_pyro.runs.trust import outside

from .helpers import train

SMALL = [
    "--steps", "2", "--batch", "4", "--length", "12", "--vocabulary", "300", "--check-every", "2",
    "--architecture.width", "16", "--architecture.heads", "2", "--architecture.feedforward", "24",
    "--architecture.window", "4", "--thoughts.slots", "2", "--thoughts.dim", "3",
    "--fast.steps", "2", "--quiet",
]  # fmt: skip
PRIOR = """
import pyro.distributions as dist
from ltm_pyro.models.priors import Prior

open("ran.txt", "a").write("x")


class Wide(Prior):
    def distribution(self):
        return dist.Normal(self.anchor, self.anchor + 2).expand(self.shape).to_event(3)
"""


def ltm_(*arguments):
    return cli.main([str(one) for one in arguments])


@pytest.fixture
def own(text_file, tmp_path):
    """A run with a prior of its user's, in its folder; then all that was imported is forgotten."""
    place = tmp_path / "project"
    (place / "pkg").mkdir(parents=True)
    (place / "pkg" / "wide.py").write_text(PRIOR)
    with contextlib.chdir(place):
        out = ("--out", place / "run", "--data", text_file)
        assert ltm_("train", *out, "--prior", "pkg.wide:Wide", *SMALL) == 0
        assert (place / "ran.txt").exists()
        (place / "ran.txt").unlink()
    forget()
    yield place
    forget()


def forget():
    for name in ("pkg", "pkg.wide"):
        sys.modules.pop(name, None)


def test_names_are_imported_only_with_trust(own, capsys):
    run = own / "run"
    with contextlib.chdir(own):
        capsys.readouterr()
        for command in (["evaluate", run], ["generate", run], ["train", "--resume", "--out", run],
                        ["train", "--config", run, "--out", own / "again"],
                        ["evaluate", run, "--against", run]):  # fmt: skip
            assert ltm_(*command) == 2
            told = capsys.readouterr().err.strip().splitlines()[-1]
            assert "names code outside ltm_pyro: prior pkg.wide:Wide (from " in told
            assert f"{own / 'pkg' / 'wide.py'})" in told
            assert "begun 20" in told
            assert f"only with --trust (read {run / 'source.pkg.wide.py'} first)" in told
        with pytest.raises(InputError, match="only with --trust"):
            ltm.load(run)
        for command in ("info", run), ("plan", "--run", run):
            assert ltm_(*command) == 0
            told = capsys.readouterr().out
            assert command[0] == "plan" or "pkg.wide:Wide" in told
        assert not (own / "ran.txt").exists()
        assert ltm_("generate", run, "--trust") == 0
        assert "pkg.wide:Wide" in capsys.readouterr().err.splitlines()[0]
        assert (own / "ran.txt").exists()
        assert ltm_("generate", run) == 0  # this process has imported it
        forget()
        for command in (["evaluate", run], ["train", "--resume", "--out", run, "--steps", "3"],
                        ["train", "--config", run, "--out", own / "again"]):  # fmt: skip
            assert ltm_(*command, "--trust") == 0
            forget()
        typed = ["train", "--resume", "--out", run, "--steps", "4", "--prior", "pkg.wide:Wide"]
        assert ltm_(*typed) == 0


def test_a_copy_of_the_source_is_kept_and_sealed(own):
    run = own / "run"
    assert (run / "source.pkg.wide.py").read_text() == PRIOR
    assert "source.pkg.wide.py" in Manifest.read(run).files
    record = json.loads((run / "config.json").read_text())
    assert record["sources"]["pkg.wide:Wide"] == {
        "file": str(own / "pkg" / "wide.py"), "root": str(own), "copy": "source.pkg.wide.py",
    }  # fmt: skip


def test_elsewhere_the_error_says_where_it_came_from(own, tmp_path, capsys):
    run = own / "run"
    (tmp_path / "elsewhere").mkdir()
    with contextlib.chdir(tmp_path / "elsewhere"):
        for command in (["evaluate", run], ["train", "--resume", "--out", run]):
            assert ltm_(*command, "--trust") == 2
            told = capsys.readouterr().err.strip().splitlines()[-1]
            assert "cannot import 'pkg.wide:Wide': No module named 'pkg'" in told
            assert f"{run} had it from {own / 'pkg' / 'wide.py'}: go to {own}, or type " in told
            assert f"PYTHONPATH={own} before ltm" in told


def test_the_working_folder_is_on_the_path_only_while_a_name_is_imported(tmp_path, monkeypatch):
    (tmp_path / "mine_once.py").write_text("import sys\nclass Seen:\n    path = list(sys.path)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="No module named 'mine_once'"):
        imported("mine_once:Seen")
    before = list(sys.path)
    with from_here():
        assert sys.path == before
        assert imported("mine_once:Seen").path == [*before, str(tmp_path)]
        with pytest.raises(InputError, match="cannot import"):
            imported("mine_once:Nothing")
        assert sys.path == before
    del sys.modules["mine_once"]


def test_every_place_of_a_name_is_seen(run_config):
    config = run_config.replace(
        decoder=Named("a:D", {"mixer": {"of": ["b:M"]}}),
        prior=Named("layerwise", {"base": "c:P"}),
        guide=Named("auto", {"name": "d:G"}),
        callbacks=(Named("e:C"), Named("wandb")),
        fast=ltm.Fast(optimizer="f:make", options={"like": "g:h"}),
        slow=ltm.Slow(optimizer="h:make"),
    )
    assert outside(config) == {
        "a:D": "decoder", "b:M": "decoder", "c:P": "prior", "d:G": "guide", "e:C": "callback",
        "f:make": "fast optimizer", "g:h": "fast optimizer", "h:make": "slow optimizer",
    }  # fmt: skip
    assert outside(run_config) == {}


def test_something_else_that_is_imported_already_is_no_class_of_a_run(trained):
    """`shutil:rmtree` is there in any process: it needs trust like the rest."""
    run = trained()
    for name in ("shutil:rmtree", "subprocess:Popen", "builtins:exec", "os:system"):
        change(run.path, fast={"optimizer": name})
        with pytest.raises(InputError, match=f"fast optimizer {name}; it is imported, and so"):
            ltm.load(run.path)


def change(path, **parts):
    """Change the configuration of a run as a stranger would: with a manifest that agrees."""
    place = path / "config.json"
    record = json.loads(place.read_text())
    for part, values in parts.items():
        record["config"][part] |= values
    place.write_text(json.dumps(record))
    folder.seal(path)


def test_text_is_read_where_the_run_left_it_and_nowhere_else(run_config, text_file, tmp_path,
                                                            capsys):  # fmt: skip
    run = train(run_config, tmp_path / "run")
    other = tmp_path / "other.jsonl"
    shutil.copy(text_file, other)
    assert ltm_("evaluate", run.path) == 0
    for source in (str(other), "a-data-set-of/the-hub", "hf:x", "/dev/zero"):
        change(run.path, data={"source": source})
        for command in (["evaluate", run.path], ["train", "--resume", "--out", run.path],
                        ["train", "--config", run.path, "--out", tmp_path / "x"]):  # fmt: skip
            capsys.readouterr()
            assert ltm_(*command) == 2
            told = capsys.readouterr().err.strip().splitlines()[-1]
            assert f"has its text from {source}, which is n" in told
            assert "name the text with --data, or say --trust" in told
    assert ltm_("evaluate", run.path, "--data", text_file) == 0
    assert ltm_("train", "--resume", "--out", run.path, "--data", text_file) == 0


def test_an_explosive_separator_is_not_used_on_other_text(run_config, text_file, tmp_path, capsys):
    run = train(run_config, tmp_path / "run")
    change(run.path, data={"separator": "(a+)+$"})
    bomb = tmp_path / "bomb.txt"
    bomb.write_text("a" * 40 + "!")
    assert ltm_("evaluate", run.path, "--data", bomb) == 2
    assert "splits text at the regular expression '(a+)+$'" in capsys.readouterr().err
    assert ltm_("evaluate", run.path, "--data", text_file, "--separator", "\n\n") == 0


def test_a_run_finds_its_text_from_anywhere(run_config, text_file, tmp_path):
    with contextlib.chdir(text_file.parent):
        config = run_config.replace(data=ltm.config.Data(source=text_file.name, vocabulary=300))
        run = train(config, tmp_path / "run")
        assert ltm.load(run.path).config.data.source == text_file.name
    (tmp_path / "elsewhere").mkdir()
    with contextlib.chdir(tmp_path / "elsewhere"):
        assert ltm.load(run.path).config.data.source == str(text_file)
        assert ltm_("evaluate", run.path, "--bounds", "prior:2") == 0
        assert ltm_("train", "--resume", "--out", run.path, "--steps", "5") == 0
        Path(text_file.name).write_text("another text of the same name")
        assert ltm.load(run.path).config.data.source == str(text_file)
        moved = text_file.with_name("moved.jsonl")
        text_file.rename(moved)
        assert ltm_("evaluate", run.path) == 2


HOSTILE = """
import contextlib, io, json, sys

run, planted = sys.argv[1:3]
seen = []
WATCHED = ("socket.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn",
           "urllib.", "http.", "ftplib.")

def watch(event, arguments):
    text = repr(arguments)[:200]
    if event.startswith(WATCHED) and event not in ("socket.__new__", "socket.gethostname"):
        seen.append((event, text))
    if (event == "import" and "evil" in text) or (event == "open" and planted in text):
        seen.append((event, text))

from ltm_pyro.commands import cli
import datasets, tokenizers, torch._dynamo  # what they do on import is not the run's doing
sys.addaudithook(watch)
codes = []
for command in json.loads(sys.argv[3]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(command)
    codes.append([code, out.getvalue(), err.getvalue()])
print(json.dumps({"seen": seen, "codes": codes}))
"""


def test_a_hostile_run_executes_and_contacts_nothing(run_config, text_file, tmp_path):
    """It names code everywhere, text and a tokenizer elsewhere, and its log drives a terminal."""
    place = tmp_path / "nice-run"
    run = train(run_config, place / "run")
    (place / "evil.py").write_text(
        "open('pwned', 'w')\nclass Evil: pass\ndef evil(*_, **__): ...\n"
    )
    for name in ("wandb", "tensorboard", "zuko", "arviz", "sitecustomize"):
        (place / f"{name}.py").write_text("import evil\n")
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret\n\nanother")
    other = tmp_path / "other.jsonl"
    shutil.copy(text_file, other)
    evil = {"name": "evil:Evil", "options": {}}
    hidden = {"name": "auto", "options": {"name": "evil:Evil"}}
    escape = "\x1b]0;owned\x07\x1b[2J"
    variants = {
        "prior": {"prior": evil}, "guide": {"guide": evil}, "decoder": {"decoder": evil},
        "callback": {"callbacks": [evil]}, "hidden": {"guide": hidden},
        "fast": {"fast": {"optimizer": "evil:evil"}}, "slow": {"slow": {"optimizer": "evil:evil"}},
        "hub": {"data": {"source": "someone/something"}},
        "file": {"data": {"source": str(secret)}},
        "tokenizer": {"data": {"tokenizer": "someone/tokenizer"}},
        "escapes": {"data": {"source": escape}, "prior": {"name": escape, "options": {}}},
    }  # fmt: skip
    commands = []
    for name, parts in variants.items():
        path = shutil.copytree(run.path, place / name)
        record = json.loads((path / "config.json").read_text())
        for part, values in parts.items():
            kept = record["config"][part]
            merged = {**kept, **values} if isinstance(kept, dict) and part != "prior" else values
            record["config"][part] = merged
        record["command"] = ["ltm", escape]
        record["data"]["source"] = escape
        (path / "config.json").write_text(json.dumps(record))
        folder.seal(path)
        commands += [[command, str(path)] for command in ("evaluate", "generate", "info")]
        commands += [["info", str(path), "--verify"], ["train", "--resume", "--out", str(path)],
                     ["train", "--config", str(path), "--out", str(tmp_path / "out"), "--overwrite",
                      *(["--data", str(other)] if name == "tokenizer" else [])]]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HOSTILE), str(place), str(secret),
         json.dumps(commands)],
        cwd=place, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["seen"] == []
    assert not list(place.rglob("pwned"))
    for command, (code, out, err) in zip(commands, found["codes"], strict=True):
        assert code in (0, 2), (command, err)
        assert "\x1b" not in out + err
        assert "Traceback" not in err
        name = next(Path(one).name for one in command if str(place) in one)
        harmless = {"hub": ("generate",), "file": ("generate",)}.get(name, ())
        if name == "tokenizer":  # its own is in its folder
            harmless = ("generate", "evaluate") if "--resume" not in command else ("train",)
        if command[0] != "info" and command[0] not in harmless:
            assert code == 2, (command, out)


def test_what_drives_a_terminal_is_spelt_out():
    assert printable("a\x1b[2Jb\x07\u202e\r\nc\td\x9b") == r"a\x1b[2Jb\x07\u202e\r" "\nc\td\\x9b"
    assert printable("naïve — 思想 🦊\u200d") == "naïve — 思想 🦊\u200d"
