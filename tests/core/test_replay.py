"""The thin replay: its fills, stops and accounting, and what the first strategy does on recorded prices."""

from dataclasses import replace
from decimal import Decimal as D

import numpy as np
import pytest

from apps.strategies.library.mean_reversion import STRATEGY
from tests.core.catalogue import random_walk
from trader.core.engine import Pipeline, Session, Terms
from trader.core.engine.replay import ReplayMarket, replay
from trader.core.portfolio import Contract
from trader.core.risk import Check, Limits, Sizing
from trader.core.types import Side
from trader.core.types.bars import BAR_DTYPE, COLUMNS, bar_matrix
from trader.core.types.errors import DataError

MINUTE = 60_000_000_000
FAST = {"period": 12, "regime_period": 10}
SPOT = Terms(Contract("spot", "BTC", "USDT", "USDT"), D("0.01"), D("0.0001"), D("0.0001"), D(5))
LINEAR = replace(SPOT, contract=Contract("linear", "BTC", "USDT", "USDT"))
CALM = 100.0 + np.tile([0.05, -0.05], 30)


def bars_of(close):
    """Bars that open at the last close and reach both ends."""
    bars = np.zeros(len(close), BAR_DTYPE)
    opened = np.concatenate([close[:1], close[:-1]])
    bars["open_ns"] = np.arange(len(close)) * MINUTE
    columns = (opened, np.maximum(opened, close), np.minimum(opened, close), close, np.ones(len(close)))
    for name, column in zip(COLUMNS, columns, strict=True):
        bars[name] = np.round(column, 2)
    return bars


def session_over(bars, terms=SPOT, cash=D(10_000), **more):
    """A session after its replay."""
    pipeline = Pipeline(STRATEGY, FAST, [terms.contract.kind])
    market = ReplayMarket([terms], {0: bars}, MINUTE)
    session = Session(pipeline, (terms,), market, market, cash=cash, **more)
    session.run(market)
    return session


def replayed(bars, terms=SPOT, **more):
    return session_over(bars, terms, **more).result


@pytest.mark.parametrize("terms", [SPOT, LINEAR], ids=["spot", "linear"])
def test_equity_at_the_end_is_cash_and_what_is_held_and_what_was_earned(terms):
    session = session_over(bars_of(random_walk(1_500)), terms)
    figures, result = session.book.ledger.figures(session.book.marks), session.result
    assert result.round_trips > 10
    assert len(result.decisions) == len(result.equity) == 1_500
    assert result.equity[-1] == (1_500 * MINUTE, figures.equity)
    earned = D(10_000) + figures.realised + figures.unrealised - figures.fees
    assert abs(figures.equity - earned) < D("1e-9")


def test_spot_never_sells_what_is_not_held():
    held = D(0)
    for fill in replayed(bars_of(random_walk(1_500))).fills:
        held += fill.side.sign * fill.quantity * (1 - (SPOT.taker_fee if fill.side is Side.BUY else 0))
        assert held >= 0


def test_contracts_go_both_ways():
    result = replayed(bars_of(random_walk(1_500)), LINEAR)
    assert {fill.side for fill in result.fills if fill.leg == "entry"} == {Side.BUY, Side.SELL}


def test_a_market_order_fills_at_the_next_open_and_never_in_its_own_bar():
    bars = bars_of(random_walk(1_500))
    result = replayed(bars)
    opens = {int(bar["open_ns"]): D(repr(float(bar["open"]))) for bar in bars}
    decided = {at for at, _, d in result.decisions if d.outcome == "signal"}
    orders = [fill for fill in result.fills if fill.leg != "stop"]
    assert orders
    for fill in orders:
        assert fill.price == opens[fill.market_ns]
        assert fill.market_ns in decided


