"""`manage.py backup`: the database, the keys, the files and the simulated exchange in one file with checksums.

The order of copying is what makes it consistent. Journals first: what they hold unbooked is booked again and found
to be there. Then the database, in one transaction. The simulated exchange last: after a restore it knows at least
all that the database knows, as a real venue would, and the desk's first reconciliation brings the books up to it.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trader.config import Config
from trader.config.schema import ROOT
from trader.runtime.archive import Manifest, archive_verify, archive_write
from trader.runtime.dumps import database_dump, rows_of, server_major
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout, json_read
from trader.runtime.servers import EmbeddedPostgres, StateLock, socket_folder_new
from trader.runtime.status import is_running, project_version

DUMP = "database.dump"
STATE = "state"  # what lies under the state folder
ENV = "env"
# made anew from the dump, from what the database holds, or of use to one run only
LEFT_OUT = {"postgres", "valkey", "logs", "run", "kernels", "backups", "aside", "drills"}
LATE = {"simulator", "keys"}  # copied after the dump
PASSING = {"lock", "kill.lock", "ready.json"}
PASSING_ENDINGS = (".part", ".new", "-wal", "-shm", "-journal")
NAME = "quarterdeck-{stamp}.tar"
MIGRATIONS = "select app || '.' || name from django_migrations order by 1"
SPARE_BYTES = 200 << 20


@dataclass(frozen=True)
class Backup:
    """A backup that was made and read back."""

    path: Path
    manifest: Manifest
    removed: list[Path]


def backup_make(config: Config, to: Path | None = None) -> Backup:
    """Make one backup, read it back whole, and only then forget the oldest ones beyond `backup.keep`.

    The stack may run or not. With `to`, the file goes there and none is forgotten.
    """
    layout = Layout(config.runtime.state_dir)
    folder = backup_folder(config)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = to or folder / NAME.format(stamp=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    if path.exists():
        raise StartError(f"{path} is there already.", "give another name; a backup is never written over.")
    with _one_at_a_time(folder), database_at_hand(config, layout) as (url, is_own):
        _room_check(url, folder)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as name:
            about = _stage(Path(name), layout, url, is_own)
            archive_write(path, Path(name), about)
    manifest = archive_verify(path)
    return Backup(path, manifest, [] if to else _forget(folder, config.backup.keep))


def backup_folder(config: Config) -> Path:
    """Return where scheduled backups go."""
    return Path(config.backup.folder) if config.backup.folder else config.runtime.state_dir / "backups"


def backups_list(folder: Path) -> list[Path]:
    """Return the backups of a folder, oldest first."""
    return sorted(folder.glob(NAME.format(stamp="[0-9]*Z")))


@contextlib.contextmanager
def database_at_hand(config: Config, layout: Layout) -> Iterator[tuple[str, bool]]:
    """Yield the database's address and whether it is the embedded one; that one is started while no stack runs."""
    if is_running(layout) is not None:
        running = {row["name"] for row in (json_read(layout.stack_file) or {}).get("processes", [])}
        written = json_read(layout.servers_file) or {}
        yield written.get("database_url") or config.runtime.database_url, "postgres" in running
        return
    if config.runtime.database_url:
        yield config.runtime.database_url, False
        return
    if not (layout.root / "postgres" / "PG_VERSION").exists():
        raise StartError(f"There is no database in {layout.root}.", "start the stack once: make run.")
    lock = StateLock(layout.root)
    lock.acquire()
    sockets = socket_folder_new()
    server = EmbeddedPostgres(layout.root / "postgres", sockets, layout.logs / "postgres.log")
    try:
        server.start()
        yield server.url, True
    finally:
        server.stop()
        shutil.rmtree(sockets, ignore_errors=True)
        lock.release()


def _stage(staged: Path, layout: Layout, url: str, is_own: bool) -> dict[str, Any]:
    state = staged / STATE
    entries = [entry for entry in sorted(layout.root.iterdir()) if entry.name not in LEFT_OUT]
    for entry in entries:
        if entry.name not in LATE:
            tree_copy(entry, state / entry.name)
    keys_before = _keys(layout)
    database_dump(url, staged / DUMP, own_server=is_own)
    for entry in entries:
        if entry.name in LATE:
            tree_copy(entry, state / entry.name)
    if _keys(layout) != keys_before:
        raise StartError("The keys were changed while the backup ran.", "run it again.")
    if (ROOT / ".env").exists():
        tree_copy(ROOT / ".env", staged / ENV)
    return {
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quarterdeck": project_version(),
        "postgres": server_major(url),
        "migrations": [row[0] for row in rows_of(url, MIGRATIONS)],
    }


def tree_copy(source: Path, target: Path) -> None:
    """Copy a file or folder that is in use: SQLite files by SQLite itself, what passes by not at all."""
    if source.is_symlink() or source.name in PASSING or source.name.endswith(PASSING_ENDINGS):
        return
    if source.is_dir():
        for entry in sorted(source.iterdir()):
            tree_copy(entry, target / entry.name)
        return
    if not source.is_file():
        return  # a socket, a pipe
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):  # it went while we looked: a journal that was booked
        if source.suffix == ".sqlite":
            sqlite_copy(source, target)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o600)


def sqlite_copy(source: Path, target: Path) -> None:
    """Copy a SQLite file at one moment of its life, while others write to it."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as one,
        contextlib.closing(sqlite3.connect(target)) as other,
    ):
        one.backup(other)
        other.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
    target.chmod(0o600)


def _keys(layout: Layout) -> dict[str, bytes]:
    folder = layout.root / "keys"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} if folder.is_dir() else {}


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StartError("Another backup is being made.", "wait until it has ended.") from None
    try:
        for left in folder.glob(".making-*"):  # of one that was killed: nobody else holds the lock
            shutil.rmtree(left, ignore_errors=True)
        for left in folder.glob("*.part"):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def _room_check(url: str, folder: Path) -> None:
    """A dump is far smaller than its database; twice a third of it is more than dump and archive take together."""
    size = int(rows_of(url, "select pg_database_size(current_database())")[0][0])
    needed = SPARE_BYTES + size * 2 // 3
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StartError(
            f"The disk of {folder} has {free >> 20} MB left; a backup may need {needed >> 20}.",
            "make room, or set QD_BACKUP_FOLDER to a folder on another disk.",
        )


def _forget(folder: Path, keep: int) -> list[Path]:
    old = backups_list(folder)[:-keep]
    for path in old:
        path.unlink(missing_ok=True)
    return old
