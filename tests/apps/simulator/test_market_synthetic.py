"""The synthetic market: seeded, the same again after a restart, and as lively as recorded markets."""

import asyncio
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest

from apps.simulator.markets.base import MINUTE_NS, BookEvent, FundingEvent, MarketError, MarkEvent, PrintEvent
from apps.simulator.markets.clock import MarketClock
from apps.simulator.markets.synthetic import BLOCK_NS, FUNDING_NS, HISTORY_NS, SyntheticMarket
from tests.apps.simulator.market_doubles import Steady, market

NOW = 1_795_253_000_000_000_000
OPEN = NOW // MINUTE_NS * MINUTE_NS
BTC, BTC_PERPETUAL = ("spot", "BTCUSDT"), ("linear", "BTCUSDT")

# Bands from recorded 1-minute bars of nine venues' days (docs/reference/simulator-markets.md)
KURTOSIS = (6.0, 60.0)
CLUSTERING = {1: (0.12, 0.48), 5: (0.05, 0.28), 15: (0.0, 0.23), 30: (-0.01, 0.16), 60: (-0.02, 0.15)}
CORRELATION = (0.45, 0.75)


@pytest.fixture(scope="module")
def seven() -> SyntheticMarket:
    made = SyntheticMarket(7, NOW)
    made.history(BTC, OPEN)
    return made


async def _play(driver, until_ns: int) -> None:
    task = asyncio.create_task(driver.run())
    await driver.until_reached(until_ns)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_ten_spot_and_ten_perpetual_instruments_are_listed(seven):
    keys = [spec.key for spec in seven.instruments()]
    assert len([key for key in keys if key[0] == "spot"]) == len([key for key in keys if key[0] == "linear"]) == 10
    assert {BTC, BTC_PERPETUAL, ("spot", "ETHUSDT"), ("linear", "ETHUSDT")} <= set(keys)


def test_three_days_of_minutes_lie_before_the_first_tick_without_a_hole(seven):
    for spec in seven.instruments():
        bars = seven.history(spec.key, OPEN)
        assert len(bars) >= 3 * 1440
        assert (np.diff(bars["open_ns"]) == MINUTE_NS).all()
        assert bars["open_ns"][-1] == OPEN - MINUTE_NS
        assert (bars["volume"] > 0).all()
        assert (bars["low"] > 0).all()
        assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()
        assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()


def test_the_same_seed_and_start_give_the_same_market_and_another_seed_another():
    same = SyntheticMarket(7, NOW).history(BTC, OPEN)
    assert np.array_equal(same, SyntheticMarket(7, NOW).history(BTC, OPEN))
    assert not np.array_equal(same["close"], SyntheticMarket(8, NOW).history(BTC, OPEN)["close"])


def test_every_instrument_prints_about_twice_a_second_and_its_minute_is_its_kline(seven):
    events = list(seven.minute(OPEN))
    times = [event.market_ns for event in events]
    assert times == sorted(times)
    for spec in seven.instruments():
        prints = [event for event in events if isinstance(event, PrintEvent) and event.key == spec.key]
        assert 100 <= len(prints) <= 140
        bar = seven.history(spec.key, OPEN + MINUTE_NS)[-1]
        ticks = [event.price_ticks for event in prints]
        assert (ticks[0], max(ticks), min(ticks), ticks[-1]) == tuple(bar[["open", "high", "low", "close"]].tolist())
        assert sum(event.size_lots for event in prints) == bar["volume"]


def test_books_are_whole_uncrossed_and_quote_the_print_that_made_them(seven):
    last: dict = {}
    for event in seven.minute(OPEN):
        if isinstance(event, PrintEvent):
            last[event.key] = event
        if isinstance(event, BookEvent):
            bids, asks = [level[0] for level in event.bids], [level[0] for level in event.asks]
            assert bids == sorted(set(bids), reverse=True)
            assert asks == sorted(set(asks))
            assert bids[0] < asks[0]
            assert min(lots for _, lots in (*event.bids, *event.asks)) >= 1
            made = last[event.key]
            assert made.price_ticks == (asks[0] if made.side == "Buy" else bids[0])
            assert len(bids) > 100


def test_a_move_changes_few_levels_of_the_book(seven):
    books = [event for event in seven.minute(OPEN) if isinstance(event, BookEvent) and event.key == BTC]
    shares = [len(set(before.bids[:50]) & set(after.bids[:50])) / 50 for before, after in pairwise(books)]
    assert np.mean(shares) > 0.8


def test_spread_and_depth_react_to_volatility():
    made = SyntheticMarket(3, NOW)
    stress, spreads, depths = [], [], []
    for open_ns in range(OPEN, OPEN + 120 * MINUTE_NS, MINUTE_NS):
        block = made._block_of(open_ns)
        minute = (open_ns - block.first_open_ns) // MINUTE_NS
        stress.append(block.stress[0, minute])
        spreads.append((block.tape.ask[0, minute] - block.tape.bid[0, minute]).mean())
        depths.append(sum(made._sizes(block, minute)[0]))
    assert np.corrcoef(stress, spreads)[0, 1] > 0.8
    assert np.corrcoef(stress, depths)[0, 1] < -0.5


