"""Figures that say how it went: of an equity curve and of closed trades."""

from trader.core.metrics.returns import (
    STEPS_PER_YEAR,
    drawdown,
    max_drawdown,
    returns,
    sharpe,
    sortino,
    total_return,
)
from trader.core.metrics.trades import TradeFigures, trade_figures

__all__ = [
    "STEPS_PER_YEAR",
    "TradeFigures",
    "drawdown",
    "max_drawdown",
    "returns",
    "sharpe",
    "sortino",
    "total_return",
    "trade_figures",
]
