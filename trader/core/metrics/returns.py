"""Figures of an equity curve: returns, drawdown, Sharpe and Sortino ratio.

All take equity at equal steps of time, float64, shape (n,), in the account's currency.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import Any

import numpy as np

from trader.core.types.bars import FloatArray
from trader.core.types.errors import DataError

STEPS_PER_YEAR = {"minute": 525_600, "hour": 8_760, "day": 365}
"""Markets that never close: every minute of the year counts."""


def returns(equity: Any) -> FloatArray:
    """Simple returns between steps, shape (n - 1,). Raises DataError for equity that is not above zero.

    >>> returns([100.0, 110.0, 99.0]).round(3).tolist()
    [0.1, -0.1]
    """
    curve = _curve(equity)
    moved: FloatArray = curve[1:] / curve[:-1] - 1.0
    return moved


def total_return(equity: Any) -> float:
    """Return from the first to the last step, as a share; 0.0 with fewer than two."""
    curve = _curve(equity)
    return float(curve[-1] / curve[0] - 1.0) if len(curve) > 1 else 0.0


def drawdown(equity: Any) -> FloatArray:
    """Loss from the highest equity so far, as a share from 0 (at a peak) to 1, shape (n,)."""
    curve = _curve(equity)
    below: FloatArray = 1.0 - curve / np.maximum.accumulate(curve)
    return below


def max_drawdown(equity: Any) -> float:
    """The deepest drawdown, as a share; 0.0 for an empty curve.

    >>> max_drawdown([100.0, 120.0, 90.0, 130.0])
    0.25
    """
    below = drawdown(equity)
    return float(below.max()) if len(below) else 0.0


def sharpe(equity: Any, steps_per_year: float) -> float:
    """Annualised Sharpe ratio over a rate of zero: mean over standard deviation (n - 1) of the returns.

    NaN with fewer than three steps or without deviation: an unknown is not a zero.
    """
    moved = returns(equity)
    if len(moved) < 2:
        return nan
    spread = float(moved.std(ddof=1))
    return float(moved.mean()) / spread * sqrt(steps_per_year) if spread > 0.0 else nan


def sortino(equity: Any, steps_per_year: float) -> float:
    """As `sharpe`, over the deviation of losses alone (root mean square below zero, over all steps)."""
    moved = returns(equity)
    if len(moved) < 2:
        return nan
    below = sqrt(float(np.square(np.minimum(moved, 0.0)).mean()))
    return float(moved.mean()) / below * sqrt(steps_per_year) if below > 0.0 else nan


def _curve(equity: Any) -> FloatArray:
    curve = np.asarray(equity, dtype=np.float64)
    if curve.ndim != 1:
        raise DataError(f"equity has {curve.ndim} dimensions: must be one value per step")
    if not bool(np.all(np.isfinite(curve) & (curve > 0.0))):
        raise DataError("equity must be finite and above zero at every step")
    return curve
