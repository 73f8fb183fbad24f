"""A kline as the socket gives it: the bar as far as it has come, or confirmed."""

from __future__ import annotations

from typing import Any

from apps.simulator.markets.base import MINUTE_NS
from apps.simulator.markets.board import InstrumentState, Row
from apps.simulator.public.formats import Format, ms
from apps.simulator.public.intervals import end_of


def kline_data(
    state: InstrumentState, form: Format, interval: str, open_ns: int, market_ns: int, confirm: bool
) -> dict[str, Any] | None:
    """Return the entry of a `kline` frame, or None while the instrument has no price."""
    end_ns = end_of(interval, open_ns)
    bar = _bar(state, interval, open_ns, end_ns)
    if bar is None:
        return None
    return {
        "start": ms(open_ns),
        "end": ms(end_ns) - 1,
        "interval": interval,
        "open": form.price(int(bar[1])),
        "close": form.price(int(bar[4])),
        "high": form.price(int(bar[2])),
        "low": form.price(int(bar[3])),
        "volume": form.size(int(bar[5])),
        "turnover": form.turnover(float(bar[6])),
        "confirm": confirm,
        "timestamp": ms(min(market_ns, max(state.last_print_ns, open_ns))),
    }


def _bar(state: InstrumentState, interval: str, open_ns: int, end_ns: int) -> Row | None:
    """Return the bar that opens at `open_ns` as far as it has come, as a row of BAR_DTYPE."""
    if interval == "1" and state.open_ns == open_ns:
        return state.minute_now() if state.last else None
    closed = state.bars.view()[-(end_ns - open_ns) // MINUTE_NS :]
    rows = closed[closed["open_ns"] >= open_ns].tolist()
    if state.open_ns < end_ns and state.last:
        rows.append(state.minute_now())
    if not rows:
        return None
    return (
        open_ns,
        rows[0][1],
        max(row[2] for row in rows),
        min(row[3] for row in rows),
        rows[-1][4],
        sum(row[5] for row in rows),
        sum(row[6] for row in rows),
        sum(row[7] for row in rows),
    )
