"""The supervisor: starts processes, restarts what dies with back-off, stops all within ten seconds."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trader.runtime.sandbox import die_with_parent

FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0
CALM_AFTER_S = 60.0  # alive for so long, a process has earned a fresh back-off


@dataclass(frozen=True)
class Program:
    """What to run: a name, its command, its environment, and how it is asked to stop."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    log: Path
    stop_rank: int = 0  # lower ranks stop first; the venue outlives the desk, the servers outlive all
    stop_signal: int = signal.SIGTERM
    refusal: int | None = None  # the exit status that says: not with these options; a restart would not help


@dataclass
class Running:
    """A program and its process now."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    since: float = 0.0
    restarts: int = 0
    state: str = "stopped"
    back_off_s: float = FIRST_BACK_OFF_S
    retry_at: float = field(default=0.0)
    last_exit: int | None = None
    is_refused: bool = False

    @property
    def pid(self) -> int | None:
        """Return the process's id while it lives."""
        return self.process.pid if self.process and self.process.poll() is None else None


class Supervisor:
    """Holds the running programs; `tick` is called about once a second and on every dead child."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.running: dict[str, Running] = {}
        self._on_change = on_change

    def start(self, program: Program) -> None:
        """Start a program under supervision."""
        running = self.running.setdefault(program.name, Running(program))
        self._spawn(running)
        self._on_change()

    def tick(self) -> None:
        """Notice dead processes, and start those whose back-off has passed."""
        changed = False
        now = time.monotonic()
        for running in self.running.values():
            if running.state == "running" and running.process and running.process.poll() is not None:
                self._died(running, now)
                changed = True
            elif running.state == "waiting" and now >= running.retry_at:
                self._spawn(running)
                changed = True
            elif running.state == "running" and time.time() - running.since > CALM_AFTER_S:
                running.back_off_s = FIRST_BACK_OFF_S
        if changed:
            self._on_change()

    def stop(self, budget_s: float) -> list[str]:
        """Stop all programs, rank by rank, within `budget_s`; return the names of those that had to be killed."""
        ranks = sorted({running.program.stop_rank for running in self.running.values()})
        deadline = time.monotonic() + budget_s
        killed: list[str] = []
        for index, rank in enumerate(ranks):
            group = [r for r in self.running.values() if r.program.stop_rank == rank]
            later = len(ranks) - index - 1
            killed += _stop_group(group, max(0.5, deadline - time.monotonic() - later))
        self._on_change()
        return killed

    def _spawn(self, running: Running) -> None:
        program = running.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        with program.log.open("ab") as log:
            running.process = subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=program.environment,
                start_new_session=True,  # a Ctrl-C in the terminal goes to the supervisor alone
                preexec_fn=die_with_parent,  # noqa: PLW1509 - the supervisor has no threads
            )
        running.since, running.state = time.time(), "running"

    def _died(self, running: Running, now: float) -> None:
        assert running.process is not None
        running.last_exit = running.process.returncode
        # what it left behind must not live on beside its successor
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.process.pid, signal.SIGKILL)
        if running.restarts == 0 and running.last_exit == running.program.refusal:
            running.state, running.is_refused = "stopped", True
            return
        running.state, running.restarts = "waiting", running.restarts + 1
        running.retry_at = now + running.back_off_s
        running.back_off_s = min(running.back_off_s * 2, LONGEST_BACK_OFF_S)


def _stop_group(group: list[Running], budget_s: float) -> list[str]:
    for running in group:
        if running.pid is not None and running.process is not None:
            running.process.send_signal(running.program.stop_signal)
    deadline = time.monotonic() + budget_s
    killed = []
    for running in group:
        running.state = "stopped"
        if running.process is None:
            continue
        try:
            running.process.wait(max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            killed.append(running.program.name)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.process.pid, signal.SIGKILL)  # its children too
        running.process.wait(5)
    return killed
