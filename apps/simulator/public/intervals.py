"""Kline intervals: which there are, where their bars begin, and bars made of minutes."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from apps.simulator.markets.base import BAR_DTYPE, MINUTE_NS

MINUTES = {"1": 1, "3": 3, "5": 5, "15": 15, "30": 30, "60": 60, "120": 120, "240": 240, "360": 360, "720": 720}
DAY_NS = 1440 * MINUTE_NS
INTERVALS = (*MINUTES, "D", "W", "M")
_MONDAY_NS = 4 * DAY_NS  # 1970-01-05


def open_of(interval: str, at_ns: int) -> int:
    """Return the open time of the bar that holds `at_ns`; days, weeks (Monday) and months are UTC."""
    if interval == "M":
        at = datetime.fromtimestamp(at_ns // 10**9, UTC)
        return int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp()) * 10**9
    if interval == "W":
        return at_ns - (at_ns - _MONDAY_NS) % (7 * DAY_NS)
    length_ns = DAY_NS if interval == "D" else MINUTES[interval] * MINUTE_NS
    return at_ns - at_ns % length_ns


def end_of(interval: str, open_ns: int) -> int:
    """Return when the bar that opens at `open_ns` ends."""
    if interval == "M":
        return open_of("M", open_ns + 32 * DAY_NS)
    if interval == "W":
        return open_ns + 7 * DAY_NS
    return open_ns + (DAY_NS if interval == "D" else MINUTES[interval] * MINUTE_NS)


def bars_grouped(minutes: np.ndarray, interval: str) -> np.ndarray:
    """Return bars of an interval from ascending minutes; the first and the last may be made of fewer."""
    if interval == "1" or not len(minutes):
        return minutes
    opens = _opens(interval, minutes["open_ns"])
    first = np.concatenate([[0], np.nonzero(np.diff(opens))[0] + 1])
    last = np.concatenate([first[1:], [len(minutes)]]) - 1
    bars = np.empty(len(first), BAR_DTYPE)
    bars["open_ns"] = opens[first]
    bars["open"], bars["close"] = minutes["open"][first], minutes["close"][last]
    bars["high"] = np.maximum.reduceat(minutes["high"], first)
    bars["low"] = np.minimum.reduceat(minutes["low"], first)
    for name in ("volume", "turnover", "prints"):
        bars[name] = np.add.reduceat(minutes[name], first)
    return bars


def _opens(interval: str, open_ns: np.ndarray) -> np.ndarray:
    if interval == "M":
        months = open_ns.astype("datetime64[ns]").astype("datetime64[M]")
        return months.astype("datetime64[ns]").astype("i8")
    if interval == "W":
        return open_ns - (open_ns - _MONDAY_NS) % (7 * DAY_NS)
    length_ns = DAY_NS if interval == "D" else MINUTES[interval] * MINUTE_NS
    return open_ns - open_ns % length_ns
