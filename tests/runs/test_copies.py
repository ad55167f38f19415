"""A run's copy in a store is the run, whenever the machine is lost."""

import json
import shutil
import uuid

import pytest

import ltm_pyro as ltm
from ltm_pyro.commands.cli import main
from ltm_pyro.config import Warm
from ltm_pyro.errors import InputError
from ltm_pyro.files import storage
from ltm_pyro.runs import copies, folder
from ltm_pyro.runs.callbacks import Callback
from ltm_pyro.runs.copies import fetch
from ltm_pyro.runs.copying import CopyTo

from .helpers import equal, train, weights, with_training

pytest.importorskip("upath")


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    if request.param == "memory":
        return f"memory://{uuid.uuid4()}/run"
    return f"file://{tmp_path}/store/run"


class Lost(Exception):
    pass


class LoseMachine(Callback):
    """The process ends in an iteration, as if its power were cut: nothing more is copied."""

    def __init__(self, step):
        self.step = step

    def after(self, trainer, report, line):
        if trainer.svi.done == self.step:
            for one in trainer.callbacks:
                one.end = lambda trainer: None
            raise Lost


@pytest.mark.parametrize("warm", [None, Warm(1, lr=0.1)], ids=["fresh", "warm"])
@pytest.mark.parametrize("lost_at", [4, 6])
def test_a_run_whose_machine_is_lost_goes_on(run_config, corpus, tmp_path, url, warm, lost_at):
    config = with_training(run_config, steps=8, save_every=2, check_every=4, baseline=True)
    config = config.replace(warm=warm)
    whole = train(config, tmp_path / "whole", corpus=corpus)
    one = tmp_path / "one"
    with pytest.raises(Lost):
        train(config, one, corpus=corpus, callbacks=[CopyTo(url), LoseMachine(lost_at)])
    shutil.rmtree(one)
    at = copies.read_copy(storage.place(url))["step"]
    assert at == lost_at - 2  # what is saved in an iteration is copied in the next
    other = fetch(storage.place(url), tmp_path / "other")
    assert ltm.load(other).step == at
    run = train(config, other, corpus=corpus, resume=True, callbacks=[CopyTo(url)])
    assert equal(weights(run.model), weights(whole.model))
    assert equal(weights(run.baseline), weights(whole.baseline))
    copied = ltm.load(url)
    assert copied.step == 8
    assert equal(weights(copied.model), weights(whole.model))
    assert len(copied.log()) == 8
    held = {one.name for one in (storage.place(url) / copies.FILES).iterdir()}
    assert held >= {*copies.read_copy(storage.place(url))["files"].values()}
    assert len(held) < 25  # what older copies had is gone


