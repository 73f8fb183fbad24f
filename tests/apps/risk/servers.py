"""Servers that a test may stop, pause and kill: a PostgreSQL and a Valkey of its own, and the kill switch on them."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import redis
from django.db import connection

from apps.risk.killswitch.bus import BusPlace
from apps.risk.killswitch.database import DatabasePlace, database_conninfo
from apps.risk.killswitch.file import FilePlace
from apps.risk.killswitch.reader import KillReader
from apps.risk.killswitch.switch import Places
from apps.risk.models import KillRecord
from trader.runtime.servers import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from trader.settings import _database


def table_sql() -> str:
    """Return the kill record's table as the migration makes it."""
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        editor.create_model(KillRecord)
    return "\n".join(editor.collected_sql)


class Bench:
    """Three places on servers of their own."""

    def __init__(self, folder: Path) -> None:
        sockets = folder / "s"
        sockets.mkdir(mode=0o700)
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder / "pg", sockets, folder / "pg.log")
        self.valkey = EmbeddedValkey(folder / "valkey", sockets, folder / "valkey.log")
        self.kill_folder = folder / "kill"

    def start(self) -> None:
        """Start both servers and make the table."""
        self.postgres.start()
        self.valkey.start()
        with psycopg.connect(self.conninfo, autocommit=True) as own:
            own.execute(table_sql().encode())

    @property
    def conninfo(self) -> str:
        """Return the address of the database."""
        return database_conninfo(_database(self.postgres.url))

    def stop(self) -> None:
        """Stop both servers, paused or not."""
        for server in (self.postgres, self.valkey):
            resume(server)
            server.stop()

    def mend(self) -> None:
        """Bring back whatever a test has stopped, and forget all records."""
        for server in (self.postgres, self.valkey):
            resume(server)
            if not server.is_alive():
                server.start()
        with psycopg.connect(self.conninfo, autocommit=True) as own:
            own.execute("TRUNCATE risk_killrecord")
        self.flush()
        if self.kill_folder.is_file():
            self.kill_folder.unlink()
        shutil.rmtree(self.kill_folder, ignore_errors=True)

    def flush(self) -> None:
        """Empty the bus, as a restart without its file would."""
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()

    def places(self, timeout_s: float = 1.0) -> Places:
        """Return the three places."""
        return Places(
            DatabasePlace(self.conninfo, timeout_s),
            BusPlace(self.valkey.url, timeout_s),
            FilePlace(self.kill_folder, timeout_s),
        )

    def gone(self, name: str) -> None:
        """Take one place away for good."""
        if name == "database":
            self.postgres.stop()
        elif name == "bus":
            self.valkey.stop()
        else:
            # a file where the folder should be: neither readable nor writable, for root too
            shutil.rmtree(self.kill_folder, ignore_errors=True)
            self.kill_folder.write_text("in the way")

    def back(self, name: str) -> None:
        """Bring one place back."""
        if name == "database":
            self.postgres.start()
        elif name == "bus":
            self.valkey.start()
        else:
            self.kill_folder.unlink()


def pause(server: EmbeddedServer) -> None:
    """Freeze a server with all its processes."""
    for process in _processes(server):
        process.send_signal(signal.SIGSTOP)


def resume(server: EmbeddedServer) -> None:
    """Let a frozen server go on."""
    for process in _processes(server):
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGCONT)


def _processes(server: EmbeddedServer) -> list[psutil.Process]:
    if not server.is_alive():
        return []
    parent = psutil.Process(server.process.pid)
    return [parent, *parent.children(recursive=True)]


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """Lend a bench; all is thrown away at the end."""
    folder = Path(tempfile.mkdtemp(prefix="qdk-"))
    made = Bench(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def until(condition, timeout_s: float = 5.0) -> float:
    """Wait until `condition()`; return how long it took in seconds, or fail with what was waited for."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s} s: {condition}"
        await asyncio.sleep(0.002)
    return time.monotonic() - started


@contextlib.asynccontextmanager
async def reading(made: Bench, **options):
    """Lend a started reader on the bench."""
    reader = KillReader(places=made.places(), **options)
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()
