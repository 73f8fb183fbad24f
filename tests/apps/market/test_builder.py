"""When a bar closes, what it holds, and what late prints and late confirmations do to it."""

from decimal import Decimal
from itertools import count

import pytest

from apps.market.feed.builder import GRACE_NS, BarBuilder
from apps.market.feed.candles import MINUTE_NS, SECOND_NS
from apps.market.providers.base import Kline, PrintRow
from apps.market.storage.rows import DIFFERED, EMPTY, REVISED
from tests.apps.market.factories import BASE_NS

_ids = count(1)


def _print(at_ns: int, price: str, size: str = "1", trade_id: str = "") -> PrintRow:
    return PrintRow(trade_id or f"t{next(_ids)}", BASE_NS + at_ns, Decimal(price), Decimal(size), 1)


def _kline(opened: int, ohlc: tuple, volume: float, closed: bool = True) -> Kline:
    return Kline(BASE_NS + opened, *ohlc, volume, volume * ohlc[3], closed)


@pytest.fixture
def builder() -> BarBuilder:
    """A builder that has listened since before the first minute of the tests."""
    made = BarBuilder(7)
    made.begin(BASE_NS - MINUTE_NS // 2)
    made.on_kline(_kline(-MINUTE_NS, (99.0, 99.0, 99.0, 99.0), 1.0), BASE_NS, 0)
    return made


def test_a_bar_closes_when_a_stamp_lies_250_ms_past_its_end_and_not_before(builder: BarBuilder) -> None:
    builder.on_prints(
        [_print(0, "100"), _print(SECOND_NS, "103", "0.1"), _print(2 * SECOND_NS, "98", "0.2")], BASE_NS, 0
    )
    assert builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS - 1, 0) == []
    (bar,) = builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 5)
    assert (bar.open, bar.high, bar.low, bar.close) == (100.0, 103.0, 98.0, 98.0)
    assert (bar.volume, bar.turnover, bar.trades) == (1.3, 129.9, 3)
    assert (bar.flags, bar.known_ns, bar.closing_frame_wall_ns) == (0, BASE_NS + MINUTE_NS + GRACE_NS, 5)


def test_the_confirmation_closes_at_once_and_counts_the_prints(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100"), _print(9, "101")], BASE_NS, 0)
    (bar,) = builder.on_kline(_kline(0, (100.0, 101.0, 100.0, 101.0), 2.0), BASE_NS + MINUTE_NS, 0)
    assert (bar.close, bar.volume, bar.trades) == (101.0, 2.0, 2)
    assert builder.disagreements == 0
    assert builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0) == []


def test_a_confirmation_that_disagrees_with_the_prints_wins_and_is_counted(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100")], BASE_NS, 0)
    (bar,) = builder.on_kline(_kline(0, (100.0, 105.0, 100.0, 104.0), 3.0), BASE_NS + MINUTE_NS, 0)
    assert (bar.high, bar.close, bar.volume) == (105.0, 104.0, 3.0)
    assert bar.flags == DIFFERED
    assert builder.disagreements == 1
    (found,) = builder.differences
    assert found.words() == "high 100 against 105, close 100 against 104, volume 1 against 3"


def test_a_minute_without_prints_is_empty_at_the_last_close(builder: BarBuilder) -> None:
    (bar,) = builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.flags) == (99.0, 99.0, 99.0, 99.0, 0.0, EMPTY)


