"""The desk's local file for what must not wait for a database: cancels, reducing orders, the gate's refusals.

One JSON line each, fsynced before it is acted on; booked into the database later, then marked as booked. A line
cut short by a crash is the newest one and was never acted on, so it is dropped.
"""

import json
import os
from pathlib import Path
from typing import Any

from apps.common.lines import folder_fsync, line_append

Entry = dict[str, Any]


class Journal:
    """Append-only lines of one account, kept until everything in them is booked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._waiting = self._read()

    def add(self, kind: str, client_id: str, **body: Any) -> Entry:
        """Write one entry and return it; when this returns it is on disk. Raises `OSError`: then it is not."""
        entry: Entry = {"kind": kind, "client_id": client_id, **body}
        line_append(self._path, json.dumps(entry, default=str).encode())
        self._waiting.append(entry)
        return entry

    def waiting(self) -> list[Entry]:
        """Return what is not booked yet, oldest first."""
        return list(self._waiting)

    def booked(self, entries: list[Entry]) -> None:
        """Forget entries that the database holds now; the file goes when nothing is left.

        Raises `OSError`, and then all are kept: to book one again changes nothing.
        """
        left = [entry for entry in self._waiting if entry not in entries]
        if left:
            self._rewrite(left)
        else:
            self._path.unlink(missing_ok=True)
            folder_fsync(self._path.parent)
        self._waiting = left

    def _rewrite(self, entries: list[Entry]) -> None:
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)  # one of an older version may be open to others
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(json.dumps(entry, default=str) + "\n" for entry in entries)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        folder_fsync(self._path.parent)

    def _read(self) -> list[Entry]:
        if not self._path.exists():
            return []
        entries = []
        for line in self._path.read_text().splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return entries
