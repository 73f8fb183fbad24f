"""Accounting: what fills, fees and funding do to positions, cash and equity."""

from trader.core.portfolio.ledger import MANUAL, UNATTRIBUTED, Figures, Ledger
from trader.core.portfolio.positions import MONEY, Contract, Fill, FillResult, Position, adjustment_apply, fill_apply

__all__ = [
    "MANUAL",
    "MONEY",
    "UNATTRIBUTED",
    "Contract",
    "Figures",
    "Fill",
    "FillResult",
    "Ledger",
    "Position",
    "adjustment_apply",
    "fill_apply",
]
