"""One mapped file in the instrument's own terms: whole ticks, whole lots, minutes."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from apps.simulator.markets.base import BAR_DTYPE, MINUTE_NS, InstrumentSpec, MarketError, Side
from apps.simulator.markets.files import BarFile, TradeFile, finest_step
from apps.simulator.markets.listing import linear_spec, spot_spec
from apps.simulator.markets.path import waypoints

SPAN_GAP_NS = 60 * MINUTE_NS  # a longer hole ends a span

Terms = tuple[Decimal, Decimal]  # tick, lot


class Trades:
    """Recorded trades in ticks and lots, found by minute."""

    def __init__(self, file: TradeFile, tick: float, lot: float) -> None:
        self._ts_ns = file.ts_ns
        self._ticks = np.rint(file.price / tick).astype(np.int64)
        self._lots = np.maximum(np.rint(file.size / lot).astype(np.int64), 1)
        rising = np.concatenate([[True], np.diff(self._ticks) >= 0])
        self._is_buy = file.is_buy if file.is_buy is not None else rising

    def rows(self, open_ns: int) -> list[tuple[int, int, int, Side]]:
        """Return a minute's trades as (offset ns, ticks, lots, side)."""
        first, last = np.searchsorted(self._ts_ns, [open_ns, open_ns + MINUTE_NS])
        part = slice(int(first), int(last))
        sides: list[Side] = ["Buy" if buy else "Sell" for buy in self._is_buy[part].tolist()]
        return list(
            zip(
                (self._ts_ns[part] - open_ns).tolist(),
                self._ticks[part].tolist(),
                self._lots[part].tolist(),
                sides,
                strict=True,
            )
        )

    def bars(self) -> np.ndarray:
        """Return the minutes that hold trades, dtype BAR_DTYPE."""
        minutes = self._ts_ns // MINUTE_NS
        first = np.concatenate([[0], np.nonzero(np.diff(minutes))[0] + 1])
        last = np.concatenate([first[1:], [len(minutes)]])
        bars = np.empty(len(first), BAR_DTYPE)
        bars["open_ns"] = minutes[first] * MINUTE_NS
        bars["open"], bars["close"] = self._ticks[first], self._ticks[last - 1]
        bars["high"] = np.maximum.reduceat(self._ticks, first)
        bars["low"] = np.minimum.reduceat(self._ticks, first)
        bars["volume"] = np.add.reduceat(self._lots, first)
        bars["turnover"] = np.add.reduceat(self._ticks * self._lots.astype(np.float64), first)
        bars["prints"] = last - first
        return bars


