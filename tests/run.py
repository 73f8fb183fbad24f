"""`make test`, `make test-quick` and `make lint`: what is run, and in which order.

`python -m tests.run full|quick|lint`. Each step is a process; the first that fails ends the run with its status.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-q", "--durations=25"]
# a worker that died is not replaced: the run ends with what it said, instead of going on beside what it left behind
PARALLEL = ["-n", "2", "--no-loadscope-reorder", "--max-worker-restart=0"]
LIMIT_S = 2100  # of one step: what stands still says where, and ends
LIGHT = [*PARALLEL, "-m", "not stack and not browser", "tests"]
# never more than two stacks at once: three leave none the time that leases, windows and pauses are about
# told once more where a wait ran out, as on a machine that stood still, and listed; no other assertion has a second try
AGAIN = ["--reruns", "1", "--only-rerun", "^AssertionError: not within ", "--rerun-except", "InvariantBroken"]
HEAVY = [*PARALLEL, *AGAIN, "-m", "stack or browser", "tests"]
CORE_COVERAGE = 95
APPS_COVERAGE = 90
QUICK = ["tests/core", "tests/apps", "tests/architecture", "tests/docs", "-m", "not stack and not browser and not data"]


def main(kind: str) -> int:
    """Run the steps of one kind; return the exit status."""
    steps = {"full": full, "quick": quick, "lint": lint}
    if kind not in steps:
        print(f"unknown: {kind}. Fix: one of {', '.join(steps)}", file=sys.stderr)
        return 2
    return steps[kind]()


def lint() -> int:
    """Style, types, layers, migrations, templates and docs."""
    manage = [sys.executable, "-W", "ignore::RuntimeWarning", "manage.py"]  # it warns that no database answers
    return _all(
        ("style", [sys.executable, "-m", "ruff", "check", "."], {}),
        ("format", [sys.executable, "-m", "ruff", "format", "--check", "--quiet", "."], {}),
        ("types of the core", [sys.executable, "-m", "mypy"], {}),
        ("layers", [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], {}),
        ("migrations", [*manage, "makemigrations", "--check", "--dry-run", "--verbosity", "0"], {}),
        ("settings of Django", [*manage, "check", "--fail-level", "WARNING"], {}),
        ("templates and docs", [*PYTEST, "tests/docs", "-p", "no:randomly"], {}),
    )


def quick() -> int:
    """What needs no stack and no browser."""
    return _all(("quick tests", [*PYTEST, "-n", "2", *QUICK], {}))


def full() -> int:
    """Everything. In CI with coverage, and a skip fails."""
    if not os.environ.get("QD_CI"):
        return _all(("light tests", [*PYTEST, *LIGHT], {}), ("whole stacks", [*PYTEST, *HEAVY], {}))
    core = _all(
        ("the core, kernels as plain Python",
         _coverage("core", "trader/core", [*PARALLEL, "tests/core", "tests/lookahead"]),
         {"NUMBA_DISABLE_JIT": "1"}),
        ("putting the parts of the core's coverage together", _combine("core"), {}),
        (f"coverage of trader/core, at least {CORE_COVERAGE} %", _report("core", CORE_COVERAGE), {}),
    )  # fmt: skip
    return core or _all(
        ("light tests", _coverage("apps", "apps", LIGHT), {}),
        ("whole stacks", _coverage("apps", "apps", HEAVY), {}),
        ("putting the parts of the coverage together", _combine("apps"), {}),
        (f"coverage of apps, at least {APPS_COVERAGE} %", _report("apps", APPS_COVERAGE), {}),
    )


def _coverage(name: str, source: str, arguments: list[str]) -> list[str]:
    # the workers are processes of their own: `patch = ["subprocess"]` in pyproject.toml hands this on to them. What a
    # test starts is not measured (tests/conftest.py), so that the figures are lower bounds
    return [
        sys.executable, "-m", "coverage", "run", f"--data-file=.coverage.{name}", f"--source={source}",
        "--parallel-mode", "-m", *PYTEST[2:], *arguments,
    ]  # fmt: skip


def _combine(name: str) -> list[str]:
    return [sys.executable, "-m", "coverage", "combine", "--quiet", f"--data-file=.coverage.{name}"]


def _report(name: str, least: int) -> list[str]:
    return [
        sys.executable, "-m", "coverage", "report", f"--data-file=.coverage.{name}", f"--fail-under={least}",
        "--skip-covered", "--sort=cover",
    ]  # fmt: skip


def _all(*steps: tuple[str, list[str], dict[str, str]]) -> int:
    for name, command, environment in steps:
        began = time.monotonic()
        print(f"\n── {name}", flush=True)
        status = _step(command, environment)
        print(f"── {name}: {'passed' if status == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
        if status != 0:
            return status
    return 0


def _step(command: list[str], environment: dict[str, str]) -> int:
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "full"))
