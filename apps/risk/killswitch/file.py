"""The kill switch's record in a local file: written beside, fsynced, renamed, its folder fsynced."""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from watchfiles import awatch

from apps.common.ending import tasks_end
from apps.common.lines import folder_fsync
from apps.risk.killswitch.places import Engage, PlaceError, RecordBroken
from apps.risk.killswitch.records import Record

A = TypeVar("A")
R = TypeVar("R")
WATCH_STEP_MS = 20  # each step wakes a thread: finer ones cost more than the polls do
LOCK_STEP_S = 0.005


class KillFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's content."""

    version: Literal[1]
    records: dict[str, Record]


class FilePlace:
    """`<state_dir>/kill/kill.json` of this host."""

    name = "file"

    def __init__(self, folder: Path, timeout_s: float = 1.0) -> None:
        self.folder, self.path = folder, folder / "kill.json"
        self._timeout_s = timeout_s
        self._seen: tuple[bytes, Mapping[str, Record]] | None = None
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    async def read(self) -> Mapping[str, Record]:
        """Return all records; without the file there are none."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise PlaceError(f"{self.path}: {error.strerror}") from error
        if self._seen is None or self._seen[0] != raw:
            self._seen = (raw, _decode(raw, self.path))
        return self._seen[1]

    async def engage(self, wish: Engage) -> Record:
        """Write an engaged record of the next generation."""
        return await self._in_thread(self._engage, wish)

    async def put(self, record: Record) -> bool:
        """Write `record` unless something of a higher rank is there."""
        return await self._in_thread(self._put, record)

    async def wait(self, timeout_s: float) -> None:
        """Return when the folder changes, or after `timeout_s`."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.get_running_loop().create_task(self._watch())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()

    async def close(self) -> None:
        """End the watcher."""
        self._stop.set()
        if self._watcher is not None:
            await tasks_end([self._watcher])

    def twin(self) -> "FilePlace":
        """Return the same place."""
        return FilePlace(self.folder, self._timeout_s)

    async def _watch(self) -> None:
        if not self.folder.is_dir():
            await asyncio.sleep(1.0)  # nothing to watch yet: the polls see the file when it comes
            return
        changes = awatch(
            self.folder, watch_filter=None, debounce=WATCH_STEP_MS, step=WATCH_STEP_MS, stop_event=self._stop,
            recursive=False,
        )  # fmt: skip
        async for _ in changes:
            self._changed.set()

    async def _in_thread(self, function: Callable[[A], R], argument: A) -> R:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.to_thread(function, argument)
        except TimeoutError as error:
            raise PlaceError(f"{self.path}: not written within {self._timeout_s} s") from error
        except OSError as error:
            raise PlaceError(f"{self.path}: {error.strerror or error}") from error

    def _engage(self, wish: Engage) -> Record:
        with self._locked():
            records = self._records_or_none_left()
            record = wish.over(records.get(wish.scope))
            self._write({**records, wish.scope: record})
        return record

    def _put(self, record: Record) -> bool:
        with self._locked():
            records = self._records_or_none_left()
            own = records.get(record.scope)
            if own is not None and own.rank > record.rank:
                return False
            self._write({**records, record.scope: record})
        return True

    def _records_or_none_left(self) -> dict[str, Record]:
        """Return the records; a file that cannot be understood is put aside, so that it can be looked at."""
        try:
            return dict(_decode(self.path.read_bytes(), self.path))
        except FileNotFoundError:
            return {}
        except RecordBroken:
            self.path.replace(self.path.with_suffix(f".broken-{time.time_ns()}"))
            return {}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / "kill.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            lock_take(descriptor, time.monotonic() + self._timeout_s * 0.8)
            yield
        finally:
            os.close(descriptor)

    def _write(self, records: dict[str, Record]) -> None:
        fresh = self.path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(KillFile(1, records)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(self.path)
        folder_fsync(self.folder)


def _decode(raw: bytes, path: Path) -> Mapping[str, Record]:
    try:
        return msgspec.json.decode(raw, type=KillFile).records
    except msgspec.DecodeError as error:
        raise RecordBroken(f"{path} is no kill switch file ({error})") from error


def lock_take(descriptor: int, deadline: float) -> None:
    """Take the lock, but not for ever: its holder may be a paused process."""
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError("another process holds its lock") from None
            time.sleep(LOCK_STEP_S)
