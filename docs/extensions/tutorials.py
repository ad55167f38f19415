"""The notebooks of examples/ as pages: every percent source there is one."""

import shutil
from pathlib import Path
from typing import Any

import jupytext

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PLACE = Path(__file__).parent.parent / "tutorials"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook(text: str) -> Any:
    """A notebook from its percent source, with the kernel that is to run it."""
    read = jupytext.reads(text, fmt="py:percent")
    read.metadata["kernelspec"] = KERNEL
    return read


def copy(app: Any, config: Any) -> None:
    """Lay the sources beside their list of contents, where Sphinx finds them."""
    for old in PLACE.glob("*.py"):
        if not (EXAMPLES / old.name).exists():
            old.unlink()
    for source in EXAMPLES.glob("*.py"):
        target = PLACE / source.name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copyfile(source, target)


def setup(app: Any) -> dict[str, Any]:
    """Copy before pages are looked for."""
    app.connect("config-inited", copy)
    return {"parallel_read_safe": True}
