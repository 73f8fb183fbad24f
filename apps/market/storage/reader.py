"""Reads of hot bars: newest revision of each, ascending, as numpy rows."""

import numpy as np
from django.db import connection as django_connection
from psycopg import AsyncConnection, Cursor

from apps.market.storage import rows, statements
from apps.market.storage.rows import Bars
from apps.market.storage.tables import PARENTS, PRINTS
from apps.market.storage.writer import SOURCE_VENUE

FIRST_NS, LAST_NS = 0, 2**63 - 1
MARGIN = 8  # rows beyond the limit, for revisions


def _span(epoch_id: int, timeframe_s: int, start_ns: int | None, end_ns: int | None) -> dict[str, object]:
    return {
        "epoch_id": epoch_id,
        "timeframe_s": timeframe_s,
        "source": SOURCE_VENUE,
        "start_ns": FIRST_NS if start_ns is None else start_ns,
        "end_ns": LAST_NS if end_ns is None else end_ns,
    }


def bars_read(
    epoch_id: int,
    instrument_id: int,
    timeframe_s: int,
    start_ns: int | None = None,
    end_ns: int | None = None,
    limit: int = 1000,
) -> Bars:
    """Return bars of open time in `[start_ns, end_ns)`: the first `limit` from the start, or the newest without one."""
    newest_first = start_ns is None
    statement = statements.read(timeframe_s, newest_first=newest_first)
    parameters = {**_span(epoch_id, timeframe_s, start_ns, end_ns), "instrument_id": instrument_id}
    django_connection.ensure_connection()
    asked = limit + MARGIN
    while True:
        # the driver's own cursor: Django's binds on the client and knows no binary answers
        with Cursor(django_connection.connection) as cursor:
            cursor.execute(statement, {**parameters, "limit": asked}, binary=True)
            found = _newest_revisions(cursor.fetchall(), asked, limit, newest_first)
        if found is not None:
            return found
        asked *= 2


def bars_read_many(epoch_id: int, instrument_ids: list[int], timeframe_s: int, start_ns: int, end_ns: int) -> Bars:
    """Return the bars of several instruments over one span, by instrument and time."""
    span = _span(epoch_id, timeframe_s, start_ns, end_ns)
    return _copy_out(statements.read_many(timeframe_s), {**span, "instrument_ids": list(instrument_ids)})


def epochs_hold_bars(epoch_ids: list[int]) -> bool:
    """Say whether any bar or print of any of these epochs is stored."""
    kept = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE epoch_id = ANY(%(ids)s))" for table in (*PARENTS, PRINTS))
    with django_connection.cursor() as cursor:
        cursor.execute(f"SELECT {kept}", {"ids": epoch_ids})
        return bool(cursor.fetchone()[0])


def bars_newest_open(epoch_id: int, instrument_ids: list[int], timeframe_s: int) -> dict[int, int]:
    """Return {instrument: newest stored open time}; an instrument without bars is left out."""
    parameters = {**_span(epoch_id, timeframe_s, None, None), "instrument_ids": list(instrument_ids)}
    with django_connection.cursor() as cursor:
        cursor.execute(statements.newest_open(timeframe_s), parameters)
        return {instrument: opened for instrument, opened in cursor.fetchall() if opened is not None}


async def bars_read_async(
    pool,
    epoch_id: int,
    instrument_id: int,
    timeframe_s: int,
    start_ns: int | None = None,
    end_ns: int | None = None,
    limit: int = 1000,
) -> Bars:
    """The twin of `bars_read` for residents, on their own connection pool."""
    newest_first = start_ns is None
    statement = statements.read(timeframe_s, newest_first=newest_first)
    parameters = {**_span(epoch_id, timeframe_s, start_ns, end_ns), "instrument_id": instrument_id}
    asked = limit + MARGIN
    while True:
        async with pool.connection() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(statement, {**parameters, "limit": asked})
            found = _newest_revisions(await cursor.fetchall(), asked, limit, newest_first)
        if found is not None:
            return found
        asked *= 2


async def bars_read_many_async(
    pool, epoch_id: int, instrument_ids: list[int], timeframe_s: int, start_ns: int, end_ns: int
) -> Bars:
    """The twin of `bars_read_many` for residents."""
    span = {**_span(epoch_id, timeframe_s, start_ns, end_ns), "instrument_ids": list(instrument_ids)}
    async with pool.connection() as connection:
        return await _copy_out_async(connection, statements.read_many(timeframe_s), span)


async def bars_newest_open_async(pool, epoch_id: int, instrument_ids: list[int], timeframe_s: int) -> dict[int, int]:
    """The twin of `bars_newest_open` for residents."""
    parameters = {**_span(epoch_id, timeframe_s, None, None), "instrument_ids": list(instrument_ids)}
    async with pool.connection() as connection:
        cursor = await connection.execute(statements.newest_open(timeframe_s), parameters)
        return {instrument: opened for instrument, opened in await cursor.fetchall() if opened is not None}


def _newest_revisions(answer: list[tuple], asked: int, limit: int, newest_first: bool) -> Bars | None:
    """Return the newest revision of each bar, ascending, at most `limit`; None if more rows are needed to know.

    Revisions are rare, so all are read in the key's order and told apart here: sorting them away in the
    database costs more than they do.
    """
    raw = np.array(answer, dtype=rows.BAR_DTYPE)
    if newest_first:
        raw = raw[::-1]
    last_of_group = np.ones(len(raw), dtype=bool)
    last_of_group[:-1] = raw["open_ns"][1:] != raw["open_ns"][:-1]
    bars = raw[last_of_group]
    is_cut = len(answer) == asked
    if is_cut and not newest_first:
        bars = bars[:-1]  # a later revision of this one may lie behind the cut
    if is_cut and len(bars) < limit:
        return None
    return (bars[-limit:] if newest_first else bars[:limit]).copy()


def _copy_out(statement: str, parameters: dict[str, object]) -> Bars:
    # the driver's own cursor: Django's debugging wrapper takes a COPY without parameters only
    with django_connection.cursor() as cursor, cursor.cursor.copy(statement, parameters) as copy:
        return rows.unpack(b"".join(bytes(block) for block in copy))


async def _copy_out_async(connection: AsyncConnection, statement: str, parameters: dict[str, object]) -> Bars:
    async with connection.cursor() as cursor, cursor.copy(statement, parameters) as copy:
        blocks = [bytes(block) async for block in copy]
    return rows.unpack(b"".join(blocks))
