"""Files of a run that would take for ever, or all memory, end with one line within seconds."""

import hashlib
import io
import json
import os
import resource
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import ltm_pyro as ltm
from ltm_pyro import files
from ltm_pyro.config import Warm
from ltm_pyro.data.tokenizer_trial import GROWTH, check_tokenizer
from ltm_pyro.errors import Damaged, InputError
from ltm_pyro.inference.memory import Memory
from ltm_pyro.runs import folder
from ltm_pyro.runs.info import info_run
from ltm_pyro.runs.seen import seen
from ltm_pyro.runs.verify import verify

from .helpers import train, with_training


@pytest.fixture(autouse=True)
def _quickly_and_in_little_room():
    """Ten seconds, and 400 MB beside what the process has: it gets no more."""
    began, limits = time.process_time(), resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 400_000_000
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)
    assert time.process_time() - began < 10


@pytest.fixture
def run(trained):
    return trained()


@pytest.mark.parametrize("depth", [100, 900, 100_000])
@pytest.mark.parametrize("where", ["options", "whole"])
def test_json_that_is_nested_deeply(run, depth, where):
    place = run.path / "config.json"
    nested = "[" * depth + "]" * depth
    if where == "options":
        text = place.read_text()
        assert '"options": {}' in text
        place.write_text(text.replace('"options": {}', f'"options": {{"a": {nested}}}', 1))
    else:
        place.write_text(nested)
    manifest = folder.Manifest.read(run.path)
    names = [name for name in manifest.files if name != "config.json"]
    folder.Manifest.seal(run.path, manifest.run, [*names, "config.json"])
    with pytest.raises(InputError, match=r"config.json is damaged: expected a JSON object"):
        ltm.load(run.path)
    (run.path / "manifest.json").write_text(nested)
    with pytest.raises(Damaged, match=r"manifest.json is damaged"):
        ltm.load(run.path)
    with pytest.raises(Damaged, match=r"log.jsonl is damaged in line 1"):
        files.json_lines(run.path / "log.jsonl", nested.encode() + b"\n")


def compressed(place, parts):
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def test_an_archive_that_is_compressed(run, run_config):
    for name in ("trainer.pt", "trainer.previous.pt"):
        compressed(run.path / name, {"archive/data.pkl": bytes(300_000_000)})
        assert (run.path / name).stat().st_size < 400_000
    folder.seal(run.path)
    with pytest.raises(Damaged, match=r"trainer.pt is damaged .*it is no archive, or a compressed"):
        train(with_training(run_config, steps=5), run.path, resume=True)


def test_a_memory_that_is_compressed(run_config, tmp_path):
    config = with_training(run_config, steps=4).replace(warm=Warm(1))
    warm = train(config, tmp_path / "warm")
    held = io.BytesIO()
    np.savez_compressed(held, step=4, places=np.arange(9), values=np.zeros((9, 9_000_000), "f4"))
    assert len(held.getvalue()) < 500_000
    (warm.path / "memory.staged.npz").write_bytes(held.getvalue())
    folder.seal(warm.path)
    assert verify(warm.path)["memory.npy"].startswith("damaged")
    with pytest.raises(Damaged):
        Memory.check(warm.path, 4, {"documents": 10**15, "digest": "0"})


def test_archives_that_are_stored(tmp_path):
    torch.save({"a": torch.zeros(9)}, tmp_path / "a.pt")
    np.savez(tmp_path / "b.npz", a=np.zeros(9))
    assert files.is_stored(tmp_path / "a.pt")
    assert files.is_stored(tmp_path / "b.npz")
    (tmp_path / "c.pt").write_bytes(b"PK\3\4")
    assert not files.is_stored(tmp_path / "c.pt")
    assert not files.is_stored(tmp_path / "none.pt")


def test_a_tokenizer_whose_rules_grow_a_text(run):
    place = run.path / "tokenizer.json"
    content = json.loads(place.read_text())

    def grows(rules):
        content["normalizer"] = {"type": "Sequence", "normalizers": rules}
        place.write_text(json.dumps(content))
        folder.seal(run.path)

    def double(pattern):
        return {"type": "Replace", "pattern": pattern, "content": "aa"}

    grows([double({"String": "a"})] * 40)
    with pytest.raises(InputError, match=r"tokenizer.json has rules that make a text 1.1e\+12 tim"):
        ltm.load(run.path)
    grows([double({"Regex": "a"})] * 7)
    with pytest.raises(InputError, match=f"128 times as long: at most {GROWTH} times"):
        ltm.load(run.path)
    grows([{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}])
    assert ltm.load(run.path).tokenizer.encode("a b")
    place.write_text("[" * 100_000)
    check_tokenizer(place.read_text(), "tokenizer.json")  # is not its affair
    folder.seal(run.path)
    with pytest.raises(InputError, match="cannot load tokenizer"):
        ltm.load(run.path)


