"""A server process of ours: how it is started, watched and stopped."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trader.runtime.errors import StartError
from trader.runtime.sandbox import as_ordinary_user, die_with_parent

POSTGRES_SOCKET_FOLDER_MAX = 93  # bytes; the socket's own name takes the rest of 107
RECOVERY_S = 60.0  # after a kill -9 PostgreSQL replays its log before it answers


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
                    f"{self.name} stopped while starting on {self.data}. It said: {said}", fix_of(said, self._fix)
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


def connects(path: Path) -> bool:
    """Say whether somebody listens on a unix socket."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            return True
    except OSError:
        return False


def fix_of(message: str, otherwise: str) -> str:
    """Return the fix for what a server said, where its words are known."""
    if "No space left" in message:
        return "the disk is full: make room (df -h) and start again; nothing was lost."
    if "Permission denied" in message:
        return "the state folder must belong to you: chown it, or set QD_RUNTIME_STATE_DIR to a folder of yours."
    return otherwise
