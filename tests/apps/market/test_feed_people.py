"""What people change while a feed runs, and what venues refuse."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.conf import settings

from apps.common.bus import Bus
from apps.common.redis_clients import sync_client
from apps.common.relay import Relay
from apps.common.residents import ResidentContext
from apps.market.feed import health
from apps.market.models import Instrument, Universe, Venue
from apps.market.selectors import bars_newest_open_async, epoch_current, instruments_kept, instruments_listed
from apps.market.services import epoch_begin, universe_save, venue_save
from apps.portfolio.models import Account, Position
from tests.apps.market.live import MINUTE_NS, feed_running, in_thread, market_running, seeded, until, venue_seed
from trader.config import config

pytestmark = [
    pytest.mark.stack,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("hot_bars_emptied"),
]


def _members_set(symbols: tuple[str, ...]) -> None:
    members = [found for found in instruments_listed("bybit-sim") if found.symbol in symbols]
    universe_save(Universe.objects.get(name="desk"), members=members, by="ann")


async def test_a_universe_changed_by_a_person_is_collected_from_then_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("apps.market.residents.PLAN_EVERY_S", 0.2)
    async with market_running(tmp_path) as half:
        await seeded(half)
        async with feed_running() as feed:
            start_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
            await asyncio.to_thread(in_thread, _members_set, ("BTC/USDT", "SOL/USDT"))
            await until(lambda: {found.item.venue_symbol for found in feed.collector.instruments.values()} == {
                "BTCUSDT", "SOLUSDT"})  # fmt: skip
            solana = feed.instrument("SOLUSDT", "spot")
            await until(lambda: solana.book.is_sound)
            await half.driver.until_reached(start_ns + 3 * MINUTE_NS)
            await feed.settled(start_ns + 2 * MINUTE_NS)
            number = solana.item.instrument_id
            newest = await bars_newest_open_async(feed.context.pool, feed.epoch_id, [number], 60)
            assert newest[number] >= start_ns + MINUTE_NS


async def test_what_is_held_is_collected_until_it_is_flat_though_its_universe_lost_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("apps.market.residents.PLAN_EVERY_S", 0.2)
    async with market_running(tmp_path) as half:
        await seeded(half)
        await asyncio.to_thread(in_thread, _hold, "ETH/USDT", "2")
        async with feed_running() as feed:
            held = feed.instrument("ETHUSDT", "spot")
            number = held.item.instrument_id
            start_ns = half.clock.market_ns() // MINUTE_NS * MINUTE_NS
            await asyncio.to_thread(in_thread, _members_set, ("BTC/USDT",))
            await until(lambda: _subscribed(half, "BTCUSDT") == {"spot"})  # the linear one has gone: nobody holds it
            await half.driver.until_reached(start_ns + 3 * MINUTE_NS)
            await feed.settled(start_ns + 2 * MINUTE_NS)
            newest = await bars_newest_open_async(feed.context.pool, feed.epoch_id, [number], 60)
            assert newest[number] >= start_ns + MINUTE_NS
            assert _subscribed(half, "ETHUSDT") == {"spot"}
            assert feed.collector.instruments[number] is held  # never left, so its bars have no seam
            assert await asyncio.to_thread(in_thread, instruments_kept, ["bybit-sim"]) == {number}
            await asyncio.to_thread(in_thread, _hold, "ETH/USDT", "0")
            await until(lambda: not _subscribed(half, "ETHUSDT") and number not in feed.collector.instruments)
            assert await asyncio.to_thread(in_thread, instruments_kept, ["bybit-sim"]) == set()


def _hold(symbol: str, quantity: str) -> None:
    epoch = epoch_current("bybit-sim")
    account, _ = Account.objects.get_or_create(venue=epoch.venue, epoch=epoch, name="Simulated")
    instrument = Instrument.objects.get(symbol=symbol)
    Position.objects.update_or_create(
        account=account, instrument=instrument, owner="manual", defaults={"quantity": Decimal(quantity)}
    )


class _Held:
    """A lease that is not in doubt."""

    superseded = False

    def report(self, **_) -> None:
        pass


@asynccontextmanager
async def _relay_running() -> AsyncIterator[None]:
    """Hand log messages on, as the relay of a data worker does, on a bus without numbers of earlier tests."""
    sync_client(settings.REDIS_URL).flushall()
    async with Bus(settings.REDIS_URL) as bus:
        context = ResidentContext(_Held(), bus, None, asyncio.get_running_loop())
        task = asyncio.create_task(Relay("main", context).run())
        yield
        context.stop.set()
        await asyncio.wait_for(task, 5)


async def test_a_universe_changed_by_a_person_is_heard_of_and_not_only_found(tmp_path, monkeypatch) -> None:
    """The look every 10 s is off: what was not told would never be followed."""
    monkeypatch.setattr("apps.market.residents.PLAN_EVERY_S", 3600.0)
    async with _relay_running(), market_running(tmp_path) as half:
        await seeded(half)
        async with feed_running() as feed:
            await until(lambda: feed.resident.changes.listens_to == {"universes", "venues"})
            assert _subscribed(half, "BTCUSDT") == {"spot", "linear"}
            before = await feed.context.bus.log_last("universes")
            await asyncio.to_thread(in_thread, _members_set, ("BTC/USDT", "SOL/USDT"))
            _, message = await anext(feed.context.bus.log_read("universes", before))
            assert set(message.instrument_ids) == await asyncio.to_thread(in_thread, _ids, ("BTC/USDT", "SOL/USDT"))
            await until(lambda: _subscribed(half, "SOLUSDT") == {"spot"} and _subscribed(half, "BTCUSDT") == {"spot"})
            await until(lambda: not _subscribed(half, "ETHUSDT"))
            await until(lambda: feed.instrument("SOLUSDT", "spot").book.is_sound)
            names = {found.item.venue_symbol for found in feed.collector.instruments.values()}
            assert names == {"BTCUSDT", "SOLUSDT"}


def _subscribed(half, symbol: str) -> set[str]:
    """Return on which of the venue's sockets somebody listens to all four topics of a symbol."""
    wanted = {f"orderbook.50.{symbol}", f"publicTrade.{symbol}", f"kline.1.{symbol}", f"tickers.{symbol}"}
    listening = half.public.broadcaster.connections
    whole = {connection.kind for connection in listening if wanted <= set(connection.topics)}
    part = {connection.kind for connection in listening if wanted & set(connection.topics)}
    return whole if whole == part else {"in part"}


