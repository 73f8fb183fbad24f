"""What keeps an installation well by itself: the nightly backup, and letting go of what is past its time."""

import os
import subprocess
import sys

import structlog

from apps.monitoring.retention import retention_enforce
from trader.config import config
from trader.config.schema import ROOT

BACKUP_S = 4 * 3600.0
NICE = "10"

log = structlog.get_logger(__name__)


class BackupFailed(RuntimeError):
    """The nightly backup was not made; the message says why."""


def backup_nightly() -> str:
    """Make a backup in a process of its own, with little claim on the processor; return what it said.

    In this process the checksums of gigabytes would hold up the residents beside.
    """
    if not config.backup.nightly:
        return "switched off (backup.nightly)"
    command = ["nice", "-n", NICE, sys.executable, str(ROOT / "manage.py"), "backup"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"QD_PROCESS": "backup"}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=BACKUP_S,
    )  # fmt: skip
    if done.returncode != 0:
        log.error("the nightly backup failed", said=done.stderr.strip()[-500:])
        raise BackupFailed(done.stderr.strip()[-500:])
    log.info("backup made", said=done.stdout.strip().splitlines()[0])
    return done.stdout.strip()


def retention_nightly() -> dict[str, int]:
    """Delete every row past its keeping time; return how many of which model."""
    removed = retention_enforce()
    log.info("retention enforced", **removed)
    return removed
