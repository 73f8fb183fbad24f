"""What `manage.py doctor` asks of the machine and the servers. Each look says what it found, and the fix."""

import ctypes
import os
import platform
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psycopg
import redis

from trader.config import Config
from trader.config.schema import CLOCK_LEAD_S, ROOT
from trader.runtime.backup import backup_folder, backups_list
from trader.runtime.layout import LEAST_FREE_BYTES, Layout
from trader.runtime.servers import POSTGRES_MAJOR

GOOD, WARN, BAD = "ok", "warn", "bad"
ROOMY_BYTES = 5 << 30
OLDEST_POSTGRES = 14  # of an external server: what the SQL uses is in it
OLDEST_REDIS = (6, 2)
BACKUP_HOURS = 50  # a nightly one may be missed once
CLOCK_ERROR = 5  # adjtimex: the kernel says that nobody keeps its clock right
ANSWER_S = 5


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is, in words, and what to do about it."""

    name: str
    state: str
    words: str
    fix: str = ""


def machine_checkup(config: Config) -> Iterator[Finding]:
    """Yield what can be seen without any server."""
    layout = Layout(config.runtime.state_dir)
    yield _python()
    yield _packages()
    yield from _permissions(layout)
    yield _disk(layout)
    yield _kernel_clock()
    yield _cluster(layout)
    yield _backups(config)


def servers_checkup(config: Config) -> Iterator[Finding]:
    """Yield how the database and the bus are, and how their clocks stand to ours."""
    yield from _postgres(config.runtime.database_url)
    yield from _bus(config.runtime.redis_url)


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info[:2] == (3, 11):
        return Finding("python", GOOD, found)
    return Finding("python", BAD, f"{found}; Quarterdeck is made for 3.11", "make clean setup PYTHON=python3.11")


def _packages() -> Finding:
    """Compare what is installed with the pins, name by name."""
    wrong, count = [], 0
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        name, separator, pin = line.split("#")[0].split(";")[0].strip().partition("==")
        if not separator:
            continue
        count += 1
        try:
            found = version(name.split("[")[0])
        except PackageNotFoundError:
            found = "missing"
        if found != pin.strip():
            wrong.append(f"{name} {found}, pinned {pin.strip()}")
    if wrong:
        return Finding("packages", WARN, f"{len(wrong)} differ: {'; '.join(wrong[:5])}", "make setup")
    return Finding("packages", GOOD, f"{count} as pinned")


def _permissions(layout: Layout) -> Iterator[Finding]:
    if not layout.root.is_dir():
        yield Finding("state folder", BAD, f"{layout.root} is not there", "start once: make run")
        return
    mode = stat.S_IMODE(layout.root.stat().st_mode)
    if not os.access(layout.root, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            "state folder", BAD, f"{layout.root} cannot be written", "chown it to the user that runs the stack"
        )
    elif mode & 0o077:
        yield Finding("state folder", WARN, f"{layout.root} has mode {mode:o}: others can enter",
                      f"chmod 700 {layout.root}")  # fmt: skip
    else:
        yield Finding("state folder", GOOD, f"{layout.root}, mode {mode:o}")
    keys = [path for path in (layout.root / "keys").glob("*") if path.is_file()]
    open_ones = [path.name for path in keys if stat.S_IMODE(path.stat().st_mode) & 0o077]
    empty = [path.name for path in keys if not path.stat().st_size]
    if empty:
        yield Finding("keys", BAD, f"empty: {', '.join(empty)}", "bring the keys back from a backup")
    elif open_ones:
        yield Finding("keys", BAD, f"others can read {', '.join(open_ones)}", f"chmod 600 {layout.root}/keys/*")
    elif not keys:
        yield Finding("keys", BAD, "there are none", "start once: make run")
    else:
        yield Finding("keys", GOOD, f"{len(keys)}, mode 600")


def _disk(layout: Layout) -> Finding:
    place = layout.root if layout.root.exists() else layout.root.parent
    free = shutil.disk_usage(place).free
    words = f"{free / 1e9:.1f} GB free beside {place}"
    if free < LEAST_FREE_BYTES:
        return Finding("disk", BAD, words, "make room: below 0.3 GB `up` does not start")
    if free < ROOMY_BYTES:
        return Finding("disk", WARN, words, "make room: bars, logs and backups want some gigabytes")
    return Finding("disk", GOOD, words)


def _kernel_clock() -> Finding:
    """Ask Linux whether anybody keeps its clock right; elsewhere the servers' clocks must do."""
    if sys.platform != "linux":
        return Finding("clock", GOOD, "not asked on this system; compared with the servers below")
    buffer = ctypes.create_string_buffer(512)  # struct timex with modes 0: only read
    if ctypes.CDLL(None).adjtimex(buffer) == CLOCK_ERROR:
        return Finding("clock", WARN, "the system says that nothing keeps it right",
                       "run chrony or systemd-timesyncd: venues refuse signatures with a wrong time")  # fmt: skip
    return Finding("clock", GOOD, "kept right by the system")


