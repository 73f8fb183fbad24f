"""The one way bars get into PostgreSQL, so that a bar is never doubled and never lost.

The usual bar is new: it goes straight into its partition, and the primary key guards it. Many go by binary COPY; the
few that close together live go as one statement with the fence in it, because a desk waits for them and a COPY takes
five round trips. What is there already (a restart, a take-over, a back-fill) goes through a staging table, and only
what differs is added, as the next revision. All paths end in the same rows, whoever writes at the same time.
"""

from collections.abc import Iterable

import numpy as np
from django.db import connection as django_connection
from django.db import transaction
from psycopg import AsyncConnection, errors

from apps.common.errors import LeaseLost
from apps.market.storage import rows, statements
from apps.market.storage.rows import Bars
from apps.market.storage.tables import NANOSECONDS, Partition, partition_of, partitions_sql

SOURCE_VENUE = 0
FEW = 256  # bars up to which one statement is quicker than a COPY
MERGE_ROUNDS = 3  # a second writer may add between our look and our insert; then we look again
Fence = tuple[str, str, int] | None
Batch = dict[str, int]
_known_partitions: set[str] = set()


def _wanted_partitions(timeframe_s: int, bars: Bars) -> list[Partition]:
    """Return the partitions these bars need, by distinct day (few, however many the bars)."""
    days = np.unique(bars["open_ns"] // (86_400 * NANOSECONDS))
    found = {partition_of(timeframe_s, int(day) * 86_400 * NANOSECONDS) for day in days}
    return sorted(found, key=lambda partition: partition.from_ns)


def partitions_unknown(partitions: Iterable[Partition]) -> list[Partition]:
    """Return those that this process has not seen or made yet."""
    return [partition for partition in partitions if partition.name not in _known_partitions]


async def bars_write_async(
    connection: AsyncConnection,
    *,
    epoch_id: int,
    timeframe_s: int,
    bars: Bars,
    source: int = SOURCE_VENUE,
    fence: Fence = None,
) -> Bars:
    """Store closed bars and return those that storage did not hold, with their revisions.

    Durable when it returns. `fence` is (kind, key, number) of the writer's lease: if the lease has passed on,
    `LeaseLost` is raised and nothing is written.
    """
    if len(bars) == 0:
        return bars
    bars = rows.newest_per_key(bars)
    partitions = _wanted_partitions(timeframe_s, bars)
    await partitions_make_async(connection, partitions_unknown(partitions))
    batch = {"epoch_id": epoch_id, "timeframe_s": timeframe_s, "source": source}
    for _ in range(2):
        try:
            if len(bars) <= FEW:
                return await _insert_async(connection, bars, batch, fence)
            return await _copy_async(connection, bars, batch, fence)
        except errors.UniqueViolation:
            break  # some are there: the staging table tells which
        except errors.CheckViolation:
            await partitions_make_async(connection, partitions)  # one of ours went missing: a restored database
    return await _merge_async(connection, bars, batch, fence)


async def _insert_async(connection: AsyncConnection, bars: Bars, batch: Batch, fence: Fence) -> Bars:
    """Add a few bars in one round trip; those that are there are compared, and added where they differ."""
    kind, key, number = fence or ("", "", None)
    arrays = {name: bars[name].tolist() for name in statements.ARRAY_COLUMNS}
    parameters = {**batch, **arrays, "lease_kind": kind, "lease_key": key, "fence": number}
    cursor = await connection.execute(statements.insert(batch["timeframe_s"]), parameters)
    answer = await cursor.fetchall()
    if fence is not None and answer[0][0] != number:
        raise fence_lost(fence, answer[0][0])
    added = {(instrument, opened) for _, instrument, opened in answer}
    keys = zip(arrays["instrument_id"], arrays["open_ns"], strict=True)
    is_new = np.fromiter((found in added for found in keys), dtype=bool, count=len(bars))
    if is_new.all():
        return bars
    return rows.newest_per_key(
        np.concatenate([bars[is_new], await _merge_async(connection, bars[~is_new], batch, fence)])
    )


async def _copy_async(connection: AsyncConnection, bars: Bars, batch: Batch, fence: Fence) -> Bars:
    async with connection.transaction(), connection.cursor() as cursor:
        await _check_fence_async(cursor, fence)
        async with cursor.copy(statements.copy_into(batch["timeframe_s"])) as copy:
            await copy.write(rows.pack(bars, **batch))
    return bars


async def _merge_async(connection: AsyncConnection, bars: Bars, batch: Batch, fence: Fence) -> Bars:
    stored: list[tuple] = []
    async with connection.transaction(), connection.cursor() as cursor:
        await _check_fence_async(cursor, fence)
        await cursor.execute(statements.CREATE_STAGING)
        async with cursor.copy(statements.COPY_TO_STAGING) as copy:
            await copy.write(rows.pack(bars, **batch))
        for _ in range(MERGE_ROUNDS):
            await cursor.execute(statements.merge(batch["timeframe_s"]))
            added = await cursor.fetchall()
            stored += added
            if not added:
                break
    return _as_bars(stored)


async def _check_fence_async(cursor, fence: Fence) -> None:
    if fence is None:
        return
    kind, key, number = fence
    await cursor.execute("SELECT fence FROM common_lease WHERE kind = %s AND key = %s", (kind, key))
    row = await cursor.fetchone()
    if row is None or row[0] != number:
        raise fence_lost(fence, row[0] if row else None)


def fence_lost(fence: tuple[str, str, int], found: int | None) -> LeaseLost:
    """Return the error of a writer whose lease storage sees with another."""
    held = "no lease" if found is None else f"fence {found}"
    return LeaseLost(f"lease {fence[0]}/{fence[1]}: storage sees {held}, this feed holds {fence[2]}; it stops")


async def partitions_make_async(connection: AsyncConnection, partitions: list[Partition]) -> None:
    """Make the partitions that are missing, one maker at a time over all processes."""
    if not partitions:
        return
    async with connection.transaction():
        await connection.execute(partitions_sql(partitions))
    _known_partitions.update(partition.name for partition in partitions)


def bars_write(*, epoch_id: int, timeframe_s: int, bars: Bars, source: int = SOURCE_VENUE) -> Bars:
    """Store closed bars through Django's connection; the back-fill's twin of `bars_write_async`."""
    if len(bars) == 0:
        return bars
    bars = rows.newest_per_key(bars)
    partitions = _wanted_partitions(timeframe_s, bars)
    _make_partitions(partitions_unknown(partitions))
    body = rows.pack(bars, epoch_id=epoch_id, timeframe_s=timeframe_s, source=source)
    for _ in range(2):
        try:
            with transaction.atomic():
                _copy(statements.copy_into(timeframe_s), body)
            return bars
        except errors.UniqueViolation:
            break  # Django hands errors of COPY on as the driver raised them
        except errors.CheckViolation:
            _make_partitions(partitions)
    return _merge(timeframe_s, body)


def partitions_ready(timeframes_s: Iterable[int], bars: Bars) -> None:
    """Make what these bars need in these timeframes, in a transaction of its own.

    For those who write inside a longer one: it would keep others from making partitions until it ends.
    """
    wanted = {partition for timeframe_s in timeframes_s for partition in _wanted_partitions(timeframe_s, bars)}
    _make_partitions(partitions_unknown(wanted))


def _copy(statement: str, body: bytearray) -> None:
    with django_connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(body)


def _merge(timeframe_s: int, body: bytearray) -> Bars:
    stored: list[tuple] = []
    with transaction.atomic(), django_connection.cursor() as cursor:
        # a transaction that wraps ours keeps its staged rows, so they are cleared before and not only on commit
        cursor.execute(statements.CREATE_STAGING)
        cursor.execute(f"TRUNCATE {statements.STAGING}")
        _copy(statements.COPY_TO_STAGING, body)
        for _ in range(MERGE_ROUNDS):
            cursor.execute(statements.merge(timeframe_s))
            added = cursor.fetchall()
            stored += added
            if not added:
                break
    return _as_bars(stored)


def _make_partitions(partitions: list[Partition]) -> None:
    if not partitions:
        return
    with transaction.atomic(), django_connection.cursor() as cursor:
        cursor.execute(partitions_sql(partitions))
    _known_partitions.update(partition.name for partition in partitions)


def _as_bars(stored: list[tuple]) -> Bars:
    """Return merged rows as bars in order; a row that two rounds both added keeps its newest revision."""
    columns = [name.strip() for name in rows.READ_COLUMNS.split(",")]
    bars = rows.bars_empty()
    if stored:
        bars = np.empty(len(stored), dtype=rows.BAR_DTYPE)
        for name, values in zip(columns, zip(*stored, strict=True), strict=True):
            bars[name] = values
    return rows.newest_per_key(bars)
