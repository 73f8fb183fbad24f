"""The main job on real recorded input: three coinbase files of one day through the exchange's protocol, to the cent.

One run of the whole stack with the pacer, then every check on what it left behind; the last two end it and go on.
"""

import json
import re
import urllib.request
from collections import defaultdict
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from tests.stack import RunningStack

pytestmark = [pytest.mark.stack, pytest.mark.data]
FILES = {"BTC/USDT": "coinbase_BTCUSD_1m", "ETH/USDT": "coinbase_ETHUSD_1m", "LTC/USDT": "coinbase_LTCUSD_1m"}
SPAN = ("2018-04-04T00:00", "2018-04-04T16:45")
MINUTES = 1006
CENT = Decimal("0.01")
# the pacer goes on after 2 s wall: on a loaded machine a bar may then come when a newer one is known, and is late
LATE_MOST = 30
POSITION_LIMIT = "900"  # in USDT, for LTC alone: it binds there
LIMIT_SET = """
from decimal import Decimal
from apps.market.models import Instrument
from apps.portfolio.models import Account
from apps.risk.services import limit_set
limit_set(check_name="position_notional", value=Decimal("{value}"), by="test", reason="to see it refuse",
          account=Account.objects.get(), instrument=Instrument.objects.get(symbol="{symbol}"))
"""

# the page as a person sees it, from the stack's own database and bus
DESK_PAGE = """
from django.test import Client
from apps.users.services import person_ensure
client = Client(headers={"host": "127.0.0.1"})
client.force_login(person_ensure(name="captain"), backend="django.contrib.auth.backends.ModelBackend")
print(client.get("/").content.decode())
"""


@pytest.fixture(scope="module")
def day(recorded_data, tmp_path_factory):
    """The stack after the recorded day has ended."""
    symbols = ",".join(f"{file}={symbol}" for symbol, file in FILES.items())
    arguments = ["--market", "replay", "--data", str(recorded_data / "candles"), "--symbols", symbols]
    arguments += ["--from", SPAN[0], "--to", SPAN[1], "--speed", "max"]
    with RunningStack(*arguments) as stack:
        stack.wait(lambda: stack.query("select 1 from market_instrument where symbol = 'LTC/USDT'"), "instruments", 90)
        stack.manage("shell", "-c", LIMIT_SET.format(value=POSITION_LIMIT, symbol="LTC/USDT"))
        stack.wait(lambda: "replay ended" in stack.output.read_text(), "the replay ends", 300, every_s=0.5)
        stack.wait(lambda: settled(stack), "the desk has settled", 30)
        yield stack


def settled(stack) -> bool:
    """Whether no order is in flight and the venue agrees, after the market's end."""
    open_states = "('created', 'sent', 'unknown', 'cancelling')"
    in_flight = stack.query(f"select count(*) from execution_order where state in {open_states}")[0][0]
    last_fill = stack.query("select coalesce(max(booked_at), 'epoch') from execution_fill")[0][0]
    after = stack.query("select count(*) from execution_reconciliation where at > %s", last_fill)[0][0]
    return in_flight == 0 and after > 0


