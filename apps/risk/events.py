"""What risk tells: limits that changed, refusals, halts, the kill switch; and an account's health as state."""

from typing import Any

from apps.common.messages import Message
from apps.common.topics import register_log, register_state


class LimitChanged(Message):
    """A limit was set or removed (`value` None). Empty scope fields mean "any"."""

    id: int
    check_name: str
    account_id: int | None
    deployment_key: str
    instrument_id: int | None
    value: str | None
    before: str | None
    by: str
    at_ns: int


class RefusalMade(Message):
    """A check said no: which, the number and the limit (Decimal strings), and all checks in order."""

    id: str
    account_id: int
    instrument_id: int
    owner: str
    decision_id: str | None
    check_name: str
    number: str | None
    limit: str | None
    detail: str
    checks: list[dict[str, Any]]
    market_ns: int


class HaltChanged(Message):
    """A breaker stopped an account or deployment, or a person ended that (`ended_ns`)."""

    id: str
    account_id: int
    deployment_key: str
    cause: str
    detail: str
    market_ns: int
    ended_ns: int | None = None
    ended_by: str = ""


class KillChanged(Message):
    """What a person did with the kill switch, or what a failed release left."""

    scope: str
    state: str
    generation: int
    by: str
    reason: str
    flatten: bool
    at_ns: int
    action: str = "engaged"


class RiskHealth(Message):
    """Whether an account may add risk now, and the figures that its limits look at (value and limit by check)."""

    account_id: int
    kill: str
    kill_why: str
    kill_age_ms: float
    halts: list[str]
    figures: dict[str, tuple[float, float | None]]
    market_ns: int
    wall_ns: int


register_log("limits", LimitChanged)
register_log("refusals", RefusalMade)
register_log("halts", HaltChanged)
register_log("kill", KillChanged)
register_state("health.risk", RiskHealth)
