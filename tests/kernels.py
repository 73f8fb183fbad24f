"""Compiled kernels, shared by all processes of a run of tests and by what they start."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def state_with_kernels(state: Path) -> Path:
    """Make a state folder in which kernels are found that any process of this run has compiled; return it."""
    if not os.environ.get("QD_TEST_KERNELS"):
        os.environ["QD_TEST_KERNELS"] = tempfile.mkdtemp(prefix="qdk-")
        atexit.register(shutil.rmtree, os.environ["QD_TEST_KERNELS"], ignore_errors=True)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (state / "kernels").is_symlink():
        (state / "kernels").symlink_to(os.environ["QD_TEST_KERNELS"])
    return state
