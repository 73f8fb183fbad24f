"""A process that has imported what the simulated exchange needs, and forks it: most of a start is imports.

What is forked is a process of its own with the command's own code and arguments; it is paused and killed like any.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["apps.simulator.command", "django.core.management", "tests.forks"])


class Forked:
    """A command of `manage.py`, with what these tests use of `subprocess.Popen`."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._process: BaseProcess = _context.Process(target=_run, args=(arguments, str(log)), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once it has ended; raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, what: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, what)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _run(arguments: list[str], log: str) -> None:
    from django.core.management import execute_from_command_line

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.argv = ["manage.py", *arguments]
    execute_from_command_line(sys.argv)
