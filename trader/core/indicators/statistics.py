"""Statistics over a window: deviation, z-score, highest and lowest.

Squares are summed of what is left after taking off a reference near the mean, and the reference is
renewed often: plain running squares lose seven digits at a deviation of 1e-4 of the price.
"""

from math import nan, sqrt
from typing import Any

from trader.core.indicators.definition import leaf
from trader.core.indicators.step import step
from trader.core.indicators.trend import known, window_sum

RENEW_EVERY = 128
"""Bars after which reference and sums are taken afresh from the window."""
SMALL_VARIANCE = 1e-6
"""Renew too when the variance is below this share of the squared offset of the mean or of the recent peak."""

Moments = tuple[float, float, float, float, int, int]


@leaf
def squares(w: Any, first: int, last: int, ref: float) -> float:
    """Sum of (w - ref) squared over w[first:last], four accumulators in a fixed order."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    i = first
    while i + 3 < last:
        a += (w[i] - ref) * (w[i] - ref)
        b += (w[i + 1] - ref) * (w[i + 1] - ref)
        c += (w[i + 2] - ref) * (w[i + 2] - ref)
        d += (w[i + 3] - ref) * (w[i + 3] - ref)
        i += 4
    while i < last:
        a += (w[i] - ref) * (w[i] - ref)
        i += 1
    return (a + b) + (c + d)


@leaf
def moments(state: Moments, w: Any, period: int) -> tuple[Moments, float, float, float]:
    """Move sums of x - ref and of its square by one bar; w holds period + 1 values, the leaving one first.

    Returns the state, the reference, the mean of x - ref, and the variance (over n); NaN while a value
    of the window is missing. The state is (reference, sum, sum of squares, peak, good values, age).
    """
    ref, total, total2, peak, good, age = state
    good += known(w[period]) - known(w[0])
    if good < period:
        return (0.0, 0.0, 0.0, 0.0, good, 0), nan, nan, nan
    share = 1.0 / period
    if age > 0:
        new, old = w[period] - ref, w[0] - ref
        total += new - old
        total2 += new * new - old * old
    mean = total * share
    variance = total2 * share - mean * mean
    stale = age == 0 or age >= RENEW_EVERY
    small = variance < SMALL_VARIANCE * mean * mean or variance < SMALL_VARIANCE * peak
    if stale or small:
        ref = window_sum(w, 1, period + 1) * share
        # what rounding left between the reference and the mean
        total = 0.0
        for i in range(1, period + 1):
            total += w[i] - ref
        total2 = squares(w, 1, period + 1, ref)
        mean = total * share
        variance = total2 * share - mean * mean
        peak, age = 0.0, 0
    variance = variance if variance > 0.0 else 0.0
    peak = variance if variance > peak else peak
    return (ref, total, total2, peak, good, age + 1), ref, mean, variance


@step(state=(0.0, 0.0, 0.0, 0.0, 0, 0), inputs=("x",), window=("x", "period + 1"))
def deviation(state: Moments, w: Any, period: int) -> tuple[Moments, float]:
    """Standard deviation over `period` values (divided by n); NaN while one of them is missing or not finite."""
    moved, _, _, variance = moments(state, w, period)
    return moved, sqrt(variance) if variance >= 0.0 else nan


@step(state=(0.0, 0.0, 0.0, 0.0, 0, 0), inputs=("x",), window=("x", "period + 1"))
def zscore(state: Moments, w: Any, period: int) -> tuple[Moments, float]:
    """How many standard deviations the newest value lies from the mean of the last `period`.

    0 where all values are equal; NaN while one of them is missing or not finite.
    """
    moved, ref, mean, variance = moments(state, w, period)
    apart = (w[period] - ref) - mean
    spread = sqrt(variance) if variance >= 0.0 else nan
    return moved, apart / spread if spread > 0.0 else (0.0 if spread == 0.0 else nan)


@leaf
def extreme(state: tuple[float, int, int], w: Any, memory: Any, period: int, sign: float) -> Any:
    """Highest of sign * x over the window, by block prefix and suffix: one pass over the window in `period` bars.

    `memory` holds, for the block before, the highest from each place to its end; `state` is (highest
    of this block so far, place in this block, good values).
    """
    prefix, at, good = state
    new = w[period]
    good += known(new) - known(w[0])
    x = sign * new if known(new) == 1 else -1e308
    prefix = x if at == 0 or x > prefix else prefix
    at += 1
    older = memory[at] if at < period else prefix
    best = older if older > prefix else prefix
    if at == period:
        # the block is full: what the next block's windows still see of it, from the end backwards
        top = -1e308
        for i in range(period - 1, -1, -1):
            value = sign * w[i + 1] if known(w[i + 1]) == 1 else -1e308
            top = value if value > top else top
            memory[i] = top
        at = 0
    return (prefix, at, good), sign * best if good >= period else nan


@step(state=(0.0, 0, 0), inputs=("x",), window=("x", "period + 1"), memory="period")
def highest(state: tuple[float, int, int], w: Any, memory: Any, period: int) -> Any:
    """Highest of the last `period` values; NaN while one of them is missing or not finite."""
    return extreme(state, w, memory, period, 1.0)


@step(state=(0.0, 0, 0), inputs=("x",), window=("x", "period + 1"), memory="period")
def lowest(state: tuple[float, int, int], w: Any, memory: Any, period: int) -> Any:
    """Lowest of the last `period` values; NaN while one of them is missing or not finite."""
    return extreme(state, w, memory, period, -1.0)
