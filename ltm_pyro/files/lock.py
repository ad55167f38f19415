"""One process writes into a folder, for as long as it lives."""

import errno
import os
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ltm_pyro import files
from ltm_pyro.errors import InputError, Notice

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems say that have no locks."""
_held: dict[tuple[Path, int], int] = {}
"""The locks of this process, open files by folder and thread."""


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """A block in which this process alone may write into a folder, which it makes.

    The lock (flock) is the system's: it is gone when the process ends, however it ends. Within one
    thread blocks may be nested. Readers need none. Where a file system has no locks that is told,
    and what remains is that a run's manifest notices another writer at the next save.

    Raises:
        InputError: if another process, or another thread, writes into it.
    """
    key = (path.resolve(), threading.get_ident())
    if key in _held:
        yield
        return
    files.make_folder(path)
    place, process = _open(path / LOCK), os.getpid()
    try:
        _take(place, path)
        _held[key] = place
        yield
    finally:
        if os.getpid() == process:  # else a forked child leaves the block, which has closed it
            _held.pop(key, None)
            if fcntl is not None:
                with suppress(OSError):
                    fcntl.flock(place, fcntl.LOCK_UN)
            os.close(place)


def is_held(path: Path) -> bool:
    """Whether this thread writes into a run's folder now."""
    return (path.resolve(), threading.get_ident()) in _held


def check_alone(path: Path) -> None:
    """Raises InputError if another process writes into a folder now; leaves no trace."""
    if (path / LOCK).exists():
        with alone(path):
            pass


def _open(place: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(place, flags, 0o666)
    except OSError as error:
        raise files.cannot(place, error, "nothing was changed") from None


def _take(place: int, path: Path) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no locks")
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(place, 200, 0).decode(errors="replace").strip()
        raise InputError(
            f"{path} is in use: {holder or 'another process'} writes into it; wait for its end, or "
            "give another --out"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise files.cannot(path / LOCK, error, "nothing was changed") from None
        told = (
            f"the file system of {path} has no locks: see to it that nothing else writes into it; "
            "another writer would be noticed at the next save only"
        )
        warnings.warn(Notice(told), stacklevel=4)
        return
    os.ftruncate(place, 0)
    os.pwrite(place, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _forget() -> None:
    """A forked child does not keep its parent's lock."""
    for place in _held.values():
        os.close(place)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
