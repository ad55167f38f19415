"""A tokenizer's own rules end in success or in one line, within seconds and a stated memory."""

import json
import subprocess
import time

import pytest

from ltm_pyro.data import Tokenizer, tokenizer_trial
from ltm_pyro.data.tokenizer_trial import check_tokenizer
from ltm_pyro.errors import InputError, Notice


@pytest.fixture(scope="module")
def plain():
    return json.loads(Tokenizer.train(["some words"], 260).inner.to_str())


def split(expression):
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated",
            "invert": False}  # fmt: skip


def several(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


GPT = r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def test_one_that_is_trained_here_needs_no_trial(plain, monkeypatch):
    monkeypatch.setattr(tokenizer_trial, "_try", lambda *_: pytest.fail("it was tried"))
    check_tokenizer(json.dumps(plain), "mine")
    check_tokenizer("[" * 100_000, "none")  # whoever loads it tells


def test_rules_that_work_are_tried_once(plain, tmp_path, monkeypatch):
    place = tmp_path / "tokenizer.json"
    place.write_text(json.dumps({**plain, "pre_tokenizer": several("pretokenizers", split(GPT),
                                                                   BYTES)}))  # fmt: skip
    assert Tokenizer.load(place).encode("some words")
    monkeypatch.setattr(tokenizer_trial, "_try", lambda *_: pytest.fail("it was tried again"))
    Tokenizer.load(place)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"pre_tokenizer": split("(a+)+$")}, "retry-limit"),
        ({"pre_tokenizer": split("(x+x+)+y")}, "retry-limit"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": ""}, "content": "b"}}, "index"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}}, "Cannot parse"),
        ({"pre_tokenizer": split("(a")}, "unmatched parenthesis"),
    ],
)  # fmt: skip
def test_rules_that_fail_are_told_in_one_line(plain, tmp_path, capfd, parts, told):
    place = tmp_path / "tokenizer.json"
    place.write_text(json.dumps({**plain, **parts}))
    with pytest.raises(InputError, match=rf"tokenizer.json cannot be used: .*{told}") as raised:
        Tokenizer.load(place)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""  # what the library says on its way out stays there


def test_rules_that_take_too_long_are_given_up(plain, monkeypatch):
    monkeypatch.setattr(tokenizer_trial, "SECONDS", 1)
    monkeypatch.setattr(tokenizer_trial, "PROGRAM", "while True: pass")
    began = time.monotonic()
    with pytest.raises(InputError, match="take more than 1 s on 2,000 letters: it cannot be used"):
        check_tokenizer(json.dumps({**plain, "pre_tokenizer": split("b")}), "slow")
    assert time.monotonic() - began < 30


def test_rules_that_take_all_memory_end_the_trial_alone(plain, monkeypatch):
    """Each makes twice as much of a text, and there are more of them than the memory has room for.

    What they would make is told before, from the rules; here that is passed over.
    """
    monkeypatch.setattr(tokenizer_trial, "GROWTH", float("inf"))
    monkeypatch.setattr(tokenizer_trial, "MEGABYTES", 200)
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    parts = {"normalizer": several("normalizers", *[double] * 30)}
    with pytest.raises(InputError, match=r"end the process that tries them, which has 200 MB"):
        check_tokenizer(json.dumps({**plain, **parts}), "bomb")


@pytest.mark.parametrize("what", ["no python", "no process", "no limit"])
def test_where_it_cannot_be_tried_that_is_told(plain, monkeypatch, what):
    def fails(*_, **__):
        raise OSError(1, "Operation not permitted")

    if what == "no python":
        monkeypatch.setattr(tokenizer_trial.sys, "executable", "")
    elif what == "no process":
        monkeypatch.setattr(subprocess, "run", fails)
    else:
        program = tokenizer_trial.PROGRAM.replace("import resource", "raise ImportError")
        monkeypatch.setattr(tokenizer_trial, "PROGRAM", program)
    with pytest.warns(Notice, match=r"has rules of its own, whose (time and )?memory could not be"):
        check_tokenizer(json.dumps({**plain, "pre_tokenizer": split(f"{what}+")}), "theirs")


def test_a_rule_that_fails_on_a_text_later_is_told(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_trial, "_try", lambda *_: None)
    place = tmp_path / "tokenizer.json"
    place.write_text(json.dumps({**plain, "pre_tokenizer": split("(b+)+$")}))
    tokenizer = Tokenizer.load(place)
    assert tokenizer.encode("abba") != []
    for use in (tokenizer.encode, lambda text: tokenizer.encode_documents([text])):
        with pytest.raises(InputError, match="a rule of the tokenizer fails on this text"):
            use("b" * 60 + "!")
