"""Real processes for the drills of the common library: hosts of residents that can be killed and paused."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from django.conf import settings

from tests.servers import _servers

ROOT = Path(__file__).resolve().parents[2]
SHORT_LEASES = {
    "QD_LEASES_TTL_S": "1.5",
    "QD_LEASES_RENEW_S": "0.3",
    "QD_LEASES_STOP_MARGIN_S": "0.6",
    "QD_EXECUTION_RECV_WINDOW_MS": "100",
    "QD_LEASES_POLL_S": "0.2",
}


def database_url() -> str:
    """Return the address of the database that this test runs on."""
    database = settings.DATABASES["default"]
    return (
        f"postgresql://{quote(database['USER'])}@/{quote(database['NAME'])}?host={quote(database['HOST'], safe='')}"
        f"&port={database['PORT'] or 5432}"
    )


def spawn(module: str, *arguments: str, stdout: int = subprocess.DEVNULL, **environment: str) -> subprocess.Popen:
    """Start `python -m module` on this test's servers, with short leases.

    What it says is dropped: a pipe that nobody reads would stop it when it is full.
    """
    env = {
        **os.environ,
        **SHORT_LEASES,
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "DJANGO_SETTINGS_MODULE": "trader.settings",
        **environment,
    }
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=stdout, stderr=subprocess.DEVNULL)


def wait_until(true: Callable[[], object], timeout_s: float = 60.0, step_s: float = 0.02) -> None:
    """Wait for a condition; fails when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(step_s)


def end(process: subprocess.Popen) -> None:
    """Kill a process of ours, stopped or not, and reap it."""
    if process.poll() is None:
        process.kill()
    process.wait(5)
    if process.stdout:
        process.stdout.close()


def postgres_freeze() -> list[int]:
    """Stop the test's PostgreSQL with all its backends, as a machine that hangs would; `thaw` lets it go on."""
    postgres = next(server for server in _servers if type(server).__name__ == "EmbeddedPostgres")
    frozen = [postgres.process.pid]
    _signal(frozen[0], signal.SIGSTOP)
    frozen += _descendants(frozen[0])
    for pid in frozen[1:]:
        _signal(pid, signal.SIGSTOP)
    return frozen


def thaw(frozen: list[int]) -> None:
    """Let stopped processes go on."""
    for pid in reversed(frozen):
        _signal(pid, signal.SIGCONT)


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return children + [further for child in children for further in _descendants(child)]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
