"""Files of a run that would take for ever, or all memory, end with one line within seconds."""

import io
import json
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
def run(run_config, tmp_path):
    return train(run_config, tmp_path / "run")


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
