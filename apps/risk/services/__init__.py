"""Writes of risk: the kill switch, limits, refusals, halts."""

from apps.risk.killswitch.acts import (
    kill_engage,
    kill_engage_sync,
    kill_release,
    kill_release_sync,
)
from apps.risk.killswitch.switch import KillError, KillReleaseRefused, KillResult
from apps.risk.services.halts import HaltRow, halt_end, halt_events, halts_add
from apps.risk.services.limits import LimitRefused, limit_remove, limit_set
from apps.risk.services.refusals import RefusalRow, refusal_events, refusal_of_checks, refusals_add

__all__ = [
    "HaltRow",
    "KillError",
    "KillReleaseRefused",
    "KillResult",
    "LimitRefused",
    "RefusalRow",
    "halt_end",
    "halt_events",
    "halts_add",
    "kill_engage",
    "kill_engage_sync",
    "kill_release",
    "kill_release_sync",
    "limit_remove",
    "limit_set",
    "refusal_events",
    "refusal_of_checks",
    "refusals_add",
]
