"""What this machine cannot run is listed loudly; in CI, where nothing may be missing, it fails the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = """
import pytest


def test_that_runs():
    assert True


@pytest.mark.skip(reason="no such thing here")
def test_that_is_skipped():
    raise AssertionError
"""


def pytest_run(folder: Path, root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a file that skips, under the hooks of our conftest and nothing else that takes time to start."""
    (folder / "test_one.py").write_text(FILE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "no_settings.py").write_text("")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "QD_CI"))}
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "DJANGO_SETTINGS_MODULE": "no_settings"} | environment
    env["PYTHONPATH"] = os.pathsep.join([str(root), str(folder)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "xdist.plugin", *arguments]
    return subprocess.run(
        [*command, "test_one.py"], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("environment", "arguments", "status"),
    [({}, (), 0), ({"QD_CI": "1"}, (), 1), ({"QD_CI": "1"}, ("-n", "2"), 1)],
    ids=["at home", "in CI", "in CI, in parallel"],
)
def test_a_skip_is_listed_and_fails_in_ci(tmp_path, root, environment, arguments, status):
    result = pytest_run(tmp_path, root, *arguments, **environment)
    assert "1 passed, 1 skipped" in result.stdout, result.stdout + result.stderr
    assert "SKIPPED: 1 tests did not run" in result.stdout
    assert "test_one.py::test_that_is_skipped: Skipped: no such thing here" in result.stdout
    assert result.returncode == status
