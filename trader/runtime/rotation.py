"""What processes and servers print is kept in files with a cap: copied and cut, since they hold them open.

Our own logs, one JSON line each, rotate by themselves (`apps/common/logs.py`). What goes to standard output and error
(a crash, a library's words, the servers' own log) is written in append mode, so after the cut it goes on at the start.
"""

import contextlib
import os
import shutil
from pathlib import Path

PRINTED = ("*.out.log", "postgres.log", "valkey.log")
CAP_BYTES = 10_000_000
KEPT = 2
EVERY_S = 30.0


def printed_rotate(logs: Path, cap_bytes: int = CAP_BYTES) -> list[Path]:
    """Move what is longer than the cap to `.1`, that to `.2`, and so on; return the files that were cut."""
    cut = []
    for pattern in PRINTED:
        for path in logs.glob(pattern):
            with contextlib.suppress(OSError):  # a disk that is full is said elsewhere, and must not end the watch
                if path.stat().st_size > cap_bytes:
                    _rotate(path)
                    cut.append(path)
    return cut


def _rotate(path: Path) -> None:
    for number in range(KEPT, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    os.truncate(path, 0)
