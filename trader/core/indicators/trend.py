"""Trend: moving averages. Every step says what it does with NaN; all are NaN until warm."""

from math import nan
from typing import Any

from trader.core.indicators.definition import leaf
from trader.core.indicators.step import step

RESUM_EVERY = 1_024
"""Bars after which a running sum is taken afresh from its window, which heals what rounding left in it."""


@leaf
def known(x: float) -> int:
    """1 for a finite number, 0 for NaN and infinities: those would stay in a running sum for ever."""
    return 1 if x - x == 0.0 else 0


@leaf
def window_sum(w: Any, first: int, last: int) -> float:
    """Sum of w[first:last] with four accumulators in a fixed order, so that it is fast and its bits are fixed."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    i = first
    while i + 3 < last:
        a += w[i]
        b += w[i + 1]
        c += w[i + 2]
        d += w[i + 3]
        i += 4
    while i < last:
        a += w[i]
        i += 1
    return (a + b) + (c + d)


@step(state=(0.0, 0, 0), inputs=("x",), window=("x", "period + 1"))
def sma(state: tuple[float, int, int], w: Any, period: int) -> tuple[tuple[float, int, int], float]:
    """Simple moving average over `period` values.

    NaN while any of them is missing or not finite, and exact again as soon as the last such value
    has left the window.
    """
    total, good, age = state
    good += known(w[period]) - known(w[0])
    if good < period:
        return (0.0, good, 0), nan
    if age == 0 or age >= RESUM_EVERY:
        total, age = window_sum(w, 1, period + 1), 0
    else:
        total += w[period] - w[0]
    return (total, good, age + 1), total * (1.0 / period)


@step(state=(0.0, 0), inputs=("x",))
def ema(state: tuple[float, int], x: float, period: int) -> tuple[tuple[float, int], float]:
    """Exponential moving average, k = 2 / (period + 1), started with the simple average of the first `period`.

    A value that is not finite gives NaN and is otherwise passed over: the average goes on from the
    last good one.
    """
    value, n = state
    if known(x) == 0:
        return (value, n), nan
    if n < period:
        value += x
        n += 1
        if n < period:
            return (value, n), nan
        value *= 1.0 / period
        return (value, n), value
    k = 2.0 / (period + 1.0)
    value = (1.0 - k) * value + k * x
    return (value, n), value


@step(state=(0.0, 0), inputs=("x",))
def wilder(state: tuple[float, int], x: float, period: int) -> tuple[tuple[float, int], float]:
    """Wilder's average, k = 1 / period, started with the simple average of the first `period`; NaN as in `ema`."""
    value, n = state
    if known(x) == 0:
        return (value, n), nan
    if n < period:
        value += x
        n += 1
        if n < period:
            return (value, n), nan
        value *= 1.0 / period
        return (value, n), value
    k = 1.0 / period
    value = (1.0 - k) * value + k * x
    return (value, n), value
