"""Which part of a data set a name stands for."""

import re

_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "eval": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
_NUMBERED = re.compile(r"[-_.]?\d+(-of-\d+)?$")


def split_named(name: str) -> str | None:
    """`train`, `valid` or `test`, in any case and numbered or not (`Train-00000-of-00002`)."""
    return _NAMES.get(_NUMBERED.sub("", name.lower()))
