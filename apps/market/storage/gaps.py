"""Which bars storage lacks."""

from typing import Any

from django.db import connection as django_connection

from apps.market.storage.tables import NANOSECONDS, parent_of
from apps.market.storage.writer import SOURCE_VENUE

Gap = tuple[int, int, int]  # instrument, first missing open time, end of the missing span
ROWS_MOST = 200_000  # looked through by one statement: a fifth of a second


def _statement(timeframe_s: int) -> str:
    """The stored open times, fenced by the asked span's ends; a step longer than one bar is a gap."""
    return f"""
WITH points AS (
    SELECT instrument_id, open_ns FROM {parent_of(timeframe_s)}
    WHERE epoch_id = %(epoch_id)s AND instrument_id = ANY(%(instrument_ids)s::bigint[])
      AND timeframe_s = %(timeframe_s)s AND source = %(source)s AND revision = 0
      AND open_ns >= %(start_ns)s AND open_ns < %(end_ns)s
    UNION ALL SELECT i, %(start_ns)s - %(step_ns)s FROM unnest(%(instrument_ids)s::bigint[]) AS i
    UNION ALL SELECT i, %(end_ns)s FROM unnest(%(instrument_ids)s::bigint[]) AS i
), steps AS (
    SELECT instrument_id, open_ns, lead(open_ns) OVER (PARTITION BY instrument_id ORDER BY open_ns) AS next_ns
    FROM points
)
SELECT instrument_id, open_ns + %(step_ns)s, next_ns FROM steps WHERE next_ns - open_ns > %(step_ns)s
ORDER BY instrument_id, open_ns"""


def _parameters(epoch_id: int, instrument_ids: list[int], timeframe_s: int, start_ns: int, end_ns: int) -> dict:
    return {
        "epoch_id": epoch_id,
        "instrument_ids": instrument_ids,
        "timeframe_s": timeframe_s,
        "source": SOURCE_VENUE,
        "start_ns": start_ns,
        "end_ns": end_ns,
        "step_ns": timeframe_s * NANOSECONDS,
    }


async def gaps_async(
    pool: Any, epoch_id: int, instrument_ids: list[int], timeframe_s: int, start_ns: int, end_ns: int
) -> list[Gap]:
    """Return the spans that storage lacks in `[start_ns, end_ns)`, by instrument and time."""
    found: list[Gap] = []
    for some in _pieces(instrument_ids, timeframe_s, start_ns, end_ns):
        async with pool.connection() as connection:
            parameters = _parameters(epoch_id, some, timeframe_s, start_ns, end_ns)
            cursor = await connection.execute(_statement(timeframe_s), parameters)
            found += [tuple(row) for row in await cursor.fetchall()]
    return found


def gaps(epoch_id: int, instrument_ids: list[int], timeframe_s: int, start_ns: int, end_ns: int) -> list[Gap]:
    """The twin of `gaps_async` for services."""
    found: list[Gap] = []
    with django_connection.cursor() as cursor:
        for some in _pieces(instrument_ids, timeframe_s, start_ns, end_ns):
            cursor.execute(_statement(timeframe_s), _parameters(epoch_id, some, timeframe_s, start_ns, end_ns))
            found += [tuple(row) for row in cursor.fetchall()]
    return found


def _pieces(instrument_ids: list[int], timeframe_s: int, start_ns: int, end_ns: int) -> list[list[int]]:
    """Split instruments so that no statement runs into its time limit, however long the span and many they are."""
    bars = (end_ns - start_ns) // (timeframe_s * NANOSECONDS)
    if bars <= 0:
        return []
    size, ordered = max(1, ROWS_MOST // bars), sorted(instrument_ids)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
