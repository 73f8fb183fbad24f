"""Strategies: the protocol, their parameters, and the hash that names their code."""

from trader.core.strategy.parameters import Parameter, Range
from trader.core.strategy.protocol import INCOMPLETE, PositionView, Strategy, TradePlan, Wish, code_hash

__all__ = ["INCOMPLETE", "Parameter", "PositionView", "Range", "Strategy", "TradePlan", "Wish", "code_hash"]
