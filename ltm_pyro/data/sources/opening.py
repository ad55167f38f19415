"""Opening files of text: compressed or not, UTF-8, with a message for what cannot be read."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from ltm_pyro.errors import InputError, first_line


def _zstandard(path: Path) -> Any:
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")


COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _zstandard,
}
"""How a compressed file is opened, by the end of its name."""
MOST_EXPANSION, BEFORE_THAT = 500, 2**26
"""A file that grows by more than this factor, and beyond these bytes, was made to fill a disk."""
_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error)


def kind_of(path: Path) -> str:
    """The suffix that tells a file's format, in lower case: `.jsonl` for `A.JSONL.gz`."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return inner.suffix.lower()


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """A file's text, without a byte-order mark.

    With `newline=None` the line ends of Windows and of old Macintoshes become "\\n"; with "" they
    stay.

    Raises:
        InputError: if it cannot be opened, is not UTF-8 (naming the byte), or is cut off.
    """
    try:
        with _open_bytes(path) as raw:
            yield io.TextIOWrapper(raw, "utf-8-sig", newline=newline)
    except UnicodeDecodeError:
        raise _not_utf8(path) from None
    except _BROKEN as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"cannot read {path}: {reason}") from None


@contextmanager
def _open_bytes(path: Path) -> Iterator[BinaryIO]:
    opener = COMPRESSED.get(path.suffix.lower())
    if opener is None:
        with path.open("rb") as file:
            yield file
        return
    with opener(path) as inner:
        yield io.BufferedReader(_Guarded(inner, path), 2**20)


class _Guarded(io.RawIOBase):
    """What a compressed file holds, up to a size that text can explain."""

    def __init__(self, inner: Any, path: Path):
        self.inner, self.path, self.read_so_far = inner, path, 0
        self.most = max(BEFORE_THAT, MOST_EXPANSION * path.stat().st_size)

    def readable(self) -> bool:
        """For `io`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """For `io`."""
        try:
            found = self.inner.read(len(buffer))
        except _BROKEN as error:
            raise InputError(f"cannot read {self.path}: {first_line(error)}") from None
        buffer[: len(found)] = found
        self.read_so_far += len(found)
        if self.read_so_far > self.most:
            raise InputError(
                f"{self.path} grows to more than {self.most:,} bytes, {MOST_EXPANSION} times its "
                "size: no text does; if it is meant, decompress it first"
            )
        return len(found)


def _not_utf8(path: Path) -> InputError:
    """Says which byte is not UTF-8, and how to convert the file."""
    before = b""
    place = 0
    with _open_bytes(path) as file:
        while block := file.read(2**20):
            try:
                (before + block).decode("utf-8")
                place, before = place + len(before) + len(block), b""
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data" and len(before) < 4:
                    whole = before + block
                    before, place = whole[error.start :], place + error.start
                    continue
                return _at(path, place + error.start, error.object[error.start], error.object[:2])
    return _at(path, place, before[0] if before else 0, before)


def _at(path: Path, place: int, byte: int, first: bytes) -> InputError:
    kind = "utf-16" if place < 2 and first[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin1"
    return InputError(
        f"{path} is not UTF-8 (byte {place} is 0x{byte:02x}): convert it, e.g. iconv -f {kind} "
        "-t utf-8"
    )
