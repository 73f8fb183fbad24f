"""Recorded files: what is read, and what is said of a wrong one."""

import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from apps.simulator.markets.base import MarketError
from apps.simulator.markets.files import BarFile, TradeFile, file_find, file_read, finest_step
from apps.simulator.markets.plan import replay_plan, symbols_parse, terms_parse, time_text

HEADER = "ts,open,high,low,close,volume\n"
MINUTE = 60_000_000_000
AT = 1_522_800_000_000_000_000  # 2018-04-04T00:00


def _csv(folder: Path, name: str, *rows: str, header: str = HEADER) -> Path:
    path = folder / f"{name}.csv"
    path.write_text(header + "".join(row + "\n" for row in rows))
    return path


def _minutes(folder: Path, name: str, *spans: tuple[int, int]) -> Path:
    """Write flat bars for minutes counted from AT, each span (first, last)."""
    minutes = [minute for first, last in spans for minute in range(first, last + 1)]
    return _csv(folder, name, *(f"{AT // 10**9 + minute * 60},10.5,10.5,10.5,10.5,3" for minute in minutes))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (("2018-04-04T00:00:00,1,2,0.5,x,3",), "row 1, column `close`: x; expected a number"),
        (("2018-04-04T00:00:00,1,2,0.5,,3",), "row 1, column `close`: nan; expected a number"),
        (("2018-04-04T00:00:00,1,2,0,1,3",), "row 1, column `low`: 0.0; expected a price above 0"),
        (
            ("2018-04-04T00:00:00,1,2,0.5,1,3", "2018-04-04T00:01:00,1,0.9,0.5,1,3"),
            "row 2, column `high`: 0.9; expected at least open and close",
        ),
        (("2018-04-04T00:00:00,1,2,1.5,1,3",), "row 1, column `low`: 1.5; expected at most open and close"),
        (("2018-04-04T00:00:00,1,2,1,1,-3",), "row 1, column `volume`: -3.0; expected a volume of 0 or more"),
        (("2018-04-04T00:00:00,1,2,1,1,0",), "row 1, column `volume`: 0.0; expected above 0 where the price moves"),
        (("yesterday,1,2,1,1,1",), "row 1, column `ts`: yesterday; expected a UTC time"),
        (("2018-04-04T00:00:30,1,2,1,1,1",), "row 1, column `ts`: 2018-04-04T00:00:30.000000000; expected a whole"),
        (
            ("2018-04-04T00:01:00,1,2,1,1,1", "2018-04-04T00:00:00,1,2,1,1,1"),
            "row 2, column `ts`: 2018-04-04T00:00:00.000000000; expected a time after the row before",
        ),
        (
            ("2018-04-04T00:00:00,1,2,1,1,1", "2018-04-04T01:00:00,1,2,1,1,1"),
            "rows lie 3600 s apart; expected one-minute bars",
        ),
        ((), "has no rows"),
    ],
)
def test_a_wrong_row_is_named_with_column_row_and_what_was_expected(tmp_path, rows, words):
    path = _csv(tmp_path, "mine", *rows)
    with pytest.raises(MarketError) as error:
        file_read(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("ts,open,high,low,close\n", "column `volume` is missing; expected bars"),
        ("open,high,low,close,volume\n", "column `ts` is missing. It has: open, high, low, close, volume."),
        ("ts,price\n", "column `size` is missing; expected ts, price, size"),
    ],
)
def test_a_missing_column_is_named(tmp_path, header, words):
    path = _csv(tmp_path, "mine", ",".join(["1"] * header.count(",") + ["1"]), header=header)
    with pytest.raises(MarketError) as error:
        file_read(path)
    assert words in str(error.value)


def test_a_file_that_is_not_parquet_is_refused(tmp_path):
    path = tmp_path / "mine.parquet"
    path.write_text("no parquet")
    with pytest.raises(MarketError, match="cannot be read as Parquet"):
        file_read(path)


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_times_are_read_as_seconds_milli_micro_or_nanoseconds(tmp_path, unit):
    path = _csv(tmp_path, "mine", f"{AT // 10**9 * unit},1,2,0.5,1.25,3", f"{(AT + MINUTE) // 10**9 * unit},1,1,1,1,0")
    file = file_read(path)
    assert isinstance(file, BarFile)
    assert file.open_ns.tolist() == [AT, AT + MINUTE]
    assert file.columns["close"].tolist() == [1.25, 1.0]