def test_three_silent_minutes_close_in_order(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100")], BASE_NS, 0)
    bars = builder.on_clock(BASE_NS + 3 * MINUTE_NS + GRACE_NS, 0)
    assert [bar.open_ns - BASE_NS for bar in bars] == [0, MINUTE_NS, 2 * MINUTE_NS]
    assert [bar.flags for bar in bars] == [0, EMPTY, EMPTY]
    assert {bar.close for bar in bars} == {100.0}


def test_a_late_print_makes_a_revision_of_a_bar_that_the_clock_closed(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100")], BASE_NS, 0)
    builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0)
    (bar,) = builder.on_prints([_print(MINUTE_NS - 1, "107")], BASE_NS + MINUTE_NS + GRACE_NS, 0)
    assert (bar.open_ns, bar.high, bar.close, bar.volume) == (BASE_NS, 107.0, 107.0, 2.0)
    assert bar.flags & REVISED


def test_a_late_confirmation_corrects_only_what_differs(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100")], BASE_NS, 0)
    builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0)
    now = BASE_NS + MINUTE_NS + 2 * GRACE_NS
    assert builder.on_kline(_kline(0, (100.0, 100.0, 100.0, 100.0), 1.0), now, 0) == []
    (bar,) = builder.on_kline(_kline(0, (100.0, 102.0, 100.0, 100.0), 1.5), now, 0)
    assert (bar.high, bar.volume, bar.flags) == (102.0, 1.5, REVISED | DIFFERED)


def test_an_empty_minute_after_a_corrected_one_stands_at_the_corrected_close(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100")], BASE_NS, 0)
    builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0)
    builder.on_kline(_kline(0, (100.0, 102.0, 100.0, 101.5), 1.5), BASE_NS + MINUTE_NS + 2 * GRACE_NS, 0)
    (bar,) = builder.on_clock(BASE_NS + 2 * MINUTE_NS + GRACE_NS, 0)
    assert (bar.close, bar.flags) == (101.5, EMPTY)


def test_a_print_repeated_by_the_venue_is_counted_once(builder: BarBuilder) -> None:
    row = _print(0, "100", trade_id="same")
    builder.on_prints([row, row], BASE_NS, 0)
    builder.on_prints([row], BASE_NS, 0)
    (bar,) = builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0)
    assert (bar.volume, bar.trades, builder.duplicate_prints) == (1.0, 1, 2)


def test_prints_of_the_next_minute_read_within_the_grace_belong_to_it(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100"), _print(MINUTE_NS + 1, "110"), _print(MINUTE_NS - 1, "95")], BASE_NS, 0)
    first, second = builder.on_clock(BASE_NS + 2 * MINUTE_NS + GRACE_NS, 0)
    assert (first.close, first.low, first.volume) == (95.0, 95.0, 2.0)
    assert (second.open, second.volume) == (110.0, 1.0)


def test_the_minute_of_a_new_connection_closes_only_by_the_confirmation() -> None:
    builder = BarBuilder(7)
    builder.seed(99.0)
    builder.begin(BASE_NS + 30 * SECOND_NS)
    builder.on_prints([_print(40 * SECOND_NS, "100")], BASE_NS, 0)
    (bar,) = builder.on_kline(_kline(0, (90.0, 100.0, 90.0, 100.0), 50.0), BASE_NS + MINUTE_NS, 0)
    assert (bar.open, bar.volume) == (90.0, 50.0)
    assert builder.disagreements == 0


def test_the_minute_of_a_new_connection_is_a_hole_when_no_confirmation_comes() -> None:
    builder = BarBuilder(7)
    builder.begin(BASE_NS + 30 * SECOND_NS)
    builder.on_prints([_print(40 * SECOND_NS, "100"), _print(MINUTE_NS, "101")], BASE_NS, 0)
    assert builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0) == []
    assert builder.holes == [(BASE_NS, BASE_NS + MINUTE_NS)]
    (bar,) = builder.on_clock(BASE_NS + 2 * MINUTE_NS + GRACE_NS, 0)
    assert (bar.open_ns, bar.open) == (BASE_NS + MINUTE_NS, 101.0)