def test_commands_take_a_url(run_config, corpus, tmp_path, url, capsys):
    out, words = tmp_path / "run", ["--quiet", "--copy-to", url]
    source = run_config.data.source
    small = ["--data", source, "--vocabulary", "300", "--length", "12", "--steps", "2",
             "--batch", "4", "--fast.steps", "1"]  # fmt: skip
    assert main(["train", "--out", str(out), *small, *words]) == 0
    capsys.readouterr()
    figures = []
    for run in (str(out), url):
        asked = [run, "--bounds", "elbo:2", "--fast.steps", "1", "--json", "--split", "all"]
        assert main(["evaluate", *asked]) == 0
        figures.append(json.loads(capsys.readouterr().out)["elbo"]["nats_per_token"])
        assert main(["info", run, "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["iterations"] == 2
    assert figures[0] == figures[1]
    name = storage.place(url).name
    assert facts["resume"] == f"ltm train --resume --out {name} --copy-to {url}"
    assert facts["repeat"] == f"ltm train --config {url} --out {name}-again"
    assert main(["train", "--config", url, "--out", str(tmp_path / "again"), "--quiet"]) == 0
    assert equal(weights(ltm.load(tmp_path / "again").model), weights(ltm.load(out).model))
    capsys.readouterr()
    shutil.rmtree(out)
    assert main(["train", "--resume", "--out", str(out), "--steps", "4", *words]) == 0
    assert "fetched" in capsys.readouterr().err
    assert ltm.load(url).step == ltm.load(out).step == 4


def test_a_store_that_fails_ends_no_training(run_config, corpus, tmp_path, url, monkeypatch):
    told, copy, tries = [], storage.copy, []

    def failing(path, to):
        tries.append(path)
        if len(tries) < 4:
            raise OSError("no route to host")
        copy(path, to)

    monkeypatch.setattr(storage, "copy", failing)
    config = with_training(run_config, steps=6, save_every=2, check_every=6)
    train(config, tmp_path / "run", corpus=corpus, callbacks=[CopyTo(url)], note=told.append)
    assert sum("no route to host" in line for line in told) == 3
    monkeypatch.undo()
    assert ltm.load(url).step == 6


def test_a_copy_of_another_run_is_not_replaced(run_config, corpus, tmp_path, url):
    one, two = tmp_path / "one", tmp_path / "two"
    first = train(run_config, one, corpus=corpus, callbacks=[CopyTo(url)])
    with pytest.raises(InputError, match="holds a copy of another run"):
        train(run_config, two, corpus=corpus, callbacks=[CopyTo(url)])
    assert not two.exists()
    with pytest.raises(InputError, match="is the run's own folder"):
        train(run_config, two, corpus=corpus, callbacks=[CopyTo(str(two))])
    # What it may replace it replaces, and a refusal leaves what was there.
    train(run_config, two, corpus=corpus)
    held = {path: path.read_bytes() for path in two.iterdir()}
    with pytest.raises(InputError, match="holds a copy of another run"):
        train(run_config, two, corpus=corpus, resume=True, callbacks=[CopyTo(url)])
    assert {path: path.read_bytes() for path in two.iterdir()} == held
    other = train(
        run_config, two, corpus=corpus, overwrite=True, callbacks=[CopyTo(url)]
    )  # fmt: skip
    assert first.record["id"] != other.record["id"] == ltm.load(url).record["id"]


def test_a_newer_copy_is_not_replaced_by_an_older_run(run_config, corpus, tmp_path, url):
    one, longer = tmp_path / "one", with_training(run_config, steps=8)
    train(run_config, one, corpus=corpus, callbacks=[CopyTo(url)])
    older = shutil.copytree(one, tmp_path / "older")
    train(longer, one, corpus=corpus, resume=True, callbacks=[CopyTo(url)])
    with pytest.raises(InputError, match=r"holds this run as of iteration 8, and .*older is at 4"):
        train(longer, older, corpus=corpus, resume=True, callbacks=[CopyTo(url)])
    assert ltm.load(url).step == 8


def test_a_copy_is_fetched_once_and_a_later_one_apart(run_config, corpus, tmp_path):
    place = tmp_path / "copy"
    train(run_config, tmp_path / "one", corpus=corpus, callbacks=[CopyTo(str(place))])
    first = copies.folder_of(place)  # a folder will do
    assert copies.folder_of(place) == first
    assert ltm.load(place).step == 4
    before = weights(ltm.load(first).model)
    train(with_training(run_config, steps=6), tmp_path / "one", corpus=corpus, resume=True,
          callbacks=[CopyTo(str(place))])  # fmt: skip
    later = copies.folder_of(place)
    assert later != first
    assert ltm.load(place).step == 6
    assert equal(weights(ltm.load(first).model), before)  # for whoever is still reading it
    assert not [p for p in first.parent.iterdir() if p.name.startswith(".")]


def test_there_is_no_copy(tmp_path):
    with pytest.raises(InputError, match=r"holds no copy of a run: expected copy\.json"):
        ltm.load(f"memory://{uuid.uuid4()}/none")


def test_a_copy_of_a_stranger_writes_nowhere_else(run_config, corpus, tmp_path, url):
    train(run_config, tmp_path / "run", corpus=corpus, callbacks=[CopyTo(url)])
    place = storage.place(url) / copies.COPY
    content = json.loads(place.read_bytes())
    sha256 = content["files"][folder.MODEL]
    for named in ({"../evil": sha256}, {"/tmp/evil": sha256}, {".lock": sha256},
                  {folder.MODEL: "../../x"}, {folder.MODEL: 3}):  # fmt: skip
        place.write_bytes(json.dumps({**content, "files": named}).encode())
        with pytest.raises(InputError, match=r"cannot be read: it names what is no file"):
            fetch(storage.place(url), tmp_path / "fetched")
    place.write_bytes(json.dumps(content).encode())
    file = storage.place(url) / copies.FILES / sha256
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"is damaged: it is not the model.safetensors it was"):
        fetch(storage.place(url), tmp_path / "fetched")


def test_a_run_on_text_in_a_store_asks_no_store_unless_told(run_config, tmp_path, url, capsys):
    text, run = f"memory://{uuid.uuid4()}/text", tmp_path / "run"
    packed = f"memory://{uuid.uuid4()}/packed"
    ltm.prepare(run_config.data.source, text, length=12, vocabulary=300)
    ltm.prepare(run_config.data.source, packed, length=12, vocabulary=300, layout="packed")
    small = ["--length", "12", "--steps", "2", "--batch", "4", "--fast.steps", "1", "--quiet"]
    train_on = ["train", "--data", text, "--out", str(run), "--copy-to", url]
    assert main([*train_on, *small]) == 0
    for wrong, told in (
        ([text, "--layout", "packed"], "in the layout document, and packed is asked for"),
        ([packed, "--layout", "document"], "with layout packed, and document is asked for"),
        ([text, "--vocabulary", "301"], "with vocabulary 300, and 301 is asked for"),
        ([text, "--length", "8"], "give --length 12"),
    ):
        again = ["train", "--out", str(tmp_path / "other"), *small, "--data", *wrong]
        capsys.readouterr()
        assert main(again) == 2
        assert told in capsys.readouterr().err
    asked = ["--bounds", "elbo:2", "--split", "all"]
    for place in (str(run), url):
        assert main(["evaluate", place, *asked]) == 2
        assert "and that store would be asked for it: name the text" in capsys.readouterr().err
        assert main(["evaluate", place, *asked, "--data", text]) == 0
        assert main(["evaluate", place, *asked, "--trust"]) == 0
    shutil.rmtree(run)
    goes_on = ["train", "--resume", "--out", str(run), "--copy-to", url, "--steps", "3", "--quiet"]
    capsys.readouterr()
    assert main([*goes_on, "--data", text]) == 0
    assert "ignored" not in capsys.readouterr().err
    assert ltm.load(url).step == 3
