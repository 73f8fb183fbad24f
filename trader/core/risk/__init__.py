"""Risk: pure functions. What adds risk, how much to take, what is refused, where the stop stands, what trips."""

from trader.core.risk.breakers import BreakerInputs, BreakerLimits, Trip, breakers
from trader.core.risk.checks import Book, CheckResult, OrderIntent, RiskState, checks, refusal_of
from trader.core.risk.exposure import OpenOrder, adds_risk, is_flat, lots_down
from trader.core.risk.limits import Check, Limits
from trader.core.risk.sizing import Sizing, order_quantity, quantity_exact, size_target
from trader.core.risk.stops import StopPlan, stop_matches, stop_plan, stop_price

__all__ = [
    "Book",
    "BreakerInputs",
    "BreakerLimits",
    "Check",
    "CheckResult",
    "Limits",
    "OpenOrder",
    "OrderIntent",
    "RiskState",
    "Sizing",
    "StopPlan",
    "Trip",
    "adds_risk",
    "breakers",
    "checks",
    "is_flat",
    "lots_down",
    "order_quantity",
    "quantity_exact",
    "refusal_of",
    "size_target",
    "stop_matches",
    "stop_plan",
    "stop_price",
]
