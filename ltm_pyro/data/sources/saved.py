"""A folder written by `Dataset.save_to_disk`."""

import json
from pathlib import Path
from typing import Any

from ltm_pyro.data.sources.arrow import library, splits_of
from ltm_pyro.data.sources.base import Found, Wanted
from ltm_pyro.errors import InputError, first_line

SPLITS, STATE = "dataset_dict.json", "state.json"


def is_saved(path: Path) -> bool:
    """Whether a folder is one."""
    return (path / SPLITS).exists() or (path / STATE).exists()


def read(path: Path, wanted: Wanted) -> dict[str, Found]:
    """The documents of each split; a split of no records has none."""
    try:
        if (path / SPLITS).exists():
            names = json.loads((path / SPLITS).read_text())["splits"]
            loaded: Any = {str(name): _load(path / str(name)) for name in names}
        else:
            loaded = _load(path)
    except Exception as error:  # many kinds
        raise InputError(f"cannot read {path} as a saved data set: {first_line(error)}") from None
    return splits_of(loaded, wanted, str(path))


def _load(path: Path) -> Any:
    """A data set, or None for one without records, which the library cannot load."""
    if not json.loads((path / STATE).read_text())["_data_files"]:
        return None
    return library().load_from_disk(str(path))
