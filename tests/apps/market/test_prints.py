"""Prints in storage: what the venue wrote, none twice, partitions for any day, and a database that goes away."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
from psycopg import OperationalError

from apps.common.errors import LeaseLost
from apps.market.feed import prints as prints_module
from apps.market.feed.prints import PrintRecorder
from apps.market.providers.base import PrintRow
from apps.market.selectors import prints_read
from apps.market.storage import writer
from apps.market.storage.prints import StoredPrint, prints_write_async
from apps.market.storage.tables import prints_partition_of
from tests.apps.market.factories import BASE_NS
from tests.apps.market.live import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("hot_bars_emptied")]
DAY_NS = 86_400_000_000_000


def _print(number: int, at_ns: int | None = None, instrument_id: int = 7, **fields) -> StoredPrint:
    values = {"trade_id": f"t{number}", "price": Decimal("100.10"), "size": Decimal("0.000000000000000001"), "side": 1}
    return StoredPrint(instrument_id, BASE_NS + number if at_ns is None else at_ns, **{**values, **fields})


@pytest.fixture
async def one(dsn: str):
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as made:
        yield made


async def _read(*arguments, **named) -> list[StoredPrint]:
    return await asyncio.to_thread(in_thread, lambda: prints_read(*arguments, **named))


async def test_prints_are_read_as_the_venue_wrote_them_newest_first(one) -> None:
    odd = _print(2, trade_id="a\\b\tc\nd", price=Decimal("1E-8"), side=-1)
    assert await prints_write_async(one, epoch_id=1, prints=[_print(1), odd, _print(3, instrument_id=8)]) == 2 + 1
    newest, oldest = await _read(1, 7)
    assert newest == odd
    assert oldest == _print(1)


async def test_a_successor_that_hears_some_again_stores_only_what_is_missing(one) -> None:
    await prints_write_async(one, epoch_id=1, prints=[_print(number) for number in range(5)])
    again = [_print(number) for number in (3, 4, 4, 5, 6)]
    assert await prints_write_async(one, epoch_id=1, prints=again) == 2
    assert await prints_write_async(one, epoch_id=1, prints=again) == 0
    assert [found.trade_id for found in await _read(1, 7)] == [f"t{number}" for number in range(6, -1, -1)]
    assert await _read(2, 7) == []


async def test_two_writers_at_once_store_each_print_once(dsn: str) -> None:
    prints = [_print(number) for number in range(500)]
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as first,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as second,
    ):
        stored = await asyncio.gather(*[prints_write_async(c, epoch_id=1, prints=prints) for c in (first, second)])
    assert sum(stored) == 500
    assert len(await _read(1, 7, limit=1000)) == 500


async def test_a_span_and_a_limit_are_kept(one) -> None:
    await prints_write_async(one, epoch_id=1, prints=[_print(number) for number in range(10)])
    found = await _read(1, 7, start_ns=BASE_NS + 2, end_ns=BASE_NS + 8, limit=3)
    assert [row.market_ns - BASE_NS for row in found] == [7, 6, 5]


async def test_days_have_partitions_of_their_own_and_one_that_went_missing_is_made_again(one) -> None:
    old = int(datetime(2018, 4, 3, 23, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000_000
    lost = prints_partition_of(old - 40 * DAY_NS)
    writer._known_partitions.add(lost.name)
    prints = [_print(1, old), _print(2, old + 2_000_000_000), _print(3, lost.from_ns)]
    await prints_write_async(one, epoch_id=1, prints=prints)
    cursor = await one.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'market_print_day'::regclass"
    )
    found = {row[0] for row in await cursor.fetchall()}
    assert {"market_print_day_20180222", "market_print_day_20180403", "market_print_day_20180404"} <= found
    assert len(await _read(1, 7)) == 3


async def test_a_writer_whose_lease_has_passed_on_writes_nothing(one) -> None:
    await one.execute(
        "INSERT INTO common_lease (kind, key, holder, fence, expires_at, since, meta)"
        " VALUES ('feed', 'x/0', 'b', 5, now(), now(), '{}')"
    )
    with pytest.raises(LeaseLost, match="this feed holds 4"):
        await prints_write_async(one, epoch_id=1, prints=[_print(1)], fence=("feed", "x/0", 4))
    assert await _read(1, 7) == []
    assert await prints_write_async(one, epoch_id=1, prints=[_print(1)], fence=("feed", "x/0", 5)) == 1


class Pool:
    """One connection, which can be taken away."""

    def __init__(self, one) -> None:
        self._one, self.is_up = one, True

    @asynccontextmanager
    async def connection(self):
        if not self.is_up:
            raise OperationalError("the database is away")
        yield self._one


class Quiet:
    """A recorder without minutes on their way."""

    async def minutes_first(self) -> None:
        pass


def _row(number: int) -> PrintRow:
    return PrintRow(f"t{number}", BASE_NS + number, Decimal(100), Decimal(1), 1)


async def test_a_database_that_is_away_delays_prints_and_past_the_limit_the_oldest_go(one, monkeypatch) -> None:
    monkeypatch.setattr(prints_module, "WAITING_LIMIT", 4)
    monkeypatch.setattr(prints_module, "PER_BATCH", 3)
    pool = Pool(one)
    recorder = PrintRecorder(pool=pool, recorder=Quiet(), epoch_id=1, fence=None)
    pool.is_up = False
    recorder.add(7, [_row(number) for number in range(6)])
    await recorder.flush()
    assert not recorder.is_storage_up
    recorder.add(7, [_row(6)])
    pool.is_up = True
    await asyncio.gather(recorder.flush(), recorder.flush())
    assert recorder.is_storage_up
    assert [row.trade_id for row in await _read(1, 7)] == ["t6", "t5", "t4", "t3", "t2"]
    assert recorder.stored == 5
