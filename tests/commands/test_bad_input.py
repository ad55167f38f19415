"""Every bad input ends with exit code 2 and one line: what was given, what would be right.

`python -m tests.commands.test_bad_input` prints each with its line.
"""

import contextlib
import errno
import io
import json
import os
import shutil
import sys
import tempfile
import textwrap
from pathlib import Path
from unittest import mock

import pytest

from ltm_pyro.commands import cli
from ltm_pyro.data.building import split_of
from ltm_pyro.runs.folder import seal
from ltm_pyro.runs.manifest import Manifest

SMALL = [
    "--steps", "3", "--batch", "4", "--length", "12", "--vocabulary", "300", "--check-every", "3",
    "--architecture.width", "16", "--architecture.heads", "2", "--architecture.feedforward", "24",
    "--architecture.window", "4", "--thoughts.slots", "2", "--thoughts.dim", "3",
    "--fast.steps", "2", "--quiet",
]  # fmt: skip


def full(name):
    """A disk that is full when a file of this name is moved to its place."""
    replace = os.replace

    def fills(source, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    return mock.patch("ltm_pyro.files.os.replace", fills)


def full_log():
    """A disk that is full when a line is added to the log: the device that always is."""

    def opened(path, mode, **rest):
        return open("/dev/full" if mode == "a" else path, mode, **rest)

    return mock.patch("ltm_pyro.files.open", opened, create=True)


TRAIN = "train --out new --data "
BAD = [
    # (the command, words that its line must hold[, what happens while it runs])
    ("trian", "unknown command 'trian': did you mean 'train'"),
    ("train", "Missing from ltm train: --out"),
    (TRAIN + "text.txt --stps 3", "Unrecognized options: --stps"),
    (TRAIN + "text.txt --steps many", "many"),
    (TRAIN + "text.txt --steps -1", "training.steps is -1: expected a whole number, 0 or more"),
    (TRAIN + "text.txt --batch 0", "training.batch is 0: expected a whole number, 1 or more"),
    (TRAIN + "text.txt --slow.lr -1", "slow.lr is -1.0: expected a finite number, 0 or more"),
    (TRAIN + "text.txt --vocabulary 9", "256 bytes and 2 special tokens need 258"),
    (TRAIN + "text.txt --architecture.width 30", "width 30 with 4 heads"),
    (TRAIN + "text.txt --preset tny", "unknown preset 'tny': did you mean 'tiny'?"),
    (TRAIN + "text.txt --prior standard-norml", "unknown prior 'standard-norml': did you mean"),
    (TRAIN + "text.txt --guide meanfield", "unknown guide 'meanfield': did you mean 'mean-field'"),
    (TRAIN + "text.txt --guide no.such:Guide", "cannot import 'no.such:Guide'"),
    (TRAIN + "text.txt --guide json:loads", "expected a subclass of"),
    (TRAIN + "text.txt --fast.optimizer Adm", "unknown optimizer 'Adm': did you mean 'Adam"),
    (TRAIN + "text.txt --tokenizer ./none.json", "no tokenizer at ./none.json: expected a tok"),
    (TRAIN + "text.txt --tokenizer text.txt", "cannot load tokenizer 'text.txt'"),
    # text
    (TRAIN + "txt.txt", "no file or folder at txt.txt: did you mean text.txt"),
    (TRAIN + "/nowhere/at/all.jsonl", "no file or folder at /nowhere/at/all.jsonl: expected text"),
    (TRAIN + "empty.txt", "empty.txt is empty (0 bytes): expected text"),
    (
        TRAIN + "blank.txt",
        "blank.txt holds no text: 0 documents read; expected at least one with text",
    ),
    (TRAIN + "blank.jsonl", "blank.jsonl holds no text: every one of the 3 documents read is"),
    (TRAIN + "records.jsonl --field gap", "documents read is blank in field gap; expected"),
    (TRAIN + "records.jsonl --field txt", "unknown field of records.jsonl 'txt': did you mean"),
    ("train --out new --data=", "--data is empty: expected a name, or leave it out"),
    ("train --data text.txt --out=", "--out is empty: expected a path"),
    (TRAIN + "text.txt --data text.txt", "--data is given twice with the same name"),
    (TRAIN + "records.jsonl --field text --field text", "--field is given twice with the same"),
    (TRAIN + "records.jsonl --separator line", "how a text file is read, and records.jsonl is non"),
    (TRAIN + "records.jsonl --delimiter ;", "how a table (.csv, .tsv) is read, and records.jsonl"),
    (TRAIN + "text.txt --streaming", "how a data set of the hub is read, and text.txt is none"),
    (TRAIN + "text.txt --length 9 --architecture.length 8", "which are one: give --length alone"),
    (TRAIN + "text.txt --guide no-guide", "NoGuide samples nothing, and LatentThoughtModel samp"),
    (TRAIN + "text.txt --prior.components 3", "known are none"),
    (TRAIN + "text.txt --seed 1.5", "'1.5' is no whole number"),
    (TRAIN + "text.txt --slow.lr fast", "'fast' is no number"),
    ("train --out no-config.json --resume", "is left of a run, without its config.json: put tha"),
    (
        "train --data text.txt --out no-config.json",
        "or begin another with --overwrite, which loses",
    ),
    (TRAIN + "numbers.jsonl", "numbers.jsonl has no field that holds text; its fields: n; name"),
    (TRAIN + "head.csv", "cannot read head.csv as csv: it holds no record"),
    (TRAIN + "cut.jsonl", "cannot read cut.jsonl as jsonl: line 2: Unterminated string"),
    (TRAIN + "cut.parquet", "cannot read cut.parquet as parquet: "),
    (TRAIN + "latin.txt", "latin.txt is not UTF-8 (byte 3 is 0xe9): convert it, e.g. iconv -f lat"),
    (TRAIN + "utf16.txt", "utf16.txt is not UTF-8 (byte 0 is 0xff): convert it, e.g. iconv -f utf"),
    (TRAIN + "paper.pdf", "cannot read paper.pdf: expected .txt, .jsonl, .csv or .parquet"),
    (TRAIN + "bare", "folder bare holds no .txt, .jsonl, .csv or .parquet file"),
    (TRAIN + "lonely.txt", "lonely.txt leaves no document to train on: it holds 1, held out"),
    (TRAIN + "lonely.txt --tokenizer run/tokenizer.json", "all 1 rows are held out for val"),
    (TRAIN + "text.txt --limit 0", "limit is 0: expected a whole number, 1 or more, or None"),
    (TRAIN + "text.txt --separator (", "separator '(' is no regular expression"),
    # a configuration
    ("train --out new --config none.json", "no configuration at none.json: expected the config.j"),
    ("train --out new --config text.txt", "text.txt is damaged: expected a JSON object"),
    ("train --out new --config wrong.json", "unknown field of wrong.json.fast 'stps': did you me"),
    ("train --out new --config run/config.json --batch 2", "--batch is given beside --config"),
    ("train --out new --config run/config.json --fast.steps 2", "--fast.steps is given beside"),
    # where to
    ("train --data text.txt --out text.txt", "text.txt is a file, and a folder is needed: give"),
    (
        "train --data text.txt --out text.txt/a/b",
        "text.txt is a file, and a folder is needed: give",
    ),
    ("train --data text.txt --out /proc/new", "cannot make the folder /proc/new: "),
    ("train --data text.txt --out " + "n" * 300, "File name too long"),
    ("train --data text.txt --out run", "run already holds a run: add --resume to go on, or --ove"),
    ("train --out none --resume", "none holds no run to resume: leave --resume out to begin one"),
    ("train --out run --resume --data other.txt", "run was trained on other text than other.txt"),
    # a disk that is full
    (TRAIN + "text.txt", "cannot write new/config.json: No space left", full("config.json")),
    (TRAIN + "text.txt", "log.jsonl: No space left on device (make room); the", full_log()),
    ("train --out run --resume --steps 5", "of iteration 3, is in run", full("trainer.pt")),
    ("train --out run --resume --steps 5", "model.safetensors: No s", full("model.safetensors")),
    # runs
    ("evaluate nowhere", "nowhere is not a run: there is no such folder; ltm train"),
    ("generate nowhere", "nowhere is not a run: there is no such folder; ltm train"),
    ("info nowhere", "unknown preset or run 'nowhere': known are"),
    ("info smal", "unknown preset or run 'smal': did you mean 'small'?"),
    ("evaluate bare", "bare is not a run: it has no config.json; ltm train --out makes one"),
    ("evaluate run --bounds elbow", "unknown bound 'elbow': did you mean 'elbo'?"),
    ("evaluate run --checkpoint bets", "bets"),
    ("evaluate young --checkpoint best", "young has no best checkpoint: it has not looked"),
    ("evaluate run --data text.txt --field a --split tst", "tst"),
    ("evaluate run --against foreign", "foreign has another tokenizer than run"),
    ("evaluate run --against short", "short reads rows of 8 tokens, run has rows of 12: evaluate"),
    # damaged runs
    ("evaluate no-config.json", "no-config.json is not a run: it has no config.json"),
    ("evaluate no-tokenizer.json", "no tokenizer at no-tokenizer.json/tokenizer.json: expected"),
    ("evaluate no-model.safetensors", "model.safetensors is missing: the run has not saved a che"),
    ("evaluate no-best.safetensors --checkpoint best", "no-best.safetensors has no best checkpoi"),
    ("train --out no-trainer.pt --resume", "no-trainer.pt cannot be resumed: it has no trainer.pt"),
    ("evaluate cut-config.json", "config.json is damaged, or another run's (its SHA-256 is not"),
    ("evaluate cut-tokenizer.json", "tokenizer.json is damaged, or another run's"),
    ("evaluate cut-manifest.json", "manifest.json is damaged, so no file of cut-manifest.json can"),
    ("evaluate cut-best.safetensors --checkpoint best", "best.safetensors is damaged, or another"),
    ("train --out cut-trainer.pt --resume", "trainer.pt is damaged, or another run's"),
    ("info bare --verify", "bare is not a run: it has no config.json"),
    ("info small --verify", "--verify and --seal are for a run: expected its folder"),
    ("evaluate no-manifest.json", "has no manifest.json, so its files cannot be checked: put it"),
    # damaged runs whose files were accepted as they are
    ("evaluate sealed-config.json", "config.json is damaged: expected a JSON object"),
    ("evaluate sealed-tokenizer.json", "cannot load tokenizer"),
    ("evaluate sealed-model.safetensors", "model.safetensors is damaged or no checkpoint"),
    ("evaluate sealed-best.safetensors --checkpoint best", "best.safetensors is damaged or no che"),
    ("train --out sealed-trainer.pt --resume", "trainer.pt is damaged or not a trainer state"),
    ("info bad-log", "log.jsonl is damaged in line 2: expected a JSON object with a step; delete"),
    ("train --out bad-log --resume", "log.jsonl is damaged in line 2"),
    ("info bare", "bare is not a run"),
    ("evaluate other-tokenizer", "has 280 tokens, the model 300: it belongs to another run"),
    ("train --out other-tokenizer --resume", "tokens of 280 kinds"),
    ("evaluate other-weights", "model.safetensors holds another model than config.json says"),
    ("evaluate newer", "written in format 99; this version of ltm_pyro"),
    ("evaluate older", "written in format 0; this version of ltm_pyro"),
]


def make(folder):
    """Files and runs to give wrongly, in the working directory."""
    words = ["wave", "fish", "sail", "salt", "tree", "leaf", "root", "moss"]
    texts = [f"{words[i % 8]} {i}: {words[i * 3 % 8]} {words[i * 5 % 8]}" for i in range(60)]
    lonely = next(f"lonely {i}" for i in range(999) if split_of(f"lonely {i}") == "test")
    for name, content in {
        "text.txt": "\n\n".join(texts),
        "other.txt": "\n\n".join(texts[::-1][:50]),
        "lonely.txt": lonely,
        "empty.txt": "",
        "blank.txt": "\n\n \n\n\t\n\n",
        "blank.jsonl": '{"text": ""}\n{"text": " "}\n{"text": null}\n',
        "records.jsonl": '{"text": "some", "gap": ""}\n' * 2,
        "numbers.jsonl": '{"n": 1}\n',
        "head.csv": "text,label\n",
        "cut.jsonl": '{"text": "some"}\n{"te',
        "cut.parquet": "PAR1",
        "paper.pdf": "%PDF",
    }.items():
        (folder / name).write_text(content)
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "utf16.txt").write_bytes("some text".encode("utf-16"))
    (folder / "bare").mkdir()
    for run, vocabulary in (("run", "300"), ("foreign", "280")):
        assert cli.main(["train", "--data", "text.txt", "--out", run, *SMALL,
                         "--vocabulary", vocabulary]) == 0  # fmt: skip
    assert cli.main(["train", "--data", "text.txt", "--out", "young", *SMALL, "--steps", "0"]) == 0
    identity = json.loads((folder / "run" / "config.json").read_text())["id"]
    names = ("config.json", "tokenizer.json", "model.safetensors", "best.safetensors", "trainer.pt",
             "manifest.json")  # fmt: skip
    for name in names:
        shutil.copytree("run", f"no-{name}")
        (folder / f"no-{name}" / name).unlink()
        shutil.copytree("run", f"cut-{name}")
        whole = (folder / "run" / name).read_bytes()
        (folder / f"cut-{name}" / name).write_bytes(whole[: len(whole) // 2])
        if name != "manifest.json":
            shutil.copytree(f"cut-{name}", f"sealed-{name}")
            sealed = folder / f"sealed-{name}"
            if name == "model.safetensors":  # else its trainer's state has the weights
                (sealed / "trainer.pt").unlink()
            names_of = {path.name for path in sealed.iterdir()} - {"manifest.json", ".lock"}
            Manifest.seal(sealed, identity, names_of)
    for name, number, by in (("newer", 99, "9.0"), ("older", 0, "0.0.1")):
        shutil.copytree("run", name)
        record = json.loads((folder / "run" / "config.json").read_text())
        record |= {"format": number, "versions": {"ltm_pyro": by}}
        (folder / name / "config.json").write_text(json.dumps(record))
        seal(folder / name)
    shutil.copytree("run", "short")
    record = json.loads((folder / "run" / "config.json").read_text())
    record["config"]["architecture"]["length"] = 8
    (folder / "short" / "config.json").write_text(json.dumps(record))
    seal(folder / "short")
    config = record["config"] | {"fast": {"stps": 3}}
    (folder / "wrong.json").write_text(json.dumps(config))
    for name, part in (("tokenizer", "tokenizer.json"), ("weights", "model.safetensors")):
        shutil.copytree("run", f"other-{name}")
        shutil.copy(folder / "foreign" / part, folder / f"other-{name}" / part)
        seal(folder / f"other-{name}")
    shutil.copytree("run", "bad-log")
    log = folder / "bad-log" / "log.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0], "}", *lines[2:], ""]))


def give(command, around=None):
    """Exit code, standard output and standard error of one command."""
    out, err = io.StringIO(), io.StringIO()
    shutil.rmtree("new", ignore_errors=True)
    small = SMALL if command.startswith(TRAIN) else []
    if "--preset" in command or "architecture" in command:
        small = []
    arguments = command.split()
    small = [x for a, b in zip(small[:-1:2], small[1::2], strict=True) if a not in arguments
             for x in (a, b)] + small[-1:]  # fmt: skip
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        around or contextlib.nullcontext(),
    ):
        code = cli.main([*arguments, *small])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    with contextlib.chdir(folder):
        make(folder)
        yield folder


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad[0][:60])
def test_bad_input_ends_with_2_and_one_line(bad):
    command, message, *around = bad
    code, out, err = give(command, *around)
    assert code == 2, err
    assert out == ""
    *before, last = err.strip().splitlines()
    assert last.startswith("ltm: error: ")
    assert message in last
    assert "Traceback" not in err
    assert not any("error" in line or "Warning" in line for line in before)


def test_nothing_was_changed_by_bad_input(place):
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    some = [bad for bad in BAD if "--out run" in bad[0] and len(bad) == 2]
    assert len(some) == 2
    for command, _ in some:
        give(command)
    assert before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        with contextlib.redirect_stderr(io.StringIO()):
            make(Path(name))
        for command, _, *around in BAD:
            code, _, err = give(command, *around)
            last = err.strip().splitlines()[-1]
            told = textwrap.fill(last, 110, initial_indent="    ", subsequent_indent="      ")
            happens = "   (the disk is full)" if around else ""
            sys.stdout.write(f"$ ltm {command}{happens}\n{told}  [{code}]\n")
