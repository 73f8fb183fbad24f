"""Reads of risk: the kill switch, limits in force, refusals, halts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from apps.portfolio.models import Account
from apps.risk.killswitch.overview import kill_states
from apps.risk.killswitch.reader import KillReader, Verdict
from apps.risk.killswitch.records import scope_account, scope_deployment, scope_words
from apps.risk.models import Halt
from trader.core.risk import Limits

__all__ = [
    "HaltOpen",
    "KillReader",
    "LimitRow",
    "LimitsSnapshot",
    "Verdict",
    "deployment_lineage",
    "essentials_missing",
    "halts_of",
    "halts_open",
    "kill_states",
    "limits_snapshot",
    "scope_account",
    "scope_deployment",
    "scope_words",
    "why_unlimited",
]
NAMES = {field.name for field in fields(Limits)}
EVERY_INSTRUMENT = -1
# Real money never moves without these on the account's net; where several stand together, one of them will do.
ESSENTIAL = {
    "order size": ("order_notional",),
    "position": ("position_notional",),
    "gross exposure or leverage": ("gross_exposure", "leverage"),
    "loss of the day": ("daily_loss",),
}
# A deployment's successors are bound by what was set for it: a change of parameters loosens nothing.
LINE = """
WITH RECURSIVE line (ancestor, id, key) AS (
  SELECT key, id, key FROM strategies_deployment WHERE account_id = %(account)s
  UNION ALL
  SELECT line.ancestor, later.id, later.key FROM strategies_deployment later JOIN line ON later.predecessor_id = line.id
)"""
SNAPSHOT = f"""{LINE}
SELECT id, check_name, account_id, deployment_key, instrument_id, value::float8, updated_at,
       ARRAY(SELECT key::text FROM line WHERE ancestor = deployment_key)
FROM risk_limit WHERE account_id = %(account)s OR account_id IS NULL ORDER BY id
"""
LINEAGE = f"{LINE} SELECT key, array_agg(ancestor::text ORDER BY ancestor <> key) FROM line GROUP BY key"
HALTS = f"""{LINE}
SELECT id::text, deployment_key, cause, detail, ARRAY(SELECT key::text FROM line WHERE ancestor = deployment_key)
FROM risk_halt WHERE account_id = %(account)s AND ended_at IS NULL ORDER BY created_at
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
    successors: tuple[str, ...] = ()

    def binds(self, owner: str, instrument_id: int) -> bool:
        """Say whether this limit is one of that owner's book, or without an owner of the whole account's."""
        is_theirs = self.deployment_key == owner or (owner != "" and owner in self.successors)
        return is_theirs and self.instrument_id in (None, instrument_id)


@dataclass(frozen=True)
class HaltOpen:
    """A halt that stands. It stops the whole account, or `stops` its deployment and all successors of that."""

    id: str
    deployment_key: str
    cause: str
    detail: str
    successors: tuple[str, ...]

    def stops(self, owner: str) -> bool:
        """Say whether this halt stops an owner's new risk."""
        return not self.deployment_key or owner == self.deployment_key or owner in self.successors


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


def limits_snapshot(account_id: int) -> LimitsSnapshot:
    """Return all limits that can bind an account, in one query."""
    return _snapshot(account_id, _query(SNAPSHOT, account_id))


def essentials_missing(net: Limits) -> str:
    """Say in words, with the fix, which limits that real money needs an account's net is without; empty when none."""
    missing = [words for words, names in ESSENTIAL.items() if all(getattr(net, name) is None for name in names)]
    if not missing:
        return ""
    return f"Real money needs limits; missing: {', '.join(missing)}. Add each in Admin → Limits, without a deployment."


def why_unlimited(account: Account) -> str:
    """Say which limits an account still needs before it trades with real money; empty when it has them.

    A limit of one instrument is none of the account: it would leave the others without.
    """
    return essentials_missing(limits_snapshot(account.pk).net(EVERY_INSTRUMENT))


def halts_open(account_ids: Sequence[int] | None = None) -> QuerySet[Halt]:
    """Return the halts that stand, of these accounts or of all."""
    found = Halt.objects.filter(ended_at=None).select_related("account")
    return found if account_ids is None else found.filter(account__in=list(account_ids))


def halts_of(account_id: int) -> list[HaltOpen]:
    """Return the halts that stand at an account, with whom they stop."""
    return [_halt(row) for row in _query(HALTS, account_id)]


def deployment_lineage(account_id: int) -> dict[str, tuple[str, ...]]:
    """Return each deployment's key with its own and all its predecessors' keys, its own first.

    What was stopped for a predecessor (a kill switch's scope, a halt) stops its successors too.
    """
    return {key: tuple(ancestors) for key, ancestors in _query(LINEAGE, account_id)}


def _query(sql: str, account_id: int) -> list[Sequence[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"account": account_id})
        return list(cursor.fetchall())


def _halt(row: Sequence[Any]) -> HaltOpen:
    return HaltOpen(*row[:4], tuple(row[4]))


def _snapshot(account_id: int, rows: Iterable[Sequence[Any]]) -> LimitsSnapshot:
    return LimitsSnapshot(account_id, tuple(LimitRow(*row[:7], tuple(row[7])) for row in rows))


def _tightest(rows: Iterable[LimitRow]) -> Limits:
    return Limits().tightest(*(Limits(**{row.check_name: row.value}) for row in rows if row.check_name in NAMES))
