"""What a desk books: positions, cash, movements, equity; on its own connection, inside its own transaction.

The desk's memory (the core's ledger) is ahead of the tables, so rows carry what holds *after* the booking, not what
to add: writing one twice changes nothing, and a fill is booked once by its id, in the same transaction. Every call
is one statement, whatever the number of rows. Nothing here commits.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction

from apps.portfolio.models import Account, Position
from trader.core.types import AccountingError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = Sequence[Any]

POSITIONS = """
INSERT INTO portfolio_position (account_id, instrument_id, owner, quantity, average_price, realised, fees, funding,
                                opened_at, updated_at)
SELECT %(account)s, given.*, now()
FROM unnest(%(c0)s::bigint[], %(c1)s::text[], %(c2)s::numeric[], %(c3)s::numeric[], %(c4)s::numeric[],
            %(c5)s::numeric[], %(c6)s::numeric[], %(c7)s::timestamptz[]) AS given
ON CONFLICT (account_id, instrument_id, owner) DO UPDATE SET
  quantity = excluded.quantity, average_price = excluded.average_price, realised = excluded.realised,
  fees = excluded.fees, funding = excluded.funding, opened_at = excluded.opened_at, updated_at = excluded.updated_at
"""
CASH = """
INSERT INTO portfolio_cashbalance (account_id, currency, amount, fees, updated_at)
SELECT %(account)s, given.*, now() FROM unnest(%(c0)s::text[], %(c1)s::numeric[], %(c2)s::numeric[]) AS given
ON CONFLICT (account_id, currency) DO UPDATE SET
  amount = excluded.amount, fees = excluded.fees, updated_at = excluded.updated_at
"""
MOVEMENTS = """
INSERT INTO portfolio_cashmovement (account_id, kind, venue_id, instrument_id, owner, currency, amount, quantity, cause,
                                    market_at, created_at)
SELECT %(account)s, given.*, now()
FROM unnest(%(c0)s::text[], %(c1)s::text[], %(c2)s::bigint[], %(c3)s::text[], %(c4)s::text[], %(c5)s::numeric[],
            %(c6)s::numeric[], %(c7)s::text[], %(c8)s::timestamptz[]) AS given
ON CONFLICT (account_id, kind, venue_id) DO NOTHING
"""
EQUITY = """
INSERT INTO portfolio_equitysnapshot (account_id, market_at, wall_at, equity, cash, realised, unrealised, fees, funding,
                                      gross, net, margin)
SELECT %(account)s, given.*
FROM unnest(%(c0)s::timestamptz[], %(c1)s::timestamptz[], %(c2)s::numeric[], %(c3)s::numeric[], %(c4)s::numeric[],
            %(c5)s::numeric[], %(c6)s::numeric[], %(c7)s::numeric[], %(c8)s::numeric[], %(c9)s::numeric[],
            %(c10)s::numeric[]) AS given
ON CONFLICT (account_id, market_at) DO UPDATE SET
  wall_at = excluded.wall_at, equity = excluded.equity, cash = excluded.cash, realised = excluded.realised,
  unrealised = excluded.unrealised, fees = excluded.fees, funding = excluded.funding, gross = excluded.gross,
  net = excluded.net, margin = excluded.margin
"""


async def positions_put(connection: Any, account_id: int, rows: Iterable[Row]) -> None:
    """Write sub-ledgers as they are after the booking.

    A row is (instrument_id, owner, quantity, average_price, realised, fees, funding, opened_ns or None).
    """
    newest = {(row[0], row[1]): (*map(_exact, row[:7]), _moment(row[7])) for row in rows}
    await _put(connection, POSITIONS, account_id, newest.values(), 8)


async def cash_put(connection: Any, account_id: int, rows: Iterable[Row]) -> None:
    """Write balances as they are after the booking. A row is (currency, amount, fees paid in it so far)."""
    newest = {row[0]: tuple(map(_exact, row)) for row in rows}
    await _put(connection, CASH, account_id, newest.values(), 3)


async def movements_add(connection: Any, account_id: int, rows: Iterable[Row]) -> int:
    """Add what moved for another reason than a fill; one known already is left as it is. Returns how many were new.

    A row is (kind, venue_id, instrument_id or None, owner, currency, amount, quantity, cause, market_ns).
    """
    given = [(*map(_exact, row[:8]), _moment(row[8])) for row in rows]
    return await _put(connection, MOVEMENTS, account_id, given, 9)


async def equity_put(connection: Any, account_id: int, rows: Iterable[Row]) -> None:
    """Write equity snapshots; a second one of the same market moment replaces the first.

    A row is (market_ns, wall_ns, equity, cash, realised, unrealised, fees, funding, gross, net, margin or None).
    """
    newest = {row[0]: (_moment(row[0]), _moment(row[1]), *map(_exact, row[2:])) for row in rows}
    await _put(connection, EQUITY, account_id, newest.values(), 11)


def ledger_transfer(account: Account, old_owner: str, new_owner: str) -> int:
    """Move every sub-ledger of one owner to another, whole; returns how many. Call it inside a transaction.

    The new owner must hold nothing yet: two histories are never merged. Raises `AccountingError`.
    """
    rows = Position.objects.select_for_update().filter(account=account)
    if not transaction.get_connection().in_atomic_block:
        raise AccountingError("a sub-ledger is handed over inside a transaction: half a transfer would lose money")
    taken = list(rows.filter(owner=new_owner).values_list("instrument__symbol", flat=True))
    if taken:
        raise AccountingError(f"{new_owner} has sub-ledgers already ({', '.join(taken)}): choose a fresh owner")
    return rows.filter(owner=old_owner).update(owner=new_owner)


async def _put(connection: Any, sql: str, account_id: int, rows: Iterable[Row], width: int) -> int:
    columns = list(zip(*rows, strict=True))
    if not columns:
        return 0
    parameters = {f"c{index}": _alike(columns[index]) for index in range(width)}
    cursor = await connection.execute(sql, {"account": account_id, **parameters})
    return int(cursor.rowcount)


def _alike(column: Sequence[Any]) -> list[Any]:
    """Return a column of one type, as an array must be: whole numbers beside a Decimal become one."""
    if any(isinstance(value, Decimal) for value in column):
        return [Decimal(value) if isinstance(value, int) else value for value in column]
    return list(column)


def _exact(value: Any) -> Any:
    """Let no binary fraction into the books: amounts are Decimal or whole; other things pass."""
    if isinstance(value, float):
        raise AccountingError(f"{value!r} is a float: amounts are booked as Decimal")
    if isinstance(value, Decimal) and not value.is_finite():
        raise AccountingError(f"{value} cannot be booked: it is no number")
    return value


def _moment(ns: int | None) -> datetime | None:
    return None if ns is None else EPOCH + timedelta(microseconds=ns // 1000)