def _cluster(layout: Layout) -> Finding:
    path = layout.root / "postgres" / "PG_VERSION"
    if not path.exists():
        return Finding("embedded database", GOOD, "none in this folder")
    found = path.read_text().strip()
    if found == POSTGRES_MAJOR:
        return Finding("embedded database", GOOD, f"of PostgreSQL {found}")
    return Finding("embedded database", BAD, f"of PostgreSQL {found}, and this version brings {POSTGRES_MAJOR}",
                   "manage.py upgrade-database")  # fmt: skip


def _backups(config: Config) -> Finding:
    folder = backup_folder(config)
    found = backups_list(folder) if folder.is_dir() else []
    if not found:
        return Finding("backup", WARN, f"none in {folder}", "manage.py backup; the schedule makes one every night")
    hours = (time.time() - found[-1].stat().st_mtime) / 3600
    words = f"{len(found)} in {folder}, the newest {hours:.0f} h old"
    if hours > BACKUP_HOURS:
        return Finding("backup", WARN, words, "see worker-data.log for `the nightly backup failed`")
    return Finding("backup", GOOD, words)


def _postgres(url: str) -> Iterator[Finding]:
    if not url:
        yield Finding("database", BAD, "nothing runs in this folder and no DATABASE_URL is set", "make run")
        return
    try:
        with psycopg.connect(url, connect_timeout=ANSWER_S, autocommit=True) as connection:
            connection.execute(f"set statement_timeout = '{ANSWER_S}s'")
            began = time.time()
            row = connection.execute(
                "select extract(epoch from clock_timestamp())::float8, current_setting('server_version'),"
                " current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')"
            ).fetchone()
            took = time.time() - began
    except psycopg.Error as error:
        yield Finding("database", BAD, f"does not answer ({type(error).__name__})", "start it; check DATABASE_URL")
        return
    assert row is not None
    there, found, *durable = row
    major = int(str(found).split(".")[0].split()[0])
    if major < OLDEST_POSTGRES:
        yield Finding("database", BAD, f"PostgreSQL {found}", f"use {OLDEST_POSTGRES} or later; 18 is what is tested")
    elif durable != ["on", "on", "on"]:
        yield Finding("database", BAD, "fsync, synchronous_commit or full_page_writes is off: a crash may lose orders",
                      "turn all three on")  # fmt: skip
    else:
        yield Finding("database", GOOD, f"PostgreSQL {found}, answers in {took * 1e3:.0f} ms, writes are durable")
    yield _clock_against("database", float(there) - began - took / 2)


def _bus(url: str) -> Iterator[Finding]:
    if not url:
        yield Finding("bus", BAD, "nothing runs in this folder and no REDIS_URL is set", "make run")
        return
    try:
        with redis.Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S) as client:
            began = time.time()
            seconds, micros = client.time()  # type: ignore[misc]
            took = time.time() - began
            told: Any = client.info()
            policy: Any = client.config_get("maxmemory-policy")
    except (redis.RedisError, OSError) as error:
        yield Finding("bus", BAD, f"does not answer ({type(error).__name__})", "start it; check REDIS_URL")
        return
    found = str(told.get("valkey_version") or told["redis_version"])
    if tuple(int(part) for part in str(told["redis_version"]).split(".")[:2]) < OLDEST_REDIS:
        yield Finding("bus", BAD, f"version {found}", "use Redis 6.2, Valkey 7.2, or later")
    elif policy.get("maxmemory-policy") != "noeviction":
        yield Finding("bus", BAD, f"forgets keys when full ({policy.get('maxmemory-policy')})",
                      "set maxmemory-policy noeviction: the kill switch's record is among them")  # fmt: skip
    elif not told.get("aof_enabled"):
        yield Finding("bus", WARN, f"version {found}, without an append-only file: a restart empties it",
                      "set appendonly yes; until then a restart blocks new risk for a moment")  # fmt: skip
    else:
        yield Finding("bus", GOOD, f"version {found}, answers in {took * 1e3:.0f} ms, append-only file on")
    yield _clock_against("bus", seconds + micros / 1e6 - began - took / 2)


def _clock_against(name: str, lead_s: float) -> Finding:
    words = f"{lead_s * 1e3:+.0f} ms against ours"
    if abs(lead_s) > CLOCK_LEAD_S:
        return Finding(f"clock of the {name}", BAD, words, "let both machines follow a time server (chrony)")
    return Finding(f"clock of the {name}", GOOD, words)