def test_perpetuals_have_marks_near_their_index_and_fundings_every_eight_hours(seven):
    marks = [event for event in seven.minute(OPEN) if isinstance(event, MarkEvent)]
    assert {event.kind for event in marks} == {"linear"}
    assert len({event.symbol for event in marks}) == 10
    assert all(abs(event.mark_ticks / event.index_ticks - 1) < 0.005 for event in marks)
    assert all(event.next_funding_ns % FUNDING_NS == 0 and event.next_funding_ns > event.market_ns for event in marks)
    paid = seven.fundings(BTC_PERPETUAL, OPEN)
    assert len(paid) == 9
    assert all(abs(event.rate) <= 0.003 for event in paid)
    assert seven.fundings(BTC, OPEN) == []
    due_ns = (OPEN // FUNDING_NS + 1) * FUNDING_NS
    first = next(iter(SyntheticMarket(7, due_ns).minute(due_ns)))
    assert isinstance(first, FundingEvent)
    assert first.market_ns == due_ns


@pytest.mark.parametrize("seed", [7, 1, 2])
def test_returns_are_like_recorded_ones(seed):
    made = SyntheticMarket(seed, NOW)
    returns = {
        spec.symbol: np.diff(np.log(made.history(spec.key, OPEN)["close"].astype(float)))
        for spec in made.instruments()
        if spec.kind == "spot"
    }
    days = [day for each in returns.values() for day in np.array_split(each, 3)]
    assert KURTOSIS[0] < np.median([_kurtosis(day) for day in days]) < KURTOSIS[1]
    for lag, (least, most) in CLUSTERING.items():
        assert least < np.median([_clustering(day, lag) for day in days]) < most, lag
    pairs = np.corrcoef([returns[symbol] for symbol in ("BTCUSDT", "ETHUSDT", "LTCUSDT")])[np.triu_indices(3, 1)]
    assert CORRELATION[0] < np.median(pairs) < CORRELATION[1]


def test_spreads_are_a_few_hundredths_of_a_per_cent_at_most(seven):
    for spec in seven.instruments():
        book = next(event for event in seven.minute(OPEN) if isinstance(event, BookEvent) and event.key == spec.key)
        relative = (book.asks[0][0] - book.bids[0][0]) / book.bids[0][0]
        assert relative < 5e-4, spec


async def test_after_a_restart_the_market_is_where_it_would_have_been(tmp_path):
    first = SyntheticMarket(7, NOW, tmp_path)
    driver, *_ = market(first)
    await _play(driver, (NOW // BLOCK_NS + 2) * BLOCK_NS)  # past the end of a block, where the state is kept
    later_ns = NOW + 3600 * 10**9
    again = SyntheticMarket(7, later_ns, tmp_path)
    until_ns = later_ns // MINUTE_NS * MINUTE_NS
    bars = again.history(BTC_PERPETUAL, until_ns)
    assert len(bars) >= 3 * 1440
    assert np.array_equal(bars, first.history(BTC_PERPETUAL, until_ns)[-len(bars) :])
    assert list(again.minute(until_ns)) == list(first.minute(until_ns))
    with pytest.raises(MarketError, match="holds the market of seed 7"):
        SyntheticMarket(8, later_ns, tmp_path)
    (tmp_path / "market.json").write_text("{}")
    with pytest.raises(MarketError, match="cannot be read"):
        SyntheticMarket(7, later_ns, tmp_path)


async def test_a_start_within_a_minute_takes_up_that_minutes_prints_without_publishing_them():
    start_ns = OPEN + 30 * 10**9
    driver, _, board, kept = market(SyntheticMarket(7, start_ns))
    assert 40 < board[BTC].prints < 80
    assert not [event for event in kept.events if isinstance(event, PrintEvent)]
    assert {event.key for event in kept.events if isinstance(event, BookEvent)} == set(board.states)
    await _play(driver, OPEN + MINUTE_NS)
    expected = SyntheticMarket(7, start_ns).history(BTC, OPEN + MINUTE_NS)[-1]
    assert board[BTC].bars.view()[-1] == expected


async def test_minutes_slept_through_pass_as_bars_without_a_hole():
    steady = Steady()
    driver, clock, board, kept = market(SyntheticMarket(7, NOW), paused=False, steady_ns=steady)
    steady.pass_s(3600)  # the machine slept for an hour
    task = asyncio.create_task(driver.run())
    while clock.lag_s() > 1:
        await asyncio.sleep(0.001)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    opens = board[BTC].bars.view()["open_ns"]
    assert (np.diff(opens) == MINUTE_NS).all()
    assert opens[-1] == (NOW + 3600 * 10**9) // MINUTE_NS * MINUTE_NS - MINUTE_NS
    assert len(kept.ends()) < 10
    expected = SyntheticMarket(7, NOW).history(BTC, int(opens[-1]) + MINUTE_NS)
    assert np.array_equal(board[BTC].bars.view()[-50:], expected[-50:])
    assert isinstance(clock, MarketClock)


def test_history_is_kept_for_three_days_and_longer_where_the_simulator_was_away(tmp_path):
    first = SyntheticMarket(7, NOW, tmp_path)
    first.history(BTC, OPEN)
    first.save(OPEN)
    later_ns = NOW + 2 * 86400 * 10**9
    again = SyntheticMarket(7, later_ns, tmp_path)
    bars = again.history(BTC, later_ns // MINUTE_NS * MINUTE_NS)
    assert bars["open_ns"][0] <= OPEN - HISTORY_NS + BLOCK_NS
    assert (np.diff(bars["open_ns"]) == MINUTE_NS).all()


def _kurtosis(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def _clustering(values: np.ndarray, lag: int) -> float:
    size = np.abs(values) - np.abs(values).mean()
    return float((size[lag:] * size[:-lag]).mean() / (size**2).mean())


def test_a_market_that_was_run_ahead_does_not_go_back(tmp_path):
    first = SyntheticMarket(7, NOW, tmp_path)
    ahead_ns = NOW + 2 * 3600 * 10**9
    first.history(BTC, ahead_ns)
    first.save(ahead_ns)
    again = SyntheticMarket(7, NOW + 60 * 10**9, tmp_path)
    assert again.start_ns == ahead_ns
    later = SyntheticMarket(7, ahead_ns + 1, tmp_path)
    assert later.start_ns == ahead_ns + 1
