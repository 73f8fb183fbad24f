"""Words and numbers that everything above shares. Loads neither numba nor numpy (`types.bars` does)."""

from trader.core.types.errors import (
    AccountingError,
    ConfigurationError,
    DataError,
    GateRefused,
    KernelError,
    NextAction,
    OutcomeUnknown,
    RiskRefused,
    StateError,
    TraderError,
    VenueBusy,
    VenueError,
    VenueRejected,
    VenueUnavailable,
)
from trader.core.types.ids import client_id, decision_id, is_ours, manual_client_id
from trader.core.types.sides import Direction, Kind, Side
from trader.core.types.timeframes import Timeframe, market_day

__all__ = [
    "AccountingError",
    "ConfigurationError",
    "DataError",
    "Direction",
    "GateRefused",
    "KernelError",
    "Kind",
    "NextAction",
    "OutcomeUnknown",
    "RiskRefused",
    "Side",
    "StateError",
    "Timeframe",
    "TraderError",
    "VenueBusy",
    "VenueError",
    "VenueRejected",
    "VenueUnavailable",
    "client_id",
    "decision_id",
    "is_ours",
    "manual_client_id",
    "market_day",
]
