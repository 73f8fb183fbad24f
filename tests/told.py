"""What failed, for `tests.steps`, which tells it again alone.

A pytest plugin (`-p tests.told`). With QD_TEST_FAILED set it writes one line of JSON there for each failure.
"""

import json
import os
from pathlib import Path

import pytest

# taken out of the environment: a test that runs pytest itself, and the workers, are not to write there
_path = os.environ.pop("QD_TEST_FAILED", "")
PHASES = ("setup", "call", "teardown")
NEVER = "InvariantBroken"  # a promise of money: broken once is broken


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down a failure; a skip in CI, a broken promise of money and a crash are final."""
    if not _path:
        return
    is_skip = report.skipped and not hasattr(report, "wasxfail") and bool(os.environ.get("QD_CI"))
    if not report.failed and not is_skip:
        return
    words = report.longreprtext
    row = {
        "id": report.nodeid,
        "when": str(report.when),
        "error": words[-1500:],
        "is_final": is_skip or report.when not in PHASES or NEVER in words,
    }
    with Path(_path).open("a") as file:
        file.write(json.dumps(row) + "\n")
