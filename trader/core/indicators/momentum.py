"""Momentum: relative strength and rate of change."""

from math import nan
from typing import Any

from trader.core.indicators.step import step
from trader.core.indicators.trend import known


@step(state=(0.0, 0.0, 0.0, 0), inputs=("x",))
def rsi(state: tuple[float, float, float, int], x: float, period: int) -> tuple[tuple[float, float, float, int], float]:
    """Relative strength index, Wilder 1978: 0 to 100, from Wilder averages of gains and losses.

    0 where nothing moved at all (as TA-Lib has it). A value that is not finite gives NaN and is passed over.
    """
    last, gains, losses, n = state
    if known(x) == 0:
        return (last, gains, losses, n), nan
    if n == 0:
        return (x, 0.0, 0.0, 1), nan
    move = x - last
    up = move if move > 0.0 else 0.0
    down = -move if move < 0.0 else 0.0
    k = 1.0 / period
    if n <= period:
        gains += up * k
        losses += down * k
        n += 1
    else:
        gains = (1.0 - k) * gains + k * up
        losses = (1.0 - k) * losses + k * down
    if n <= period:
        return (x, gains, losses, n), nan
    whole = gains + losses
    return (x, gains, losses, n), 100.0 * (gains / whole) if whole > 0.0 else 0.0


@step(inputs=("x",), window=("x", "period + 1"))
def change(state: tuple[()], w: Any, period: int) -> tuple[tuple[()], float]:
    """Rate of change over `period` bars as a share; NaN without a past value above zero."""
    old = w[0]
    return (), (w[period] - old) / old if old > 0.0 else nan
