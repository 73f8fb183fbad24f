"""Refusals: a row and a log message for each time a check said no. Written by the desk in its own transaction."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any

import orjson

from apps.risk.events import RefusalMade
from trader.core.risk import CheckResult
from trader.core.types import TraderError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DETAIL_MAX, NAME_MAX = 200, 40

ADD = """
INSERT INTO risk_refusal (id, account_id, instrument_id, owner, decision_id, check_name, number, "limit", detail,
                          checks, market_at, created_at)
SELECT given.*, now()
FROM unnest(%(c0)s::uuid[], %(c1)s::bigint[], %(c2)s::bigint[], %(c3)s::text[], %(c4)s::uuid[], %(c5)s::text[],
            %(c6)s::numeric[], %(c7)s::numeric[], %(c8)s::text[], %(c9)s::jsonb[], %(c10)s::timestamptz[]) AS given
ON CONFLICT (id) DO NOTHING
"""


@dataclass(frozen=True)
class RefusalRow:
    """One refusal. `checks` are all checks in order, each {name, scope, number, limit, verdict, detail}."""

    account_id: int
    instrument_id: int
    owner: str
    check_name: str
    detail: str
    market_ns: int
    number: Decimal | None = None
    limit: Decimal | None = None
    decision_id: uuid.UUID | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    id: uuid.UUID = field(default_factory=uuid.uuid4)


def refusal_of_checks(
    results: Sequence[CheckResult], *, account_id: int, instrument_id: int, owner: str, market_ns: int,
    decision_id: uuid.UUID | None = None,
) -> RefusalRow:  # fmt: skip
    """Return the refusal of a row of checks by the core. Raises `TraderError` when none of them refused."""
    said_no = next((result for result in results if result.verdict == "refused"), None)
    if said_no is None:
        raise TraderError("no check refused: there is nothing to record")
    return RefusalRow(
        account_id=account_id,
        instrument_id=instrument_id,
        owner=owner,
        check_name=str(said_no.name),
        number=_decimal(said_no.number),
        limit=_decimal(said_no.limit),
        detail=f"{_words(said_no)}: {said_no.detail}",
        checks=[_shown(result) for result in results],
        market_ns=market_ns,
        decision_id=decision_id,
    )


async def refusals_add(connection: Any, rows: Sequence[RefusalRow]) -> None:
    """Write refusals in one statement, inside the caller's transaction; one written before is left as it is."""
    if rows:
        columns = list(zip(*map(_columns, rows), strict=True))
        await connection.execute(ADD, {f"c{index}": list(column) for index, column in enumerate(columns)})


def refusal_events(rows: Sequence[RefusalRow]) -> list[tuple[str, RefusalMade]]:
    """Return the log messages of these refusals, for the outbox of the same transaction."""
    return [("refusals", _event(row)) for row in rows]


def _columns(row: RefusalRow) -> tuple[Any, ...]:
    return (
        row.id, row.account_id, row.instrument_id, row.owner, row.decision_id, row.check_name[:NAME_MAX], row.number,
        row.limit, row.detail[:DETAIL_MAX], orjson.dumps(row.checks).decode(),
        EPOCH + timedelta(microseconds=row.market_ns // 1000),
    )  # fmt: skip


def _event(row: RefusalRow) -> RefusalMade:
    return RefusalMade(
        id=str(row.id), account_id=row.account_id, instrument_id=row.instrument_id, owner=row.owner,
        decision_id=None if row.decision_id is None else str(row.decision_id), check_name=row.check_name,
        number=_text(row.number), limit=_text(row.limit), detail=row.detail[:DETAIL_MAX], checks=row.checks,
        market_ns=row.market_ns,
    )  # fmt: skip


def _words(result: CheckResult) -> str:
    name = str(result.name).replace("_", " ")
    return f"{name} of the account" if result.scope == "net" else name


def _shown(result: CheckResult) -> dict[str, Any]:
    return {
        "name": str(result.name),
        "scope": result.scope,
        "number": _finite(result.number),
        "limit": _finite(result.limit),
        "verdict": result.verdict,
        "detail": result.detail,
    }


def _finite(number: float | None) -> float | None:
    return None if number is None or not isfinite(number) else number  # JSON knows no NaN; the detail says it


def _decimal(number: float | None) -> Decimal | None:
    # twelve digits: more of a float is noise, and a column of 38 digits must take it
    return None if number is None or not isfinite(number) else Decimal(f"{number:.12g}")


def _text(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"
