"""Data sets of the Hugging Face hub."""

from ltm_pyro.data.sources.arrow import library, splits_of
from ltm_pyro.data.sources.base import Found, Wanted
from ltm_pyro.data.sources.python_docs import NAME
from ltm_pyro.errors import InputError, first_line


def read(name: str, wanted: Wanted, subset: str | None, streaming: bool) -> dict[str, Found]:
    """The documents of each split; as a stream only what is asked for is fetched."""
    try:
        loaded = library().load_dataset(name, subset, streaming=streaming)
    except Exception as error:  # many kinds: no network, no such name, no such subset
        raise InputError(
            f"{name!r} is neither {NAME!r}, nor a file or folder, nor a data set that can be "
            f"loaded from the Hugging Face hub: {first_line(error)}"
        ) from None
    return splits_of(loaded, wanted, name)
