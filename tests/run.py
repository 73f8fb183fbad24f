"""`make test`, `make test-quick` and `make lint`: what is run, and in which order.

`python -m tests.run full|quick|lint`. Each step is a process; one that fails ends the run with its status.
"""

import os
import sys
import tempfile
from pathlib import Path

from tests.steps import PYTEST, ROOT, Step, in_turn

# a worker that died is not replaced: the run ends with what it said, instead of going on beside what it left behind
WORKERS = ["--no-loadscope-reorder", "--max-worker-restart=0"]
LIGHT = ["-n", "2", *WORKERS, "-m", "not stack and not browser", "tests"]
# a desk, a feed or a hub in the test's own process mostly waits: three of them share two cores
PARTS = ["-n", "3", *WORKERS, "-m", "stack or browser"]
# never more than two whole stacks at once: three leave none the time that leases, windows and pauses are about
STACKS = ["-n", "2", *WORKERS, "-m", "stack or browser"]
MARKS = ("mark.stack", "mark.browser")
LIGHT_TESTS, PARTS_TESTS = "light tests", "parts with servers of their own"
CORE_COVERAGE = 95
APPS_COVERAGE = 90
QUICK = ["tests/core", "tests/apps", "tests/architecture", "tests/docs", "-m", "not stack and not browser and not data"]


def main(kind: str) -> int:
    """Run the steps of one kind; return the exit status."""
    steps = {"full": full, "quick": quick, "lint": lint}
    if kind not in steps:
        print(f"unknown: {kind}. Fix: one of {', '.join(steps)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="qdk-") as kernels:  # compiled once for all steps
        os.environ["QD_TEST_KERNELS"] = kernels
        return steps[kind]()


def lint() -> int:
    """Style, types, layers, migrations, templates and docs."""
    manage = [sys.executable, "-W", "ignore::RuntimeWarning", "manage.py"]  # it warns that no database answers
    return in_turn(
        Step("style", [sys.executable, "-m", "ruff", "check", "."]),
        Step("format", [sys.executable, "-m", "ruff", "format", "--check", "--quiet", "."]),
        Step("types of the core", [sys.executable, "-m", "mypy"]),
        Step("layers", [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]),
        Step("migrations", [*manage, "makemigrations", "--check", "--dry-run", "--verbosity", "0"]),
        Step("settings of Django", [*manage, "check", "--fail-level", "WARNING"]),
        Step("templates and docs", [*PYTEST, "tests/docs", "-p", "no:randomly"]),
    )


def quick() -> int:
    """What needs no stack and no browser."""
    return in_turn(Step("quick tests", [*PYTEST, "-n", "2", *QUICK]))


def full() -> int:
    """Everything. In CI with coverage, and a skip fails."""
    parts, stacks = files_marked()
    kinds = {LIGHT_TESTS: LIGHT, PARTS_TESTS: [*PARTS, *parts], "whole stacks and browser": [*STACKS, *stacks]}
    if not os.environ.get("QD_CI"):
        return in_turn(*(Step(name, [*PYTEST, *given], is_told_again=True) for name, given in kinds.items()))
    # a market that runs in a test's own process is counted by the light tests: traced, it would be too slow to follow.
    # Whole stacks are processes that no tracer sees
    counted = {
        LIGHT_TESTS: _coverage("apps", "apps", LIGHT),
        PARTS_TESTS: _coverage("apps", "apps", kinds[PARTS_TESTS], "--omit=apps/simulator/*,*/migrations/*"),
    }
    core = _coverage("core", "trader/core", ["-n", "2", *WORKERS, "tests/core", "tests/lookahead"])
    return in_turn(
        Step("the core, kernels as plain Python", core, {"NUMBA_DISABLE_JIT": "1"}),
        *_counted("core", CORE_COVERAGE),
        *(Step(name, counted.get(name, [*PYTEST, *given]), is_told_again=True) for name, given in kinds.items()),
        *_counted("apps", APPS_COVERAGE),
    )


def files_marked() -> tuple[list[str], list[str]]:
    """Return the files with tests that start servers: those of `tests/apps`, and all others.

    Each worker would read all 270 files to find these, some twenty seconds long.
    """
    found: tuple[list[str], list[str]] = ([], [])
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if any(mark in path.read_text() for mark in MARKS):
            name = path.relative_to(ROOT).as_posix()
            found[0 if name.startswith("tests/apps/") else 1].append(name)
    return found


def _coverage(name: str, source: str, arguments: list[str], *options: str) -> list[str]:
    # the workers are processes of their own: `patch = ["subprocess"]` in pyproject.toml hands this on to them. What a
    # test starts is not measured (tests/conftest.py), so that the figures are lower bounds
    return [
        sys.executable, "-m", "coverage", "run", f"--data-file=.coverage.{name}", f"--source={source}",
        "--parallel-mode", *options, "-m", *PYTEST[2:], *arguments,
    ]  # fmt: skip


def _counted(name: str, least: int) -> tuple[Step, Step]:
    file = f"--data-file=.coverage.{name}"
    combine = [sys.executable, "-m", "coverage", "combine", "--quiet", file]
    report = [
        sys.executable, "-m", "coverage", "report", file, f"--fail-under={least}", "--skip-covered", "--sort=cover",
    ]  # fmt: skip
    where = "trader/core" if name == "core" else name
    return (
        Step(f"putting the coverage of {where} together", combine),
        Step(f"coverage of {where}, at least {least} %", report),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "full"))