def test_a_reversal_leaves_first_and_enters_the_other_side_at_the_same_open():
    result = replayed(bars_of(np.concatenate([CALM, [99.6, 99.6, 103.0, 103.0]])), LINEAR)
    legs = [(fill.leg, fill.side, fill.market_ns // MINUTE) for fill in result.fills]
    assert legs == [("entry", Side.BUY, 61), ("exit", Side.SELL, 63), ("entry", Side.SELL, 63)]


def test_a_crash_through_the_stop_fills_at_its_trigger_or_at_a_worse_open():
    bars = bars_of(np.concatenate([CALM, [99.5, 99.45, 98.0, 90.0, 90.0]]))
    entry, stop = replayed(bars).fills[:2]
    assert (entry.leg, stop.leg, stop.side) == ("entry", "stop", Side.SELL)
    assert stop.price == D("98.51")  # one percent below 99.5, at the tick nearer the entry
    bars["open"][62] = bars["high"][62] = 97.0
    bars["low"][62] = 96.0
    assert replayed(bars).fills[1].price == D("97.0")


def test_the_stop_is_there_within_the_bar_that_filled_the_entry():
    bars = bars_of(np.concatenate([CALM, [99.5, 98.0]]))
    entry, stop = replayed(bars).fills
    assert (stop.leg, stop.market_ns) == ("stop", entry.market_ns)


def test_a_short_is_stopped_above():
    result = replayed(bars_of(np.concatenate([CALM, [100.5, 100.55, 103.0]])), LINEAR)
    assert [(fill.leg, fill.side) for fill in result.fills[:2]] == [("entry", Side.SELL), ("stop", Side.BUY)]


def test_one_stop_rests_while_a_position_is_open_and_none_when_it_is_flat():
    session = session_over(bars_of(np.concatenate([CALM, [99.5, 99.4]])))
    (stop,) = session.book.orders.values()
    assert (stop.leg, stop.side) == ("stop", Side.SELL)
    assert stop.quantity <= session.book.held(0)
    assert session_over(bars_of(np.concatenate([CALM, [99.5, 99.4, 100.3, 100.3]]))).book.orders == {}


def test_what_is_too_small_for_the_venue_is_refused_and_recorded():
    result = replayed(bars_of(random_walk(800)), cash=D(40))
    assert result.fills == []
    assert {refusal.name for _, _, refusal in result.refusals} == {Check.MINIMUM}


def test_a_target_below_one_lot_is_no_order():
    result = replayed(bars_of(random_walk(800)), cash=D("0.01"))
    assert result.fills == result.refusals == []


def test_a_limit_that_binds_refuses_entries_and_never_exits():
    bars = bars_of(random_walk(1_500))
    small = Sizing(risk_share=0.001)
    free, bound = (replayed(bars, sizing=small, limits=Limits(position_notional=most)) for most in (None, 600.0))
    names = {refusal.name for _, _, refusal in bound.refusals}
    assert names == {Check.POSITION_NOTIONAL}
    assert 0 < bound.round_trips < free.round_trips
    assert all(float(f.quantity * f.price) <= 601.0 for f in bound.fills if f.leg == "entry")


def test_a_loss_of_the_day_ends_entries_until_the_next():
    bars = bars_of(random_walk(2_880))
    result = replayed(bars, limits=Limits(daily_loss=0.001))
    assert {refusal.name for _, _, refusal in result.refusals} == {Check.DAILY_LOSS}
    first = min(at for at, _, _ in result.refusals) // (1_440 * MINUTE)
    assert first == 0
    next_day = [fill for fill in result.fills if fill.market_ns >= 1_440 * MINUTE and fill.leg == "entry"]
    assert next_day


def test_orders_a_minute_are_counted_on_the_market_clock():
    result = replayed(bars_of(random_walk(800)), limits=Limits(orders_per_minute=0))
    assert {refusal.name for _, _, refusal in result.refusals} == {Check.ORDERS_PER_MINUTE}
    assert replayed(bars_of(random_walk(800)), limits=Limits(orders_per_minute=5)).refusals == []


def test_exits_and_stops_use_up_no_order_of_the_minute():
    bars = bars_of(np.concatenate([CALM, [99.6, 99.6, 103.0, 103.0]]))
    result = replayed(bars, LINEAR, limits=Limits(orders_per_minute=1))
    assert result.refusals == []
    assert [fill.leg for fill in result.fills] == ["entry", "exit", "entry"]


def test_bars_before_the_start_warm_up_and_are_not_decided():
    bars = bars_of(random_walk(300))
    pipeline = Pipeline(STRATEGY, FAST, ["spot"])
    result = replay(pipeline, [SPOT], {0: bars}, cash=D(10_000), sizing=Sizing(), trade_from_ns=100 * MINUTE)
    assert len(result.decisions) == 200
    assert result.decisions[0][2].outcome != "blocked"


def test_the_same_replay_twice_is_the_same_to_the_bit():
    bars = bars_of(random_walk(900))
    assert repr(replayed(bars)) == repr(replayed(bars))


def test_a_replay_that_is_cut_short_did_the_same_until_then():
    bars = bars_of(random_walk(900))
    whole, part = replayed(bars), replayed(bars[:500])
    until = 500 * MINUTE
    assert repr([d for d in whole.decisions if d[0] <= until]) == repr(part.decisions)
    assert [f for f in whole.fills if f.market_ns < until] == part.fills


def test_bars_that_do_not_ascend_are_refused():
    bars = bars_of(random_walk(10))
    bars["open_ns"][5] = bars["open_ns"][4]
    with pytest.raises(DataError, match="instrument 0"):
        replayed(bars)


def test_stored_bars_with_more_fields_are_read_by_name():
    wide = np.zeros(2, np.dtype([("close", "f8"), ("trades", "i4"), *[(n, "f8") for n in COLUMNS if n != "close"]]))
    wide["close"] = [1.0, 2.0]
    assert bar_matrix(wide)[:, COLUMNS.index("close")].tolist() == [1.0, 2.0]


@pytest.mark.data
def test_the_defaults_trade_the_recorded_prices_often_enough(recorded_data):
    pandas = pytest.importorskip("pandas")
    start, end = pandas.Timestamp("2018-04-04T00:00", tz="UTC"), pandas.Timestamp("2018-04-04T16:45", tz="UTC")
    bars = {}
    for index, base in enumerate(("BTC", "ETH", "LTC")):
        frame = pandas.read_parquet(recorded_data / "candles" / f"coinbase_{base}USD_1m.parquet")
        frame = frame[(frame["ts"] >= start) & (frame["ts"] < end)]
        bars[index] = np.zeros(len(frame), BAR_DTYPE)
        bars[index]["open_ns"] = frame["ts"].to_numpy("datetime64[ns]").astype("i8")
        for name in COLUMNS:
            bars[index][name] = frame[name]
    terms = [replace(SPOT, contract=Contract("spot", base, "USDT", "USDT")) for base in ("BTC", "ETH", "LTC")]
    result = replay(Pipeline(STRATEGY, {}, ["spot"] * 3), terms, bars, cash=D(100_000))
    # issue A asks for 30 orders and 10 round trips; the replay finds 140 fills and 70 round trips
    assert len(result.fills) >= 100
    assert result.round_trips >= 40
    assert {fill.leg for fill in result.fills} == {"entry", "exit", "stop"}
