"""Bars in PostgreSQL: never doubled, never lost, partitions for any date."""

import asyncio
from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest
from django.db import connection

from apps.common.errors import LeaseLost
from apps.market.storage import writer
from apps.market.storage.reader import bars_newest_open, bars_read, bars_read_many
from apps.market.storage.rows import BACKFILLED, REVISED, newest_per_key, pack, unpack
from apps.market.storage.tables import partition_of
from apps.market.storage.writer import bars_write, bars_write_async
from tests.apps.market.factories import BASE_NS, MINUTE_NS, minutes_make

pytestmark = pytest.mark.django_db


def test_bars_written_are_read_back_to_the_last_bit() -> None:
    bars = minutes_make(7, 5)
    bars["close"][2] = 0.1 + 0.2
    stored = bars_write(epoch_id=1, timeframe_s=60, bars=bars)
    assert len(stored) == 5
    assert bars_read(1, 7, 60).tobytes() == bars.tobytes()


def test_a_batch_written_twice_is_stored_once() -> None:
    bars = minutes_make(7, 5)
    bars_write(epoch_id=1, timeframe_s=60, bars=bars)
    assert len(bars_write(epoch_id=1, timeframe_s=60, bars=bars)) == 0
    assert len(bars_read(1, 7, 60)) == 5


def test_a_batch_that_overlaps_adds_only_what_is_missing() -> None:
    bars = minutes_make(7, 8)
    bars_write(epoch_id=1, timeframe_s=60, bars=bars[2:5])
    stored = bars_write(epoch_id=1, timeframe_s=60, bars=bars)
    assert sorted(stored["open_ns"]) == sorted(np.delete(bars, slice(2, 5))["open_ns"])
    assert bars_read(1, 7, 60).tobytes() == bars.tobytes()


def test_another_value_for_a_stored_bar_becomes_its_next_revision() -> None:
    bars = minutes_make(7, 3)
    bars_write(epoch_id=1, timeframe_s=60, bars=bars)
    corrected = bars.copy()
    corrected["close"][1] += 0.5
    stored = bars_write(epoch_id=1, timeframe_s=60, bars=corrected)
    assert [(row["open_ns"], row["revision"]) for row in stored] == [(bars["open_ns"][1], 1)]
    read = bars_read(1, 7, 60)
    assert read["close"][1] == corrected["close"][1]
    assert read["flags"][1] & REVISED
    assert list(read["revision"]) == [0, 1, 0]


def test_volume_that_differs_in_the_last_bit_is_the_same_bar() -> None:
    bars = minutes_make(7, 1, volume=0.1 + 0.2)
    bars_write(epoch_id=1, timeframe_s=60, bars=bars)
    bars["volume"] = 0.3
    assert len(bars_write(epoch_id=1, timeframe_s=60, bars=bars)) == 0


def test_bars_are_read_while_queries_are_captured(django_assert_num_queries) -> None:
    bars_write(epoch_id=1, timeframe_s=60, bars=minutes_make(7, 2))
    with django_assert_num_queries(0):  # COPY is none of the queries that Django counts
        assert len(bars_read(1, 7, 60)) == 2


def test_epochs_do_not_see_each_other() -> None:
    bars_write(epoch_id=1, timeframe_s=60, bars=minutes_make(7, 2))
    bars_write(epoch_id=2, timeframe_s=60, bars=minutes_make(7, 3, price=50.0))
    assert len(bars_read(1, 7, 60)) == 2
    assert bars_read(2, 7, 60)["open"][0] == 50.0


def test_partitions_appear_for_any_date_and_only_once() -> None:
    old = int(datetime(2018, 4, 3, 23, 59, tzinfo=UTC).timestamp()) * 1_000_000_000
    bars_write(epoch_id=1, timeframe_s=60, bars=minutes_make(7, 2, start_ns=old))
    bars_write(epoch_id=1, timeframe_s=3600, bars=minutes_make(7, 1, start_ns=old))
    bars_write(epoch_id=1, timeframe_s=86_400, bars=minutes_make(7, 1, start_ns=old))
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE %s AND relispartition", ("market_bar_%2018%",))
        names = {row[0] for row in cursor.fetchall() if "pkey" not in row[0]}
    wanted = {"market_bar_day_20180403", "market_bar_day_20180404", "market_bar_month_201804", "market_bar_year_2018"}
    assert wanted <= names
    assert partition_of(60, old).to_ns == partition_of(60, old + MINUTE_NS).from_ns