class Recording:
    """A file mapped to an instrument. `trades` is None where the file holds bars."""

    def __init__(self, spec: InstrumentSpec, file: BarFile | TradeFile) -> None:
        self.spec, self.name = spec, file.name
        tick, lot = float(spec.tick), float(spec.lot)
        if isinstance(file, TradeFile):
            self.trades: Trades | None = Trades(file, tick, lot)
            self._bars = self.trades.bars()
        else:
            self.trades = None
            self._bars = _rounded(file, tick, lot)
        if int(self._bars["low"].min()) < 1:
            raise MarketError(f"{file.name}: a price rounds to 0 ticks of {spec.tick}. Fix: --terms with a finer tick.")
        self._row = {open_ns: row for row, open_ns in enumerate(self._bars["open_ns"].tolist())}

    @property
    def first_ns(self) -> int:
        """Return the open time of the first minute."""
        return int(self._bars["open_ns"][0])

    @property
    def last_ns(self) -> int:
        """Return the open time of the last minute."""
        return int(self._bars["open_ns"][-1])

    def spans(self) -> list[tuple[int, int]]:
        """Return (first, last) open times of stretches without a hole of more than an hour."""
        opens = self._bars["open_ns"]
        breaks = np.nonzero(np.diff(opens) > SPAN_GAP_NS)[0]
        firsts = np.concatenate([[0], breaks + 1])
        lasts = np.concatenate([breaks, [len(opens) - 1]])
        return [(int(opens[a]), int(opens[b])) for a, b in zip(firsts, lasts, strict=True)]

    def bar(self, open_ns: int) -> np.void | None:
        """Return a minute's bar; None where the file has none, or one without volume."""
        row = self._row.get(open_ns)
        if row is None or not self._bars["volume"][row]:
            return None
        return self._bars[row]

    def bar_at_or_before(self, open_ns: int) -> np.void:
        """Return the bar of this minute or of the last one before it that the file holds."""
        row = int(np.searchsorted(self._bars["open_ns"], open_ns, side="right")) - 1
        return self._bars[max(row, 0)]

    def price_before(self, at_ns: int) -> int:
        """Return the last close by `at_ns`, in ticks; before the file begins, its first open."""
        row = int(np.searchsorted(self._bars["open_ns"], at_ns - MINUTE_NS, side="right")) - 1
        return int(self._bars["close"][row]) if row >= 0 else int(self._bars["open"][0])

    def bars_before(self, at_ns: int) -> np.ndarray:
        """Return the minutes that end at `at_ns` and reach back without a missing one."""
        rows = self._bars[self._bars["open_ns"] < at_ns]
        if not len(rows) or int(rows["open_ns"][-1]) != at_ns - MINUTE_NS:
            return rows[:0]
        holes = np.nonzero(np.diff(rows["open_ns"]) != MINUTE_NS)[0]
        return rows[holes[-1] + 1 :] if len(holes) else rows


def recording_make(symbol: str, file: BarFile | TradeFile, terms: Terms | None) -> Recording:
    """Return the recording of a file as a unified symbol: `BTC/USDT` is spot, `BTC/USDT:USDT` a linear perpetual."""
    base, quote, settle = symbol_parts(symbol)
    tick, lot = terms or terms_found(file)
    make = linear_spec if settle else spot_spec
    return Recording(make(f"{base}{quote}", base, quote, tick, lot), file)


def symbol_parts(symbol: str) -> tuple[str, str, str]:
    """Return base, quote and settle ("" on spot) of a unified symbol."""
    pair, _, settle = symbol.partition(":")
    base, slash, quote = pair.partition("/")
    if not (slash and base.isalnum() and quote.isalnum() and symbol == symbol.upper()) or (settle not in ("", quote)):
        raise MarketError(
            f"--symbols: {symbol!r} is no symbol. Fix: like BTC/USDT (spot) or BTC/USDT:USDT (perpetual)."
        )
    return base, quote, settle


def terms_found(file: BarFile | TradeFile) -> Terms:
    """Return tick and lot from the finest decimals in the file."""
    if isinstance(file, TradeFile):
        prices, sizes = file.price, file.size
    else:
        prices = np.concatenate([file.columns[name] for name in ("open", "high", "low", "close")])
        sizes = file.columns["volume"]
    return Decimal(1).scaleb(-finest_step(prices)[0]), Decimal(1).scaleb(-finest_step(sizes)[0])


def _rounded(file: BarFile, tick: float, lot: float) -> np.ndarray:
    """Return bars in ticks and lots. A traded bar keeps at least the lots that its path needs, one to four."""
    bars = np.empty(len(file.open_ns), BAR_DTYPE)
    bars["open_ns"] = file.open_ns
    for name in ("open", "high", "low", "close"):
        bars[name] = np.rint(file.columns[name] / tick)
    bars["volume"] = np.rint(file.columns["volume"] / lot)
    few = np.nonzero((bars["volume"] < 4) & (file.columns["volume"] > 0))[0]
    for row in few.tolist():
        bar = bars[row]
        least = len(waypoints(int(bar["open"]), int(bar["high"]), int(bar["low"]), int(bar["close"])))
        bars["volume"][row] = max(int(bar["volume"]), least)
    bars["turnover"] = (bars["open"] + bars["high"] + bars["low"] + bars["close"]) / 4 * bars["volume"]
    bars["prints"] = bars["volume"] > 0
    return bars
