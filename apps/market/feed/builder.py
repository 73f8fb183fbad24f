"""Bars from prints: when a bar closes, what it holds, and what a late print does to it.

One builder per instrument. It knows no socket and no database: prints, the venue's own bars and the connection's
clock go in; closed bars, revisions and holes come out. Closing is either the venue's confirmation, or a stamp on
the same connection that lies 250 ms past the bar's end: what was sent before that stamp has been read before it.
"""

from collections import deque

from apps.market.feed.candles import MINUTE_NS, SECOND_NS, Accumulator, ClosedBar, Difference, agrees, figures, same
from apps.market.providers.base import Kline, PrintRow
from apps.market.storage.rows import DIFFERED, EMPTY, REVISED

GRACE_NS = 250_000_000
KEEP_CLOSED_MINUTES = 3
KEEP_CLOSED_SECONDS = 10
REMEMBERED_TRADES = 1024


class Making:
    """A minute in the making: its prints, and the venue's own bar as last pushed."""

    __slots__ = ("closed", "is_whole", "kline", "prints")

    def __init__(self, is_whole: bool) -> None:
        self.prints = Accumulator()
        self.kline: Kline | None = None
        self.is_whole = is_whole  # we listened from its first moment on
        self.closed: ClosedBar | None = None


class BarBuilder:
    """The bars of one instrument, 1 s and 1 min; coarser ones are derived from stored minutes."""

    def __init__(self, instrument_id: int, *, with_seconds: bool = True) -> None:
        self.instrument_id = instrument_id
        self.next_open_ns = 0
        self.last_close: float | None = None
        self.last_print: PrintRow | None = None
        self.disagreements = 0
        self.differences: list[Difference] = []  # since the caller last emptied it
        self.duplicate_prints = 0
        self.fresh: list[PrintRow] = []  # of the newest call, those not seen before
        self.holes: list[tuple[int, int]] = []
        self._minutes: dict[int, Making] = {}
        self._is_heard = False
        self._with_seconds = with_seconds
        self._seconds_from_ns = 0
        self._seconds: dict[int, Accumulator] = {}
        self._closed_seconds: dict[int, Accumulator] = {}
        self._amended_seconds: set[int] = set()
        self._trade_ids: set[str] = set()
        self._trade_order: deque[str] = deque()

    def expect(self, open_ns: int) -> None:
        """Tell the first minute that the look into storage leaves to us.

        An instrument that is heard only after it, because a minute passed meanwhile, then knows of its hole.
        """
        self.next_open_ns = self.next_open_ns or open_ns

    def begin(self, clock_ns: int) -> None:
        """Start, or start again after a lost connection, at this stamp.

        The minute that runs now was not heard from its first moment, so only the venue's confirmation can close
        it. What should have closed since the last bar is a hole for the back-fill.
        """
        self._is_heard = True
        running_ns = clock_ns - clock_ns % MINUTE_NS
        if 0 < self.next_open_ns < running_ns:
            self.holes.append((self.next_open_ns, running_ns))
        self._minutes = {
            opened: making for opened, making in self._minutes.items() if opened >= running_ns or making.closed
        }
        self.next_open_ns = max(self.next_open_ns, running_ns)
        self._minute(self.next_open_ns).is_whole = False
        self._seconds.clear()
        self._seconds_from_ns = (clock_ns // SECOND_NS + 1) * SECOND_NS

    def lose(self) -> None:
        """Note that the connection is gone: no clock closes anything until this instrument is heard again.

        Others may be heard on the new connection first, and their stamps must not close what we did not hear.
        """
        self._is_heard = False

    def seed(self, last_close: float) -> None:
        """Tell the close before the first bar, so that a first minute without prints can be told."""
        if self.last_close is None:
            self.last_close = last_close

    def on_prints(self, rows: list[PrintRow], clock_ns: int, wall_ns: int) -> list[ClosedBar]:
        """Take prints in; return revisions of closed minutes that late ones made."""
        revised: set[int] = set()
        self.fresh = [row for row in rows if self._is_new(row.trade_id)]
        self.duplicate_prints += len(rows) - len(self.fresh)
        for row in self.fresh:
            opened = row.market_ns - row.market_ns % MINUTE_NS
            making = self._minute(opened) if opened >= self.next_open_ns else self._minutes.get(opened)
            if making is not None:
                making.prints.add(row)
                if making.closed is not None:
                    revised.add(opened)
            if self.last_print is None or row.market_ns >= self.last_print.market_ns:
                self.last_print = row
            if self._with_seconds:
                self._add_to_second(row)
        return [bar for opened in sorted(revised) if (bar := self._revise_from_prints(opened, clock_ns, wall_ns))]

    def on_kline(self, kline: Kline, clock_ns: int, wall_ns: int) -> list[ClosedBar]:
        """Take the venue's bar in; return what its confirmation closes or corrects."""
        if not self._is_heard:
            return []
        if kline.open_ns < self.next_open_ns:
            return self._correct(kline, clock_ns, wall_ns) if kline.is_closed else []
        self._minute(kline.open_ns).kline = kline
        if not kline.is_closed:
            return []
        bars = self._close_until(kline.open_ns, clock_ns, wall_ns)
        bars.append(self._close_by_kline(kline, clock_ns, wall_ns))
        return bars

    def on_clock(self, clock_ns: int, wall_ns: int) -> list[ClosedBar]:
        """Return the minutes that this stamp closes."""
        if not self._is_heard:
            return []
        return self._close_until((clock_ns - GRACE_NS) // MINUTE_NS * MINUTE_NS, clock_ns, wall_ns)

    def take_seconds(self, clock_ns: int) -> list[ClosedBar]:
        """Return the seconds with prints that have closed, and those that late prints amended."""
        limit = clock_ns - GRACE_NS - SECOND_NS
        due = [opened for opened in self._seconds if opened <= limit]
        for opened in due:
            self._closed_seconds[opened] = self._seconds.pop(opened)
        bars = [self._second_bar(opened, 0, clock_ns) for opened in sorted(due)]
        bars += [self._second_bar(opened, REVISED, clock_ns) for opened in sorted(self._amended_seconds)]
        self._amended_seconds.clear()
        oldest = clock_ns - KEEP_CLOSED_SECONDS * SECOND_NS
        self._closed_seconds = {opened: bar for opened, bar in self._closed_seconds.items() if opened >= oldest}
        return bars

    def making(self) -> tuple[int, float, float, float, float, float] | None:
        """Return the running minute as (open time, open, high, low, close, volume), None before its first print."""
        making = self._minutes.get(self.next_open_ns)
        if making is None:
            return None
        if making.is_whole and making.prints.trades:
            bar = making.prints
            return self.next_open_ns, bar.open, bar.high, bar.low, bar.close, float(bar.volume)
        if making.kline is not None:
            kline = making.kline
            return self.next_open_ns, kline.open, kline.high, kline.low, kline.close, kline.volume
        return None

    def _minute(self, opened: int) -> Making:
        making = self._minutes.get(opened)
        if making is None:
            making = self._minutes[opened] = Making(is_whole=True)
        return making

    def _is_new(self, trade_id: str) -> bool:
        if trade_id in self._trade_ids:
            return False
        self._trade_ids.add(trade_id)
        self._trade_order.append(trade_id)
        if len(self._trade_order) > REMEMBERED_TRADES:
            self._trade_ids.discard(self._trade_order.popleft())
        return True

    def _close_until(self, limit_ns: int, clock_ns: int, wall_ns: int) -> list[ClosedBar]:
        """Close by the clock, in order, the minutes that open before `limit_ns`."""
        bars = []
        while self.next_open_ns < limit_ns:
            bar = self._close_by_clock(self.next_open_ns, clock_ns, wall_ns)
            if bar is not None:
                bars.append(bar)
        return bars

    def _close_by_clock(self, opened: int, clock_ns: int, wall_ns: int) -> ClosedBar | None:
        making = self._minute(opened)
        if not making.is_whole or (making.prints.trades == 0 and self.last_close is None):
            # neither prints from its first moment nor a confirmation: the venue's history has to tell
            self.holes.append((opened, opened + MINUTE_NS))
            self._minutes.pop(opened, None)
            self.next_open_ns = opened + MINUTE_NS
            return None
        return self._closed(making, self._bar_of_prints(making.prints, opened, clock_ns, wall_ns))

    def _close_by_kline(self, kline: Kline, clock_ns: int, wall_ns: int) -> ClosedBar:
        making = self._minute(kline.open_ns)
        prints = making.prints
        bar = self._bar_of_kline(kline, prints.trades, clock_ns, wall_ns)
        if making.is_whole and not agrees(prints, kline):
            self._differ(self._bar_of_prints(prints, kline.open_ns, clock_ns, wall_ns), bar)
        return self._closed(making, bar)

    def _differ(self, ours: ClosedBar, venue: ClosedBar) -> None:
        """Note that the venue's bar says something else than the prints did, on the bar too: it stays to be seen."""
        self.disagreements += 1
        venue.flags |= DIFFERED
        self.differences.append(Difference(venue.open_ns, figures(ours), figures(venue)))

    def _closed(self, making: Making, bar: ClosedBar) -> ClosedBar:
        making.closed = bar
        self.last_close = bar.close
        self.next_open_ns = bar.open_ns + MINUTE_NS
        oldest = bar.open_ns - KEEP_CLOSED_MINUTES * MINUTE_NS
        self._minutes = {opened: kept for opened, kept in self._minutes.items() if opened >= oldest}
        return bar

    def _correct(self, kline: Kline, clock_ns: int, wall_ns: int) -> list[ClosedBar]:
        """Compare a late confirmation with the bar that the clock closed; the venue's figures win."""
        making = self._minutes.get(kline.open_ns)
        if making is None or making.closed is None:
            return []
        making.kline = kline
        bar = self._bar_of_kline(kline, making.prints.trades, clock_ns, wall_ns)
        if same(bar, making.closed):
            return []
        self._differ(making.closed, bar)
        bar.flags |= REVISED
        making.closed = bar
        if kline.open_ns + MINUTE_NS == self.next_open_ns:
            self.last_close = bar.close
        return [bar]

    def _revise_from_prints(self, opened: int, clock_ns: int, wall_ns: int) -> ClosedBar | None:
        making = self._minutes[opened]
        if making.closed is None or not making.is_whole:
            return None
        if making.kline is not None and making.kline.is_closed:
            return None  # the confirmation came after the minute's last print and counts it already
        bar = self._bar_of_prints(making.prints, opened, clock_ns, wall_ns)
        bar.flags |= REVISED
        making.closed = bar
        if opened + MINUTE_NS == self.next_open_ns:
            self.last_close = bar.close
        return bar

    def _bar_of_prints(self, prints: Accumulator, opened: int, clock_ns: int, wall_ns: int) -> ClosedBar:
        if prints.trades == 0:
            price = self.last_close if self.last_close is not None else float("nan")
            return ClosedBar(self.instrument_id, 60, opened, price, price, price, price, 0.0, 0.0, 0, EMPTY,
                             clock_ns, wall_ns)  # fmt: skip
        return ClosedBar(self.instrument_id, 60, opened, prints.open, prints.high, prints.low, prints.close,
                         float(prints.volume), float(prints.turnover), prints.trades, 0, clock_ns, wall_ns)  # fmt: skip

    def _bar_of_kline(self, kline: Kline, trades: int, clock_ns: int, wall_ns: int) -> ClosedBar:
        flags = EMPTY if kline.volume == 0 else 0
        return ClosedBar(self.instrument_id, 60, kline.open_ns, kline.open, kline.high, kline.low, kline.close,
                         kline.volume, kline.turnover, trades, flags, clock_ns, wall_ns)  # fmt: skip

    def _add_to_second(self, row: PrintRow) -> None:
        opened = row.market_ns - row.market_ns % SECOND_NS
        if opened < self._seconds_from_ns:
            return  # its first prints were not heard
        closed = self._closed_seconds.get(opened)
        if closed is not None:
            closed.add(row)
            self._amended_seconds.add(opened)
            return
        second = self._seconds.get(opened)
        if second is None:
            second = self._seconds[opened] = Accumulator()
        second.add(row)

    def _second_bar(self, opened: int, flags: int, clock_ns: int) -> ClosedBar:
        bar = self._closed_seconds[opened]
        return ClosedBar(self.instrument_id, 1, opened, bar.open, bar.high, bar.low, bar.close, float(bar.volume),
                         float(bar.turnover), bar.trades, flags, clock_ns)  # fmt: skip