def test_a_tensor_of_many_numbers_in_one(run, run_config):
    """A stride of 0 makes a tensor of any size out of one number."""
    state = torch.load(run.path / "trainer.pt", weights_only=True)
    name = next(iter(state["model"]))
    state["model"][name] = torch.zeros(1).expand(10**12)
    for other in ("trainer.pt", "trainer.previous.pt"):
        torch.save(state, run.path / other)
    folder.seal(run.path)
    with pytest.raises(InputError, match="was trained with another configuration"):
        train(with_training(run_config, steps=5), run.path, resume=True)


@pytest.mark.parametrize("name", ["log.jsonl", "config.json", "trainer.pt", "of another kind"])
@pytest.mark.parametrize("what", ["pipe", "device"])
def test_a_pipe_or_a_device_is_not_read(run, run_config, what, name):
    """It would be read for ever, or into all memory."""
    place = run.path / name
    place.unlink(missing_ok=True)
    os.mkfifo(place) if what == "pipe" else place.symlink_to("/dev/zero")
    told = f"{name} is a device or a pipe, neither a file nor a folder"
    for use in (ltm.load, verify, folder.seal, info_run):
        with pytest.raises(Damaged, match=told):
            use(run.path)
    with pytest.raises(Damaged, match=told):
        train(with_training(run_config, steps=5), run.path, resume=True)


@pytest.mark.parametrize(
    "held",
    [np.zeros(3), np.zeros((2, 2), "<u8"), np.array(["a"]), np.array(3, "<u8"), "a header alone"],
    ids=str,
)
def test_numbers_of_documents_that_are_none(run, held):
    if isinstance(held, str):
        whole = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            whole, {"descr": "<u8", "fortran_order": False, "shape": (10**12,)}
        )
        (run.path / "seen.npy").write_bytes(whole.getvalue())
    else:
        np.save(run.path / "seen.npy", held)
    folder.seal(run.path)
    with pytest.raises(Damaged, match=r"seen.npy is damaged"):
        seen(run.path)


SEALS = [{"size": "3"}, {"size": -1}, {"size": None}, {"sha256": 3}, {"grows": 1}, {"more": 1}]


@pytest.mark.parametrize("change", [*SEALS, False, [], "names"], ids=str)
def test_a_manifest_with_seals_of_other_kinds(run, change):
    """Its own checksum is right, as a stranger would make it."""
    content = json.loads((run.path / "manifest.json").read_text())
    seals = content["files"]["config.json"]
    if isinstance(change, dict):
        seals[0] |= change
    elif change == "names":
        content["files"] = {f"{name}\0": seals for name in content["files"]}
    else:
        content["files"]["config.json"] = change if change == [] else [change]
    kept = {"run": content["run"], "files": content["files"]}
    digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()
    (run.path / "manifest.json").write_text(json.dumps({**kept, "sha256": digest}, indent=2) + "\n")
    for use in (ltm.load, verify):
        with pytest.raises(Damaged, match=r"manifest.json is damaged, so no file"):
            use(run.path)


STATES = {
    "no weights": ("model", None), "a number for weights": ("model", {"decoder.norm.weight": 3}),
    "sparse weights": ("model", {"decoder.norm.weight": torch.zeros(8).to_sparse()}),
    "weights without numbers": ("model", {"decoder.norm.weight": torch.zeros(8, device="meta")}),
    "weights of another type": ("model", {"decoder.norm.weight": torch.zeros(8).to(torch.int64)}),
    "a step of text": ("svi", {"done": "4"}), "a negative step": ("svi", {"done": -1}),
    "a step of tensors": ("svi", {"done": torch.zeros(3)}), "a list": ("callbacks", []),
    "a look of a tensor": ("callbacks", {"looks": {"best": torch.zeros(3)}}),
    "a look without a step": ("callbacks", {"looks": {"best": {"held_out_elbo": 1.0}}}),
    "a memory of tensors": ("memory", {"documents": torch.zeros(2), "digest": "0"}),
    "a run of a number": ("run", 3), "an optimizer of text": ("svi", {"optimizer": "Adam"}),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_trainer_s_state_with_parts_of_other_kinds(run, run_config, state):
    part, held = STATES[state]
    whole = torch.load(run.path / "trainer.pt", weights_only=True)
    before = whole.get(part)
    merged = isinstance(held, dict) and isinstance(before, dict) and part != "memory"
    whole[part] = {**before, **held} if merged else held
    for name in ("trainer.pt", "trainer.previous.pt"):
        torch.save(whole, run.path / name)
    folder.seal(run.path)
    with pytest.raises(InputError, match=r"trainer.pt is damaged|another configuration"):
        train(with_training(run_config, steps=5), run.path, resume=True)


def test_a_log_whose_step_is_infinite(run):
    with open(run.path / "log.jsonl", "a") as file:
        file.write('{"step": Infinity}\n')
    folder.seal(run.path)
    with pytest.raises(Damaged, match=r"log.jsonl is damaged in line 5: expected a JSON object"):
        info_run(run.path)


@pytest.mark.parametrize("sources", [3, {"a:B": 3}, {"a:B": {"copy": 3}}, {"a:B": {}}])
def test_a_record_whose_sources_are_none(run, sources):
    place = run.path / "config.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "sources": sources}))
    folder.seal(run.path)
    with pytest.raises(InputError, match=r"config.json.sources"):
        info_run(run.path)
