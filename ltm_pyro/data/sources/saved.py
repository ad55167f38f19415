"""A folder written by `Dataset.save_to_disk`."""

from pathlib import Path

from ltm_pyro.data.sources.base import Found, Wanted
from ltm_pyro.data.sources.records import library, splits_of


def is_saved(path: Path) -> bool:
    """Whether a folder is one."""
    return (path / "dataset_dict.json").exists() or (path / "state.json").exists()


def read(path: Path, wanted: Wanted) -> dict[str, Found]:
    """The documents of each split."""
    return splits_of(library().load_from_disk(str(path)), wanted, str(path))
