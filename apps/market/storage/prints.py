"""Prints in PostgreSQL: by COPY into partitions of a day each, and none twice.

A print is named by its venue's trade id. The usual batch is new and goes straight into its partition, where the
primary key guards it. A batch that holds a print twice (a feed that took over, a venue that repeats itself) goes
through a staging table, and only what is missing is added.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection as django_connection
from psycopg import AsyncConnection, errors

from apps.market.storage.tables import DAY_S, NANOSECONDS, PRINTS, Partition, prints_partition_of
from apps.market.storage.writer import Fence, fence_lost, partitions_make_async, partitions_unknown

TABLE = PRINTS
STAGING = "market_print_staging"
DAY_NS = DAY_S * NANOSECONDS
_NAMES = "epoch_id, instrument_id, market_ns, trade_id, price, size, side"
# Nobody decides by a stored print, so its commit waits for no disk: a server that crashes loses the last of them.
_BEGIN = """
SELECT set_config('synchronous_commit', 'off', true),
    (SELECT fence FROM common_lease WHERE kind = %s AND key = %s)"""
_COPY = "COPY {table} (" + _NAMES + ") FROM STDIN"
_CREATE_STAGING = f"CREATE TEMP TABLE IF NOT EXISTS {STAGING} (LIKE {TABLE}) ON COMMIT DELETE ROWS"
_MERGE = f"INSERT INTO {TABLE} ({_NAMES}) SELECT {_NAMES} FROM {STAGING} ON CONFLICT DO NOTHING"
_READ = f"""
SELECT market_ns, trade_id, price, size, side FROM {TABLE}
WHERE epoch_id = %s AND instrument_id = %s AND market_ns >= %s AND market_ns < %s
ORDER BY market_ns DESC, trade_id DESC LIMIT %s"""
FIRST_NS, LAST_NS = 0, 2**63 - 1


class StoredPrint(NamedTuple):
    """A print to be stored. Its price is in quote, its size in base; `side` is the taker's: 1 bought, -1 sold."""

    instrument_id: int
    market_ns: int
    trade_id: str
    price: Decimal
    size: Decimal
    side: int


async def prints_write_async(
    connection: AsyncConnection, *, epoch_id: int, prints: list[StoredPrint], fence: Fence = None
) -> int:
    """Store prints that storage does not hold yet; returns how many those were.

    `fence` is (kind, key, number) of the writer's lease: if it has passed on, `LeaseLost` is raised and nothing is
    written. The commit does not wait for the disk.
    """
    if not prints:
        return 0
    partitions = _partitions(prints)
    await partitions_make_async(connection, partitions_unknown(partitions))
    body = _body(epoch_id, prints)
    for _ in range(2):
        try:
            return await _copy(connection, body, fence, merge=False)
        except errors.UniqueViolation:
            break  # some are there: the staging table tells which
        except errors.CheckViolation:
            await partitions_make_async(connection, partitions)  # one of ours went missing: a restored database
    return await _copy(connection, body, fence, merge=True)


async def _copy(connection: AsyncConnection, body: bytes, fence: Fence, *, merge: bool) -> int:
    async with connection.transaction(), connection.cursor() as cursor:
        await _begin(cursor, fence)
        if merge:
            await cursor.execute(_CREATE_STAGING)
        async with cursor.copy(_COPY.format(table=STAGING if merge else TABLE)) as copy:
            await copy.write(body)
        if merge:
            await cursor.execute(_MERGE)
        return cursor.rowcount


async def _begin(cursor: Any, fence: Fence) -> None:
    kind, key, number = fence or ("", "", None)
    await cursor.execute(_BEGIN, (kind, key))
    held = (await cursor.fetchone())[1]
    if fence is not None and held != number:
        raise fence_lost(fence, held)


def prints_read(
    epoch_id: int, instrument_id: int, start_ns: int | None = None, end_ns: int | None = None, limit: int = 200
) -> list[StoredPrint]:
    """Return the newest `limit` prints of market time in `[start_ns, end_ns)`, newest first."""
    start, end = FIRST_NS if start_ns is None else start_ns, LAST_NS if end_ns is None else end_ns
    with django_connection.cursor() as cursor:
        cursor.execute(_READ, (epoch_id, instrument_id, start, end, limit))
        return [StoredPrint(instrument_id, *row) for row in cursor.fetchall()]


def _partitions(prints: Iterable[StoredPrint]) -> list[Partition]:
    days = sorted({row.market_ns // DAY_NS for row in prints})
    return [prints_partition_of(day * DAY_NS) for day in days]


def _body(epoch_id: int, prints: list[StoredPrint]) -> bytes:
    """Return the batch in COPY's text form: a decimal stays what the venue wrote, which a float would not."""
    lines = [
        f"{epoch_id}\t{row.instrument_id}\t{row.market_ns}\t{_escaped(row.trade_id)}\t{row.price}\t{row.size}\t{row.side}\n"
        for row in prints
    ]
    return "".join(lines).encode()


def _escaped(text: str) -> str:
    """Return a text as COPY wants it; ids are plain, but they come from outside."""
    if text.isalnum():
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "")
