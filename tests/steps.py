"""Steps of a run: processes one after the other, and what failed told again alone."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-q", "--durations=25"]
LIMIT_S = 2100  # of one step: what stands still says where, and ends
TIMES = 2  # a test that failed once has to pass so often, alone, one time after the other
MOST = 5  # tests of one run that may be told again


@dataclass(frozen=True)
class Step:
    """One process. `is_told_again`: it runs tests of which a few may fail for the machine's sake."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    is_told_again: bool = False


@dataclass
class Outcome:
    """How a step ended, and what failed in it (rows of `tests.told`)."""

    step: Step
    status: int
    failed: list[dict[str, Any]]

    @property
    def is_open(self) -> bool:
        """It failed in nothing but tests that may be told again."""
        return (
            self.status == 1 and self.step.is_told_again
            and bool(self.failed) and not any(row["is_final"] for row in self.failed)
        )  # fmt: skip


def in_turn(*steps: Step) -> int:
    """Run steps until one fails for good; return its status. Tests that failed are told again when all are through."""
    outcomes = []
    for step in steps:
        outcomes.append(_run(step))
        if outcomes[-1].status != 0 and not outcomes[-1].is_open:
            break
    return _judged(outcomes)


def _judged(outcomes: list[Outcome]) -> int:
    """Return the status of a run: that of the first step that failed and stays so."""
    for one in outcomes:
        if one.status != 0 and not one.is_open:
            return one.status
    failed = {row["id"]: row for one in outcomes for row in one.failed}
    if not failed:
        return 0
    if len(failed) > MOST:
        print(f"\n!! {len(failed)} tests failed: more than {MOST} are not told again", flush=True)
        return 1
    return _told_again(failed)


def _told_again(failed: dict[str, dict[str, Any]]) -> int:
    for _ in range(TIMES):
        if status := _run(Step("what failed, alone", [*PYTEST, *failed])).status:
            return status
    print(f"\n!! TOLD AGAIN: {len(failed)} tests failed at first, and passed {TIMES} times alone. Read why:")
    for row in failed.values():
        print(f"!!   {row['id']} ({row['when']})\n{row['error']}")
    sys.stdout.flush()
    return 0


def _run(step: Step) -> Outcome:
    began = time.monotonic()
    print(f"\n── {step.name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="qdr-") as folder:
        told = Path(folder) / "failed"
        environment = os.environ | step.environment
        if step.is_told_again:
            environment["QD_TEST_FAILED"] = str(told)
        status = _process(step.command, environment)
        rows = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
    words = "passed" if status == 0 else "FAILED"
    print(f"── {step.name}: {words} in {time.monotonic() - began:.0f} s", flush=True)
    return Outcome(step, status, rows)


def _process(command: list[str], environment: dict[str, str]) -> int:
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        return process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"\n!! not done within {LIMIT_S} s. Where its processes stand:", file=sys.stderr, flush=True)
        _end(psutil.Process(process.pid))
        return 124


def _end(step: psutil.Process) -> None:
    """Let pytest and its workers print where they stand, then end all that the step has started."""
    below = step.children(recursive=True)
    for one in [step, *(one for one in step.children() if "python" in one.name())]:
        one.send_signal(signal.SIGUSR1)  # `tests.servers` has them print their stacks
    time.sleep(3)
    for one in [*below, step]:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs([*below, step], timeout=10)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
