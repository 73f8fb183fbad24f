"""Volatility: true range and its average, bands, exponentially weighted variance."""

from math import nan, sqrt
from typing import Any

from trader.core.indicators.definition import leaf
from trader.core.indicators.statistics import Moments, moments
from trader.core.indicators.step import step
from trader.core.indicators.trend import known


@leaf
def true_range(high: float, low: float, last_close: float) -> float:
    """The widest of high - low and the distances of both from the last close."""
    up = high - last_close if high > last_close else last_close - high
    down = low - last_close if low > last_close else last_close - low
    widest = high - low
    widest = up if up > widest else widest
    return down if down > widest else widest


@step(state=(0.0, 0.0, 0), inputs=("high", "low", "close"))
def atr(
    state: tuple[float, float, int], high: float, low: float, close: float, period: int
) -> tuple[tuple[float, float, int], float]:
    """Average true range, Wilder 1978, in price units; the first bar has no range.

    A bar with a value that is not finite gives NaN and is passed over.
    """
    last, value, n = state
    if known(high) + known(low) + known(close) < 3:
        return (last, value, n), nan
    if n == 0:
        return (close, 0.0, 1), nan
    wide = true_range(high, low, last)
    k = 1.0 / period
    if n <= period:
        value += wide
        value = value * k if n == period else value
        return (close, value, n + 1), value if n == period else nan
    value = (1.0 - k) * value + k * wide
    return (close, value, n), value


@step(
    state=(0.0, 0.0, 0.0, 0.0, 0, 0),
    inputs=("x",),
    window=("x", "period + 1"),
    outputs=("middle", "upper", "lower"),
)
def bollinger(state: Moments, w: Any, period: int, width: float) -> tuple[Moments, tuple[float, float, float]]:
    """Mean and `width` standard deviations around it; NaN while a value of the window is not finite."""
    moved, ref, mean, variance = moments(state, w, period)
    middle = ref + mean
    spread = width * sqrt(variance) if variance >= 0.0 else nan
    return moved, (middle, middle + spread, middle - spread)


@step(state=(0.0, 0.0, 0), inputs=("x",))
def ewm_variance(state: tuple[float, float, int], x: float, period: int) -> tuple[tuple[float, float, int], float]:
    """Exponentially weighted variance, k = 2 / (period + 1), NaN for the first `period` values.

    A value that is not finite gives NaN and is passed over. West 1979, with weights.
    """
    mean, variance, n = state
    if known(x) == 0:
        return (mean, variance, n), nan
    if n == 0:
        return (x, 0.0, 1), nan
    k = 2.0 / (period + 1.0)
    apart = x - mean
    mean += k * apart
    variance = (1.0 - k) * (variance + k * apart * apart)
    n += 1 if n < period else 0
    return (mean, variance, n), variance if n >= period else nan