def test_csv_and_parquet_give_the_same(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _csv(tmp_path, "mine", "2018-04-04 00:00:00+00:00,1,2,0.5,1.25,3", "2018-04-04T00:01:00Z,1,1,1,1,0.125")
    file = file_read(path)
    table = pa.table({"ts": pa.array(file.open_ns, pa.timestamp("ns", "UTC")), **file.columns})
    pq.write_table(table, tmp_path / "same.parquet")
    same = file_read(tmp_path / "same.parquet")
    assert isinstance(file, BarFile)
    assert isinstance(same, BarFile)
    assert same.open_ns.tolist() == file.open_ns.tolist() == [AT, AT + MINUTE]
    assert all(np.array_equal(same.columns[name], file.columns[name]) for name in file.columns)


def test_a_packed_csv_and_one_in_a_subfolder_are_found(tmp_path):
    (tmp_path / "deep").mkdir()
    with gzip.open(tmp_path / "deep" / "packed.csv.gz", "wt") as out:
        out.write(HEADER + "2018-04-04T00:00:00,1,2,0.5,1.25,3\n")
    assert isinstance(file_read(file_find(tmp_path, "packed")), BarFile)
    with pytest.raises(MarketError, match=r"no file other\.parquet, \.csv or \.csv\.gz under .* It holds: packed"):
        file_find(tmp_path, "other")
    with pytest.raises(MarketError, match="is no folder"):
        file_find(tmp_path / "none", "other")


def test_trades_are_told_by_their_columns_with_sides_where_they_have_them(tmp_path):
    header = "timestamp,price,quantity,buyer_maker\n"
    path = _csv(tmp_path, "t", "1522800000123,10.5,2,True", "1522800000123,10.6,0.5,False", header=header)
    file = file_read(path)
    assert isinstance(file, TradeFile)
    assert file.ts_ns.tolist() == [AT + 123_000_000] * 2
    assert file.is_buy is not None
    assert file.is_buy.tolist() == [False, True]
    wrong = _csv(tmp_path, "w", "1522800000123,10.5,2,both", header="ts,price,size,side\n")
    with pytest.raises(MarketError, match="row 1, column `side`: both; expected buy or sell"):
        file_read(wrong)


def test_the_finest_decimals_make_the_terms():
    assert finest_step(np.array([7424.91, 7422.0])) == (2, 0.01)
    assert finest_step(np.array([0.00171444, 45.28798792])) == (8, 1e-8)
    assert finest_step(np.array([5.0, 100.0]))[0] == 0
    assert finest_step(np.array([123456.123456, 0.1]))[0] == 6


def test_the_latest_span_that_all_files_share_is_played_by_default(tmp_path):
    _minutes(tmp_path, "a", (0, 99), (500, 699), (2000, 2010))
    _minutes(tmp_path, "b", (50, 99), (530, 800))
    plan = replay_plan(tmp_path, "a=BTC/USDT,b=ETH/USDT:USDT")
    assert plan.from_ns == AT + 530 * MINUTE
    assert plan.end_ns == AT + 700 * MINUTE
    assert "tick 0.1, lot 1, 30 minutes of history" in plan.describe()[0]
    assert "linear ETHUSDT" in plan.describe()[1]


def test_files_that_share_nothing_and_times_outside_them_are_refused(tmp_path):
    _minutes(tmp_path, "a", (0, 99))
    _minutes(tmp_path, "b", (500, 599))
    with pytest.raises(MarketError, match="share no span"):
        replay_plan(tmp_path, "a=BTC/USDT,b=ETH/USDT")
    with pytest.raises(MarketError, match=r"b\.csv begins at 2018-04-04T08:20"):
        replay_plan(tmp_path, "a=BTC/USDT,b=ETH/USDT", from_="2018-04-04T00:10")
    with pytest.raises(MarketError, match=r"a\.csv ends at 2018-04-04T01:39"):
        replay_plan(tmp_path, "a=BTC/USDT", to="2018-04-04T09:00")
    with pytest.raises(MarketError, match="lies before --from"):
        replay_plan(tmp_path, "a=BTC/USDT", from_="2018-04-04T01:00", to="2018-04-04T00:10")
    with pytest.raises(MarketError, match="must be a whole minute"):
        replay_plan(tmp_path, "a=BTC/USDT", from_="2018-04-04T01:00:30")
    with pytest.raises(MarketError, match="is no time"):
        replay_plan(tmp_path, "a=BTC/USDT", from_="noon")
    assert time_text(replay_plan(tmp_path, "a=BTC/USDT", to="2018-04-04T00:10").end_ns) == "2018-04-04T00:11"


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        ("", "--symbols is missing"),
        ("a", "'a' is no FILE=SYMBOL"),
        ("a=BTC/USDT,b=BTC/USDT", "BTC/USDT stands twice"),
        ("a=BTCUSDT", "'BTCUSDT' is no symbol"),
        ("a=BTC/USDT:BTC", "'BTC/USDT:BTC' is no symbol"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path, symbols, words):
    _minutes(tmp_path, "a", (0, 3))
    with pytest.raises(MarketError) as error:
        replay_plan(tmp_path, symbols)
    assert words in str(error.value)


def test_terms_are_read_and_a_tick_too_coarse_is_refused(tmp_path):
    _minutes(tmp_path, "a", (0, 3))
    assert terms_parse("BTC/USDT:USDT=0.1:0.001") == {"BTC/USDT:USDT": (Decimal("0.1"), Decimal("0.001"))}
    assert symbols_parse("a=BTC/USDT, b=ETH/USDT") == [("a", "BTC/USDT"), ("b", "ETH/USDT")]
    with pytest.raises(MarketError, match="rounds to 0 ticks of 50"):
        replay_plan(tmp_path, "a=BTC/USDT", terms="BTC/USDT=50:1")
    with pytest.raises(MarketError, match="is no SYMBOL=TICK:LOT"):
        replay_plan(tmp_path, "a=BTC/USDT", terms="BTC/USDT=0.1")
    with pytest.raises(MarketError, match="above 0"):
        replay_plan(tmp_path, "a=BTC/USDT", terms="BTC/USDT=0.1:0")
    with pytest.raises(MarketError, match="ETH/USDT is not among --symbols"):
        replay_plan(tmp_path, "a=BTC/USDT", terms="ETH/USDT=0.1:0.1")


def test_the_least_notional_is_five_in_cash_and_next_to_nothing_in_another_coin(tmp_path):
    _minutes(tmp_path, "a", (0, 3))
    plan = replay_plan(tmp_path, "a=BTC/USDT", terms="BTC/USDT=0.1:0.001")
    assert plan.recordings[0].spec.min_notional == 5
    plan = replay_plan(tmp_path, "a=ETH/BTC", terms="ETH/BTC=0.1:0.001")
    assert plan.recordings[0].spec.min_notional == Decimal("0.0001")