def venue_state(stack) -> dict:
    url, token = stack.control()
    request = urllib.request.Request(f"{url}/state", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found = json.loads(answer.read())
    accounts = found["accounts"] if isinstance(found, dict) else found
    return next(iter(accounts.values())) if isinstance(accounts, dict) else accounts[0]


def recorded(recorded_data, symbol: str) -> pl.DataFrame:
    start, end = (pl.lit(text).str.to_datetime(time_unit="ns", time_zone="UTC") for text in SPAN)
    frame = pl.read_parquet(recorded_data / "candles" / f"{FILES[symbol]}.parquet")
    return frame.filter((pl.col("ts") >= start) & (pl.col("ts") <= end)).sort("ts")


@pytest.mark.parametrize("symbol", list(FILES))
def test_bars_in_storage_equal_the_recorded_ones(day, recorded_data, symbol):
    rows = day.query(
        """select distinct on (open_ns) open_ns, open, high, low, close, volume, tick, lot from market_bar_day b
           join market_instrument i on i.id = b.instrument_id
           join market_instrumentterms t on t.instrument_id = i.id
           where i.symbol = %s and timeframe_s = 60 and flags & 1 = 0 order by open_ns, revision desc""",
        symbol,
    )
    expected = recorded(recorded_data, symbol)
    assert len(expected) == MINUTES
    assert [row[0] for row in rows] == expected["ts"].dt.epoch("ns").to_list()
    tick, lot = float(rows[0][6]), float(rows[0][7])
    for column, name in enumerate(("open", "high", "low", "close"), 1):
        ours = np.array([float(row[column]) for row in rows])
        assert np.array_equal(np.rint(ours / tick), np.rint(expected[name].to_numpy() / tick)), name
    volume = np.array([float(row[5]) for row in rows])
    assert np.array_equal(np.rint(volume / lot), np.rint(expected["volume"].to_numpy() / lot))


def test_no_bar_is_missing_or_doubled(day):
    rows = day.query(
        """select instrument_id, count(*), count(distinct open_ns), (max(open_ns) - min(open_ns)) / 60000000000 + 1
           from market_bar_day where timeframe_s = 60 and revision = 0 group by 1"""
    )
    assert len(rows) == 3
    assert {row[1:] for row in rows} == {(MINUTES, MINUTES, MINUTES)}


def test_every_decision_keeps_its_features_and_its_reason(day):
    total, without, late = day.query(
        """select count(*), count(*) filter (where reason = '' or (outcome <> 'late' and features = '{}'::jsonb)),
                  count(*) filter (where outcome = 'late') from strategies_decision"""
    )[0]
    assert without == 0
    assert late <= LATE_MOST
    assert total == 3 * MINUTES  # the market stands until the desk is ready: not one bar goes by without it


def test_it_trades_enough_to_mean_something(day):
    filled = "leg in ('entry', 'exit') and filled > 0"
    assert day.query(f"select count(*) from execution_order where {filled}")[0][0] >= 30
    assert day.query("select count(*) from strategies_signal where state = 'refused'")[0][0] >= 1
    partial = day.query("select order_id from execution_fill where order_id is not null group by 1 having count(*) > 1")
    assert len(partial) >= 1
    assert round_trips(day) >= 10


def round_trips(stack) -> int:
    """Count how often a sub-ledger came back to flat: less than one lot left."""
    lots = dict(stack.query("select instrument_id, lot from market_instrumentterms"))
    fills = stack.query(
        """select instrument_id, owner, side, quantity, fee, fee_currency, base from execution_fill f
           join market_instrument i on i.id = f.instrument_id order by f.market_at, f.id"""
    )
    held: dict[tuple, Decimal] = defaultdict(Decimal)
    trips = 0
    for instrument, owner, side, quantity, fee, currency, base in fills:
        key = (instrument, owner)
        before = held[key]
        held[key] += quantity if side == "buy" else -quantity
        if currency == base:
            held[key] -= fee
        trips += abs(before) >= lots[instrument] > abs(held[key])
    return trips


def test_the_position_limit_refuses_with_number_and_limit(day):
    rows = day.query(
        """select check_name, number, "limit", detail from risk_refusal r
           join market_instrument i on i.id = r.instrument_id where i.symbol = 'LTC/USDT'"""
    )
    bound = [row for row in rows if row[0] == "position_notional"]
    assert bound
    assert all(number > limit == Decimal(POSITION_LIMIT) and detail for _, number, limit, detail in bound)


def test_at_most_one_order_of_the_venue_for_each_of_ours_and_each_fill_booked_once(day):
    accepted = day.ledger("order")
    ids = [row["link_id"] for row in accepted]
    assert len(ids) == len(set(ids))
    venue_fills = {row["exec_id"] for row in day.ledger("fill")}
    booked = [row[0] for row in day.query("select venue_fill_id from execution_fill")]
    assert len(booked) == len(set(booked))
    assert set(booked) == venue_fills


def test_accounting_equals_the_venues_to_the_cent_without_an_adjustment(day):
    assert day.query("select count(*) from portfolio_cashmovement where kind = 'adjustment'")[0][0] == 0
    assert (
        day.query("select count(*) from portfolio_position where owner = 'unattributed' and quantity <> 0")[0][0] == 0
    )
    wallets = {coin: Decimal(amount) for coin, amount in venue_state(day)["wallets"].items()}
    cash = dict(day.query("select currency, amount from portfolio_cashbalance"))
    assert abs(cash["USDT"] - wallets["USDT"]) < CENT
    held = dict(day.query("select i.base, sum(quantity) from portfolio_position p "
                          "join market_instrument i on i.id = p.instrument_id group by 1"))  # fmt: skip
    for coin in ("BTC", "ETH", "LTC"):
        assert held.get(coin, Decimal(0)) == wallets.get(coin, Decimal(0)), coin


def test_the_market_stands_at_its_start_until_the_desk_has_reconciled(day):
    start_ns = int(np.datetime64(SPAN[0], "ns").astype("int64"))
    ready_ns = int(day.query("select extract(epoch from min(reconciled_at)) * 1000000000 from execution_session")[0][0])
    before = [row for row in day.ledger("request") if row["wall_ns"] < ready_ns]
    assert before, "the desk has asked for balances and orders"
    assert {row["market_ns"] for row in before} == {start_ns}


@pytest.mark.parametrize("file", list(FILES.values()))
def test_tick_and_lot_of_each_file_are_printed_at_the_start(day, file):
    [line] = [line for line in day.output.read_text().splitlines() if line.startswith(file)]
    assert re.search(r"tick 0\.\d+, lot 0\.\d+", line), line


def test_the_desk_page_shows_equity_orders_and_fills_of_the_replay(day):
    html = day.manage("shell", "-c", DESK_PAGE).stdout
    equity = day.query("select equity from portfolio_equitysnapshot order by market_at desc limit 1")[0][0]
    shown = re.search(r'data-figure="equity">([^<]+)<', html)
    assert shown
    assert abs(Decimal(re.sub(r"[^\d.]", "", shown[1])) - equity) < 1
    resting = day.query("select count(*) from execution_order where state = 'acknowledged'")[0][0]
    assert f'data-count="orders">{resting}<' in html
    fills = html.partition('id="panel-fills"')[2].partition('id="panel-refusals"')[0]
    assert fills.count("<tr id=") == min(60, day.query("select count(*) from execution_fill")[0][0])
    strip = html.partition('<header class="strip">')[2].partition("</header>")[0]
    assert "replay ended" in strip
    assert "stale" not in strip


def test_the_end_of_the_replay_is_said_and_nothing_is_called_stale(day):
    health = day.status()["residents"]
    assert {row["kind"] for row in health} >= {"feed", "desk", "relay"}
    assert all(row["state"] != "stale" for row in health)


# these two stop the module's stack


def test_a_graceful_stop_prints_what_rests_and_the_same_command_resumes_the_epoch(day):
    resting = day.query("select count(*) from execution_order where state = 'acknowledged'")[0][0]
    before = figures(day)
    day.stop()
    _, found, lines = day.output.read_text().partition("resting at the venue, account Simulated, ")
    assert found
    said = [line for line in lines.splitlines() if line.startswith("  ") and "nothing rests" not in line]
    assert len(said) == resting
    assert all(" stop at " in line for line in said)
    start_again(day)
    day.wait(lambda: "replay ended" in day.output.read_text(), "the replay is at its end", 60)
    assert figures(day) == before


def test_a_new_epoch_begins_when_it_is_asked_for(day):
    bars = figures(day)[1]
    day.stop()
    day.arguments = (*day.arguments, "--new-epoch")
    start_again(day)
    epochs = day.wait(lambda: newest_epoch(day) == (2, 0), "another epoch, without an order", 60)
    assert epochs
    assert figures(day)[1] == bars, "what the first one left is kept"


def start_again(stack) -> None:
    stack.output.write_text("")
    stack.start()


def figures(stack) -> tuple:
    """The current epoch's number, and how many bars, orders and fills there are of the first one."""
    return stack.query(
        """select (select number from market_epoch where is_current), (select count(*) from market_bar_day b
               join market_epoch e on e.id = b.epoch_id where e.number = 1 and timeframe_s = 60),
               (select count(*) from execution_order), (select count(*) from execution_fill)"""
    )[0]


def newest_epoch(stack) -> tuple | None:
    """The current epoch's number and its orders; None while its account is being made."""
    found = stack.query(
        """select e.number, count(o.id) from market_epoch e join portfolio_account a on a.epoch_id = e.id
           left join execution_order o on o.account_id = a.id where e.is_current group by 1"""
    )
    return found[0] if found else None
