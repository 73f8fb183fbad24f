"""Writes of risk: the kill switch, limits, refusals, halts."""

from apps.risk.killswitch.acts import (
    kill_engage,
    kill_engage_sync,
    kill_journal_book,
    kill_release,
    kill_release_sync,
)
from apps.risk.killswitch.switch import KillError, KillReleaseRefused, KillResult

__all__ = [
    "KillError",
    "KillReleaseRefused",
    "KillResult",
    "kill_engage",
    "kill_engage_sync",
    "kill_journal_book",
    "kill_release",
    "kill_release_sync",
]
