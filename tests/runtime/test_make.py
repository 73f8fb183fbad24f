"""`make setup` says honestly whether it installed: no stamp and a failure where the installer failed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def make_setup(root: Path, venv: Path) -> subprocess.CompletedProcess[str]:
    """Run the Makefile's own recipe on a folder whose installers are ours."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", "-C", str(root), f"VENV={venv}", "setup"]
    return subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=60)


def stamps(venv: Path) -> list[Path]:
    return list(venv.glob(".run-*"))


@pytest.mark.parametrize("installer", ["python", "uv"])
def test_a_failed_installation_fails_and_leaves_no_stamp(root, tmp_path, installer):
    program(tmp_path / "bin" / "python", "exit 0")
    program(tmp_path / "bin" / installer, "echo 'no such version' >&2; exit 3")
    result = make_setup(root, tmp_path)
    assert result.returncode != 0
    assert stamps(tmp_path) == []
    assert "no such version" in result.stderr
    assert "requirements.txt could not be installed. Fix:" in result.stdout


def test_pip_is_asked_for_the_requirements_and_bytecode_that_cannot_be_made_is_no_failure(root, tmp_path):
    program(
        tmp_path / "bin" / "python",
        f'echo "$@" >> {tmp_path}/asked; [ "$2" = pip ] && sleep 1.2; [ "$2" != compileall ]',
    )
    result = make_setup(root, tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(stamps(tmp_path)) == 1
    pip, compiled = (tmp_path / "asked").read_text().splitlines()
    assert pip.startswith("-m pip install")
    assert pip.endswith("-r requirements.txt")
    assert compiled.startswith("-m compileall")
    assert "once) .." in result.stdout  # a dot each half second while it works
    assert result.stderr == ""
    assert "installing" not in make_setup(root, tmp_path).stdout  # there is nothing to do again
