"""The matching kernel of the simulated exchange and the backtest: matching, triggers, fees, margin."""

from trader.core.simulation.depth import Level, PublicSide
from trader.core.simulation.margin import (
    Holding,
    funding_payment,
    holding_trade,
    initial_margin,
    liquidation_price,
    maintenance_margin,
    spot_fee,
)
from trader.core.simulation.matching import Listener, MatchingBook
from trader.core.simulation.orders import BUY, MARKET, SELL, MatchOrder, Outcome, TimeInForce, better, crosses
from trader.core.simulation.triggers import FALLING, RISING, Trigger, TriggerBook

__all__ = [
    "BUY",
    "FALLING",
    "MARKET",
    "RISING",
    "SELL",
    "Holding",
    "Level",
    "Listener",
    "MatchOrder",
    "MatchingBook",
    "Outcome",
    "PublicSide",
    "TimeInForce",
    "Trigger",
    "TriggerBook",
    "better",
    "crosses",
    "funding_payment",
    "holding_trade",
    "initial_margin",
    "liquidation_price",
    "maintenance_margin",
    "spot_fee",
]