def test_a_partition_that_went_missing_is_made_again() -> None:
    old = int(datetime(2017, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000_000
    writer._known_partitions.add(partition_of(60, old).name)
    assert len(bars_write(epoch_id=1, timeframe_s=60, bars=minutes_make(7, 2, start_ns=old))) == 2


def test_read_from_a_start_gives_the_first_and_without_one_the_newest() -> None:
    bars = minutes_make(7, 10)
    bars_write(epoch_id=1, timeframe_s=60, bars=bars)
    assert list(bars_read(1, 7, 60, start_ns=int(bars["open_ns"][3]), limit=2)["open_ns"]) == list(bars["open_ns"][3:5])
    assert list(bars_read(1, 7, 60, limit=2)["open_ns"]) == list(bars["open_ns"][8:])
    assert list(bars_read(1, 7, 60, end_ns=int(bars["open_ns"][4]), limit=2)["open_ns"]) == list(bars["open_ns"][2:4])


@pytest.mark.parametrize("start", [None, BASE_NS])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_many_revisions_do_not_eat_into_the_limit(start, limit) -> None:
    bars = minutes_make(7, 3)
    for number in range(12):
        bars["close"] = number
        bars_write(epoch_id=1, timeframe_s=60, bars=bars)
    read = bars_read(1, 7, 60, start_ns=start, limit=limit)
    wanted = bars["open_ns"][:limit] if start is not None else bars["open_ns"][-limit:]
    assert read["open_ns"].tolist() == wanted.tolist()
    assert set(read["revision"].tolist()) == {11}
    assert set(read["close"].tolist()) == {11.0}


def test_nothing_stored_reads_as_no_bars() -> None:
    assert len(bars_read(1, 7, 60)) == 0
    assert len(bars_read(1, 7, 60, start_ns=0)) == 0


def test_read_many_and_newest_open() -> None:
    bars_write(epoch_id=1, timeframe_s=60, bars=np.concatenate([minutes_make(7, 3), minutes_make(8, 2)]))
    assert bars_newest_open(1, [7, 8, 9], 60) == {7: BASE_NS + 2 * MINUTE_NS, 8: BASE_NS + MINUTE_NS}
    read = bars_read_many(1, [7, 8], 60, BASE_NS, BASE_NS + 2 * MINUTE_NS)
    assert list(read["instrument_id"]) == [7, 7, 8, 8]


def test_pack_and_unpack_are_inverse_over_the_read_columns() -> None:
    assert len(pack(minutes_make(7, 3), epoch_id=1, timeframe_s=60, source=0)) > 0
    assert len(unpack(b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8 + b"\xff\xff")) == 0


def test_of_a_bar_given_twice_in_a_batch_the_last_counts() -> None:
    bars = np.concatenate([minutes_make(7, 2), minutes_make(7, 1, price=50.0, flags=BACKFILLED)])
    kept = newest_per_key(bars)
    assert len(kept) == 2
    assert kept["open"][0] == 50.0


@pytest.mark.usefixtures("hot_bars_emptied")
@pytest.mark.django_db(transaction=True)
class TestAsyncWriter:
    """The feed's writer, with connections and transactions of its own."""

    async def test_two_writers_of_the_same_bars_store_each_once(self, dsn: str) -> None:
        bars = minutes_make(7, 200)
        async with (
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as one,
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as two,
        ):
            stored = await asyncio.gather(
                *[bars_write_async(c, epoch_id=1, timeframe_s=60, bars=bars) for c in (one, two)]
            )
        assert sum(len(part) for part in stored) == 200
        assert (await asyncio.to_thread(bars_read, 1, 7, 60)).tobytes() == bars.tobytes()

    @pytest.mark.parametrize("count", [3, writer.FEW + 1])
    async def test_few_and_many_end_in_the_same_rows(self, dsn: str, count: int) -> None:
        bars = minutes_make(7, count)
        corrected = bars.copy()
        corrected["close"][1] += 0.5
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as one:
            first = await bars_write_async(one, epoch_id=1, timeframe_s=60, bars=bars[1:])
            second = await bars_write_async(one, epoch_id=1, timeframe_s=60, bars=corrected)
        assert len(first) == count - 1
        assert [(int(row["open_ns"] - BASE_NS) // MINUTE_NS, int(row["revision"])) for row in second] == [
            (0, 0),
            (1, 1),
        ]
        read = await asyncio.to_thread(bars_read, 1, 7, 60)
        assert read["close"].tolist() == corrected["close"].tolist()

    async def test_a_partition_that_went_missing_is_made_again_for_a_few(self, dsn: str) -> None:
        old = int(datetime(2015, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000_000
        writer._known_partitions.add(partition_of(60, old).name)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as one:
            kept = await bars_write_async(one, epoch_id=1, timeframe_s=60, bars=minutes_make(7, 2, start_ns=old))
        assert len(kept) == 2

    async def test_a_writer_whose_lease_has_passed_on_writes_nothing(self, dsn: str) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as one:
            await one.execute(
                "INSERT INTO common_lease (kind, key, holder, fence, expires_at, since, meta)"
                " VALUES ('feed', 'x/0', 'b', 5, now(), now(), '{}')"
            )
            with pytest.raises(LeaseLost, match="this feed holds 4"):
                await bars_write_async(
                    one, epoch_id=1, timeframe_s=60, bars=minutes_make(7, 2), fence=("feed", "x/0", 4)
                )
            kept = await bars_write_async(
                one, epoch_id=1, timeframe_s=60, bars=minutes_make(7, 2), fence=("feed", "x/0", 5)
            )
        assert len(kept) == 2

    async def test_two_makers_of_one_partition_do_not_collide(self, dsn: str) -> None:
        old = int(datetime(2016, 6, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
        async with (
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as one,
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as two,
        ):
            parts = [partition_of(60, old)]
            await asyncio.gather(*[writer.partitions_make_async(connection_, parts) for connection_ in (one, two)])
            row = await (await one.execute("SELECT to_regclass(%s)::text", (parts[0].name,))).fetchone()
        assert row == (parts[0].name,)
