"""What people did with the kill switch, in a local file first: the audit and the log topic get it when they can.

Engaging must work while the database is gone, and still nothing may be missing from the audit afterwards.
"""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from apps.common.lines import line_append
from apps.risk.killswitch.file import lock_take

LOCK_S = 0.8
ENGAGED, RELEASED, REFUSED = "engaged", "released", "release refused"


class JournalEntry(msgspec.Struct, frozen=True):
    """One act of a person: what, on which scope, with what outcome."""

    id: str
    action: str
    scope: str
    by: str
    reason: str
    flatten: bool
    generation: int
    at_ns: int
    written: dict[str, str]


class Journal:
    """`<state_dir>/kill/journal.jsonl`, one act a line, and beside it how far the audit has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path, self._booked = folder / "journal.jsonl", folder / "journal.booked"

    def append(self, entry: JournalEntry) -> None:
        """Write one act durably."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            line_append(self._path, msgspec.json.encode(entry))

    def has_unbooked(self) -> bool:
        """Say whether the audit lacks anything. Cheap: two sizes."""
        try:
            return self._path.stat().st_size > self._booked_bytes()
        except OSError:  # no journal, or none that can be read now: whoever writes to it says so
            return False

    @contextmanager
    def unbooked(self) -> Iterator[list[JournalEntry]]:
        """Lend the acts that the audit lacks; when the block ends without an error they count as booked."""
        if not self.has_unbooked():
            yield []
            return
        with self._locked():
            start = self._booked_bytes()
            raw = self._path.read_bytes()[start:]
            whole = raw[: raw.rfind(b"\n") + 1]
            yield [msgspec.json.decode(line, type=JournalEntry) for line in whole.splitlines()]
            fresh = self._booked.with_suffix(".new")
            fresh.write_text(str(start + len(whole)))
            fresh.replace(self._booked)

    def _booked_bytes(self) -> int:
        try:
            return int(self._booked.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder / "journal.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            lock_take(descriptor, time.monotonic() + LOCK_S)
            yield
        finally:
            os.close(descriptor)


def entry_new(action: str, *, scope: str, by: str, reason: str, at_ns: int, **more: object) -> JournalEntry:
    """Return an act with an id of its own, by which the audit takes it once only."""
    body = {"flatten": False, "generation": 0, "written": {}, **more}
    return msgspec.convert(
        {"id": uuid.uuid4().hex, "action": action, "scope": scope, "by": by, "reason": reason, "at_ns": at_ns, **body},
        type=JournalEntry,
    )
