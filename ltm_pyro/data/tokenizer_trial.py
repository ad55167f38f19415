"""What a tokenizer of somebody else's may do to a text: take no longer, nor more room, than said.

A `tokenizer.json` has rules: it may replace text, and cut it by regular expressions. Some take for
ever on some texts, take all memory, or end the process that they run in. So a tokenizer with rules
of its own is tried in a process of its own first, on texts made of the letters that stand in them.
"""

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ltm_pyro.errors import InputError, Notice

GROWTH = 64
"""Rules may make a text this many times as long."""
SECONDS, MEGABYTES = 10, 1024
"""What a trial may take, beside a second and 50 MB for each MB of the tokenizer."""
LETTERS, MOST_LETTERS = 2000, 40
"""Letters of a text of the trial; how many of a tokenizer's own letters have a text."""
PLAIN = (None, "ByteLevel", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Digits",
         "Punctuation", "Metaspace", "WordPiece", "BPEDecoder")  # fmt: skip
"""Parts that have no rules of anybody's own."""
_tried: set[str] = set()


def check_tokenizer(text: str, name: str) -> None:
    """Raises InputError for a tokenizer that cannot be relied on to end, in time and memory.

    What its rules make of a text is at most `GROWTH` times as long: a rule's growth is that of the
    text it replaces, and a regular expression is taken to replace every letter. Then, if it has
    rules, it is tried; a word is said where this system cannot limit a process's memory.

    Args:
        text: a `tokenizer.json`. What is none is not looked at: whoever loads it tells.
        name: what messages call it.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        return
    _check_growth(content, name)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if digest not in _tried and not _is_plain(content):
        _try(content, text, name)
        _tried.add(digest)


def _check_growth(content: Mapping[str, Any], name: str) -> None:
    growth = 1.0
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        for rule in _parts(content.get(part)):
            if rule.get("type") == "Replace":
                pattern = rule.get("pattern")
                literal = pattern.get("String") if isinstance(pattern, Mapping) else None
                replaced = len(literal) if isinstance(literal, str) else 0
                growth *= max(1, len(str(rule.get("content", ""))) / max(1, replaced))
    if growth > GROWTH:
        raise InputError(
            f"{name} has rules that make a text {growth:.3g} times as long: at most {GROWTH} "
            "times is expected"
        )


def _is_plain(content: Mapping[str, Any]) -> bool:
    """Whether nothing in a tokenizer is a rule of its own: so are those that are trained here."""
    parts = [one for part in ("normalizer", "pre_tokenizer", "decoder", "post_processor")
             for one in _parts(content.get(part))]  # fmt: skip
    model = content.get("model")
    return (
        isinstance(model, Mapping)
        and model.get("type") == "BPE"
        and content.get("normalizer") is None
        and all(one.get("type") in PLAIN for one in parts)
    )


def _parts(part: Any) -> Iterator[Mapping[str, Any]]:
    """A part of a tokenizer and those within it, in order."""
    left = [part]
    while left:
        one = left.pop(0)
        if isinstance(one, Mapping):
            yield one
            left = [*one.values(), *left]
        elif isinstance(one, list):
            left = [*one, *left]


def _texts(content: Mapping[str, Any]) -> list[str]:
    """What it is tried on: each letter that stands in its rules many times, and then another."""
    rules = [one for part in ("normalizer", "pre_tokenizer", "decoder")
             for one in _parts(content.get(part))]  # fmt: skip
    known = "".join(
        str(value) for rule in rules for value in rule.values() if isinstance(value, str)
    )
    letters = dict.fromkeys("aA0 \n!é思" + known[:1000])
    some = list(letters)[:MOST_LETTERS]
    mixed = "".join(letters) + " The quick brown fox, 12 times (naïvely): 思想!\n\n"
    return [mixed * (LETTERS // len(mixed)), *(f"{one * LETTERS}\0" for one in some)]


PROGRAM = """
import json, sys
given = json.loads(sys.stdin.buffer.read())
sys.path[:] = given["path"]
import tokenizers
told = "limited"
try:
    import resource
    with open("/proc/self/statm") as file:
        has = int(file.read().split()[0]) * resource.getpagesize()
    most = has + given["megabytes"] * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, OSError, ValueError):
    told = "unlimited"
try:
    tokenizer = tokenizers.Tokenizer.from_str(given["tokenizer"])
    for text in given["texts"]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.decode(ids, skip_special_tokens=False)
except BaseException as error:
    told = "failed: " + (str(error).strip().splitlines() or [type(error).__name__])[0]
print(json.dumps(told))
"""


def _try(content: Mapping[str, Any], text: str, name: str) -> None:
    """Raises InputError if a tokenizer fails, takes too long or takes too much room."""
    size = len(text) // 2**20
    seconds, megabytes = SECONDS + size, MEGABYTES + 50 * size
    given = {"path": sys.path, "megabytes": megabytes, "tokenizer": text, "texts": _texts(content)}
    safe = {"TOKENIZERS_PARALLELISM": "false", "RUST_BACKTRACE": "0", "SYSTEMROOT": ""}
    if not sys.executable:
        _not_tried(name, "there is no Python to do it with")
        return
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", PROGRAM], input=json.dumps(given).encode(),
            capture_output=True, timeout=seconds, env=safe, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{name} has rules (regular expressions, replacements) that take more than {seconds} s "
            f"on {LETTERS:,} letters: it cannot be used"
        ) from None
    except OSError as error:
        _not_tried(name, error.strerror or str(error))
        return
    try:
        told = str(json.loads(done.stdout))
    except ValueError:
        raise InputError(
            f"{name} cannot be used: its rules end the process that tries them, which has "
            f"{megabytes:,} MB and {seconds} s for {LETTERS:,} letters"
        ) from None
    if told.startswith("failed: "):
        raise InputError(f"{name} cannot be used: {told.removeprefix('failed: ')[:200]}")
    if told == "unlimited":
        _not_tried(name, "this system does not limit a process's memory", "memory")


def _not_tried(name: str, why: str, what: str = "time and memory") -> None:
    told = f"{name} has rules of its own, whose {what} could not be tried here ({why})"
    warnings.warn(Notice(told), stacklevel=4)
