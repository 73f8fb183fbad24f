"""Files of lines that are appended durably: a line is on disk whole, or not there at all."""

import os
from contextlib import suppress
from pathlib import Path


def line_append(path: Path, line: bytes) -> None:
    """Append one line (without its newline) and return when it is on disk. Raises `OSError`, and then it is not there.

    What a crash has cut off at the end of the file was never acted on: it is taken away first, or it would spoil the
    next line. One process at a time, please: who shares a file locks it.
    """
    is_new = not path.exists()
    descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_RDWR, 0o600)
    try:
        whole = _whole_bytes(descriptor)
        try:
            _write(descriptor, line + b"\n")
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, whole)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        folder_fsync(path.parent)


def folder_fsync(folder: Path) -> None:
    """Make what was made, renamed or removed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, text: bytes) -> None:
    """Write all of it: on a disk that fills up the system may take a part."""
    while text:
        text = text[os.write(descriptor, text) :]


def _whole_bytes(descriptor: int) -> int:
    """Return the size up to the last whole line; what is behind it is taken away."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    whole = os.pread(descriptor, size, 0).rfind(b"\n") + 1
    os.ftruncate(descriptor, whole)
    return whole
