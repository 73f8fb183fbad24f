"""PostgreSQL dumped and restored by its own programs: those of the embedded wheel, or the system's."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from trader.runtime.errors import StartError
from trader.runtime.servers import POSTGRES_MAJOR, postgres_bin

# libpq reads these: on a command line a password could be read by every user of the machine
VARIABLES = {
    "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
}  # fmt: skip
TABLES = "select count(*) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"


def database_dump(url: str, path: Path, *, own_server: bool) -> None:
    """Write one consistent dump, whatever is written meanwhile. `own_server`: it is the embedded one."""
    command = [_program("pg_dump", url, own_server), "--format=custom", "--compress=1", "--no-owner",
               "--no-privileges", "--lock-wait-timeout=60s", f"--file={path}"]  # fmt: skip
    _run(command, url, "The database could not be dumped")


def database_restore(url: str, path: Path, *, own_server: bool) -> None:
    """Fill an empty database from a dump, in one transaction: all of it, or nothing."""
    command = [_program("pg_restore", url, own_server), "--no-owner", "--no-privileges", "--exit-on-error",
               "--single-transaction", f"--dbname={_parts(url).get('dbname', '')}", str(path)]  # fmt: skip
    _run(command, url, "The database could not be restored")
    with _connect(url) as connection:
        connection.execute("analyze")


def tables_count(url: str) -> int:
    """Return how many tables a database holds."""
    return int(rows_of(url, TABLES)[0][0])


def rows_of(url: str, sql: str) -> list[Any]:
    """Ask a database; say what to do when it does not answer."""
    import psycopg

    try:
        with _connect(url) as connection:
            cursor = connection.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []
    except psycopg.Error as error:
        raise StartError(f"The database does not answer: {_first_line(error)}.", "start it, or check its address.")\
            from None  # fmt: skip


def server_major(url: str) -> str:
    """Return the major version of the server behind an address."""
    with _connect(url) as connection:
        return str(connection.info.server_version // 10_000)


def _connect(url: str) -> Any:
    import psycopg

    return psycopg.connect(url, connect_timeout=10, autocommit=True)


def _program(name: str, url: str, own_server: bool) -> str:
    """Return the program's path: the wheel's, but the system's where a server wants TLS or is newer than the wheel."""
    ours = str(postgres_bin() / name)
    if own_server:
        return ours
    wants_tls = str(_parts(url).get("sslmode", "")) in ("require", "verify-ca", "verify-full")
    if wants_tls or int(server_major(url)) > int(POSTGRES_MAJOR):
        return shutil.which(name) or ours
    return ours


def _run(command: list[str], url: str, what: str) -> None:
    environment = os.environ | {VARIABLES[key]: str(value) for key, value in _parts(url).items() if key in VARIABLES}
    try:
        result = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise StartError(f"{what}: {command[0]}: {error.strerror}.", "run `make setup`.") from None
    if result.returncode != 0:
        raise StartError(f"{what}: {_last_line(result.stderr)}.", _fix(result.stderr))


def _fix(message: str) -> str:
    if "server version mismatch" in message or "SSL" in message or "sslmode" in message:
        return "install the client programs of your server's version (package postgresql-client): those are taken."
    if "No space left" in message:
        return "the disk is full: make room (df -h shows the disks)."
    return "see that the server runs and that the disk has room, then do it again; nothing was changed."


def _parts(url: str) -> dict[str, Any]:
    from psycopg.conninfo import conninfo_to_dict

    return dict(conninfo_to_dict(url))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip(" .") if lines else "no reason was given"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip(" .")
