"""Reads of risk: the kill switch, limits in force, refusals, halts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from apps.risk.killswitch.overview import kill_states, kill_states_async
from apps.risk.killswitch.reader import KillReader, Verdict
from apps.risk.killswitch.records import scope_account, scope_deployment, scope_words
from apps.risk.models import Halt, Limit, Refusal
from trader.core.risk import Limits

__all__ = [
    "KillReader",
    "LimitRow",
    "LimitsSnapshot",
    "Verdict",
    "halts_of_async",
    "halts_open",
    "kill_states",
    "kill_states_async",
    "limits_effective",
    "limits_snapshot",
    "limits_snapshot_async",
    "refusals_recent",
    "scope_account",
    "scope_deployment",
    "scope_words",
]
NAMES = {field.name for field in fields(Limits)}
SNAPSHOT = """
SELECT id, check_name, account_id, deployment_key, instrument_id, value::float8, updated_at FROM risk_limit
WHERE account_id = %(account)s OR account_id IS NULL
"""
HALTS = """
SELECT id::text, deployment_key, cause, detail FROM risk_halt WHERE account_id = %(account)s AND ended_at IS NULL
"""


@dataclass(frozen=True)
class LimitRow:
    """One limit as the desk needs it; None and an empty key mean "any"."""

    id: int
    check_name: str
    account_id: int | None
    deployment_key: str
    instrument_id: int | None
    value: float
    updated_at: datetime

    def binds(self, deployment_key: str, instrument_id: int) -> bool:
        """Say whether this limit is one of that owner's book (a key) or of the whole account's (no key)."""
        return self.deployment_key == deployment_key and self.instrument_id in (None, instrument_id)


@dataclass(frozen=True)
class LimitsSnapshot:
    """All limits that can bind one account, read at once: the decision path asks memory, not the database."""

    account_id: int
    rows: tuple[LimitRow, ...]

    def owner(self, owner: str, instrument_id: int) -> Limits:
        """Return the tightest limits of one owner's own book: those that name it."""
        return _tightest(row for row in self.rows if owner and row.binds(owner, instrument_id))

    def net(self, instrument_id: int) -> Limits:
        """Return the tightest limits of the account's net book: those that name no deployment."""
        return _tightest(row for row in self.rows if row.binds("", instrument_id))


@dataclass(frozen=True)
class LimitsEffective:
    """What binds one order's owner and instrument: its own book's limits, and the account's."""

    owner: Limits
    net: Limits


def limits_snapshot(account_id: int) -> LimitsSnapshot:
    """Return all limits that can bind an account, in one query."""
    rows = Limit.objects.filter(Q(account=account_id) | Q(account=None)).values_list(
        "id", "check_name", "account_id", "deployment_key", "instrument_id", "value", "updated_at"
    )
    return _snapshot(account_id, rows)


async def limits_snapshot_async(connection: Any, account_id: int) -> LimitsSnapshot:
    """Return all limits that can bind an account, on a psycopg connection."""
    cursor = await connection.execute(SNAPSHOT, {"account": account_id})
    return _snapshot(account_id, await cursor.fetchall())


def limits_effective(account_id: int, deployment_key: str, instrument_id: int) -> LimitsEffective:
    """Return the tightest limits for one owner and instrument of an account."""
    snapshot = limits_snapshot(account_id)
    return LimitsEffective(snapshot.owner(deployment_key, instrument_id), snapshot.net(instrument_id))


def refusals_recent(account_ids: Sequence[int], limit: int = 100) -> list[Refusal]:
    """Return the newest refusals of these accounts with their instruments."""
    return list(Refusal.objects.filter(account__in=list(account_ids)).select_related("instrument")[:limit])


def halts_open(account_ids: Sequence[int] | None = None) -> QuerySet[Halt]:
    """Return the halts that stand, of these accounts or of all."""
    found = Halt.objects.filter(ended_at=None).select_related("account")
    return found if account_ids is None else found.filter(account__in=list(account_ids))


async def halts_of_async(connection: Any, account_id: int) -> list[tuple[str, str, str, str]]:
    """Return (id, deployment key, cause, detail) of the halts that stand, on a psycopg connection."""
    cursor = await connection.execute(HALTS, {"account": account_id})
    return list(await cursor.fetchall())


def _snapshot(account_id: int, rows: Iterable[Sequence[Any]]) -> LimitsSnapshot:
    made = (LimitRow(*row[:5], float(row[5]), row[6]) for row in rows)
    return LimitsSnapshot(account_id, tuple(sorted(made, key=lambda row: row.id)))


def _tightest(rows: Iterable[LimitRow]) -> Limits:
    return Limits().tightest(*(Limits(**{row.check_name: row.value}) for row in rows if row.check_name in NAMES))
