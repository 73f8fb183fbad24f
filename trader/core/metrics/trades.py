"""Figures of closed trades: how often they win, and what they win and lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan


@dataclass(frozen=True, slots=True)
class TradeFigures:
    """Of round trips: `hit_rate` is a share; `profit_factor` is gains over losses (inf without a loss)."""

    count: int
    hit_rate: float
    average: float
    profit_factor: float


def trade_figures(profits: Sequence[float]) -> TradeFigures:
    """Figures of round trips from the profit of each, after fees. NaN where there is nothing to divide by.

    >>> trade_figures([10.0, -5.0, 5.0]).profit_factor
    3.0
    """
    if not profits:
        return TradeFigures(0, nan, nan, nan)
    gains = sum(profit for profit in profits if profit > 0)
    losses = -sum(profit for profit in profits if profit < 0)
    factor = gains / losses if losses > 0 else (inf if gains > 0 else nan)
    wins = sum(profit > 0 for profit in profits)
    return TradeFigures(len(profits), wins / len(profits), sum(profits) / len(profits), factor)