def test_an_outage_over_minutes_is_one_hole_and_the_running_minute_waits_for_the_venue(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100")], BASE_NS, 0)
    builder.begin(BASE_NS + 4 * MINUTE_NS + SECOND_NS)
    assert builder.holes == [(BASE_NS, BASE_NS + 4 * MINUTE_NS)]
    assert builder.next_open_ns == BASE_NS + 4 * MINUTE_NS
    (bar,) = builder.on_kline(_kline(4 * MINUTE_NS, (1.0, 1.0, 1.0, 1.0), 2.0), BASE_NS + 5 * MINUTE_NS, 0)
    assert bar.volume == 2.0


@pytest.mark.parametrize(("minute", "holes"), [(0, []), (2, [(BASE_NS, BASE_NS + 2 * MINUTE_NS)])])
def test_what_passes_between_the_look_into_storage_and_the_first_frame_is_a_hole(minute: int, holes: list) -> None:
    builder = BarBuilder(7)
    builder.expect(BASE_NS)
    builder.begin(BASE_NS + minute * MINUTE_NS + SECOND_NS)
    assert builder.holes == holes
    builder.expect(BASE_NS)  # it is heard: its own minute counts
    assert builder.next_open_ns == BASE_NS + minute * MINUTE_NS


def test_a_reconnect_within_a_minute_leaves_no_hole_but_trusts_the_prints_no_more(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100")], BASE_NS, 0)
    builder.begin(BASE_NS + 30 * SECOND_NS)
    assert builder.holes == []
    assert builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0) == []
    assert builder.holes == [(BASE_NS, BASE_NS + MINUTE_NS)]


def test_stamps_of_others_on_a_new_connection_close_nothing_that_was_not_heard(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100")], BASE_NS, 0)
    builder.lose()
    assert builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0) == []
    builder.begin(BASE_NS + MINUTE_NS + SECOND_NS)
    assert builder.holes == [(BASE_NS, BASE_NS + MINUTE_NS)]


def test_a_first_minute_without_prints_and_without_a_known_price_is_a_hole() -> None:
    builder = BarBuilder(7)
    builder.begin(BASE_NS - SECOND_NS)
    builder.on_clock(BASE_NS + MINUTE_NS + GRACE_NS, 0)
    assert builder.holes == [(BASE_NS - MINUTE_NS, BASE_NS), (BASE_NS, BASE_NS + MINUTE_NS)]


def test_a_kline_before_the_first_stamp_is_left_alone() -> None:
    assert BarBuilder(7).on_kline(_kline(0, (1.0, 1.0, 1.0, 1.0), 1.0), BASE_NS, 0) == []
    assert BarBuilder(7).on_clock(BASE_NS, 0) == []
    assert BarBuilder(7).making() is None


def test_seconds_close_by_the_clock_and_are_amended_by_late_prints(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100"), _print(SECOND_NS // 2, "101"), _print(SECOND_NS, "102")], BASE_NS, 0)
    (bar,) = builder.take_seconds(BASE_NS + SECOND_NS + GRACE_NS)
    assert (bar.timeframe_s, bar.open_ns, bar.close, bar.volume) == (1, BASE_NS, 101.0, 2.0)
    builder.on_prints([_print(SECOND_NS - 1, "90")], BASE_NS, 0)
    (amended,) = builder.take_seconds(BASE_NS + SECOND_NS + GRACE_NS + 1)
    assert (amended.open_ns, amended.low, amended.volume, amended.flags) == (BASE_NS, 90.0, 3.0, REVISED)
    (second,) = builder.take_seconds(BASE_NS + 2 * SECOND_NS + GRACE_NS)
    assert second.open == 102.0


def test_the_second_in_which_a_connection_began_is_not_told() -> None:
    builder = BarBuilder(7)
    builder.begin(BASE_NS + SECOND_NS // 2)
    builder.on_prints([_print(SECOND_NS // 2 + 1, "100"), _print(SECOND_NS, "101")], BASE_NS, 0)
    (bar,) = builder.take_seconds(BASE_NS + 3 * SECOND_NS)
    assert bar.open_ns == BASE_NS + SECOND_NS


def test_the_bar_in_the_making_follows_prints_or_the_venue(builder: BarBuilder) -> None:
    builder.on_prints([_print(0, "100"), _print(1, "104")], BASE_NS, 0)
    assert builder.making() == (BASE_NS, 100.0, 104.0, 100.0, 104.0, 2.0)
    builder.begin(BASE_NS + SECOND_NS)
    builder.on_kline(_kline(0, (100.0, 106.0, 100.0, 105.0), 9.0, closed=False), BASE_NS + SECOND_NS, 0)
    assert builder.making() == (BASE_NS, 100.0, 106.0, 100.0, 105.0, 9.0)