def _ids(symbols: tuple[str, ...]) -> set[int]:
    return set(Instrument.objects.filter(symbol__in=symbols).values_list("pk", flat=True))


async def test_an_instrument_that_the_venue_refuses_is_shown_and_the_others_go_on(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        await asyncio.to_thread(in_thread, _break_one)
        async with feed_running() as feed:
            broken = feed.instrument("NOSUCHUSDT", "spot")
            await until(lambda: broken.refused)
            await until(lambda: "NOSUCHUSDT" in feed.context.lease.meta["detail"])
            assert feed.context.lease.meta["live"] == 2
            assert "handler not found" in broken.refused
            told = await feed.told(lambda told: "back-fill of NOSUCHUSDT (spot)" in told.detail)
            assert "refused: " in told.detail
            assert told.stale == [broken.item.instrument_id]
            assert feed.context.lease.meta["back_fill_unfilled"] > 0


def _break_one() -> None:
    Instrument.objects.filter(symbol="ETH/USDT").update(venue_symbol="NOSUCHUSDT")


async def test_a_venue_that_is_not_up_yet_is_waited_for_and_asked_what_it_lists(tmp_path, monkeypatch) -> None:
    short = config.market.model_copy(update={"history_days": 0.01})  # three days of twenty are nothing to wait for here
    monkeypatch.setattr("apps.market.residents.config", config.model_copy(update={"market": short}))
    port = _free_port()
    venue = SimpleNamespace(rest=f"http://127.0.0.1:{port}", socket=f"ws://127.0.0.1:{port}")
    await asyncio.to_thread(in_thread, _seed_unsynced, venue)
    async with feed_running(wait=False) as feed:
        await until(lambda: f":{port}" in feed.context.lease.meta.get("detail", ""))  # it called, and nobody was there
        assert feed.context.lease.meta["state"] == health.STARTING
        assert not feed.task.done()
        assert await asyncio.to_thread(in_thread, lambda: (epoch_current("bybit-sim").synced_at, _listed())) == (
            None,
            0,
        )
        async with market_running(tmp_path, port=port):
            await feed.ready()
            assert len(feed.collector.instruments) == 20
            assert await asyncio.to_thread(in_thread, _listed) == 20
            feed.context.stop.set()
            await feed.task  # before its venue goes, with all the time that the market's own limit leaves


def _free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _listed() -> int:
    return Instrument.objects.count()


def _seed_unsynced(half) -> None:
    venue_seed(half)
    universe = Universe.objects.get()
    universe.kind, universe.rule_quote = Universe.Kind.RULE, "USDT"
    universe_save(universe, by="test")


async def test_a_feed_begins_anew_when_its_venue_has_another_epoch(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("apps.market.residents.PLAN_EVERY_S", 0.2)
    async with market_running(tmp_path) as half:
        await seeded(half)
        async with feed_running() as feed:
            await asyncio.to_thread(in_thread, _another_epoch)
            await until(feed.task.done)
            feed.task.result()


def _another_epoch() -> None:
    venue = Venue.objects.get()
    epoch_begin(venue, {"kind": "synthetic", "seed": 8}, by="test")
    venue_save(venue, by="test")


async def test_a_market_that_stands_is_paused_and_not_stale(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        async with feed_running() as feed:
            feed.resident._control.newest.running = False
            found = feed.collector.instruments.values()
            for instrument in found:
                instrument.heard_boot_ns -= 120_000_000_000
            await asyncio.sleep(0.8)
            told = await feed.context.bus.last("health.feed.bybit-sim")
            assert (told.state, told.stale) == (health.PAUSED, [])


async def test_an_instrument_silent_on_both_clocks_is_stale_alone(tmp_path) -> None:
    async with market_running(tmp_path) as half:
        await seeded(half)
        async with feed_running() as feed:
            quiet = feed.instrument("ETHUSDT", "spot")
            quiet.heard_boot_ns -= 120_000_000_000
            assert feed.collector.silent() == []  # its market has not moved: only one clock
            quiet.heard_market_ns -= 120_000_000_000
            await asyncio.sleep(0.8)
            told = await feed.context.bus.last("health.feed.bybit-sim")
            assert (told.state, told.stale) == (health.READY, [quiet.item.instrument_id])
