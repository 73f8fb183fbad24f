"""The engine: the pipeline, a session over three ports, and the replay of recorded bars through both."""

from trader.core.engine.pipeline import Decided, Pipeline
from trader.core.engine.ports import Clock, ClosedBar, Feed, Gateway, GatewayFill, OrderRequest, Terms
from trader.core.engine.session import Session, SessionFill, SessionResult
from trader.core.strategy.protocol import PositionView

__all__ = [
    "Clock",
    "ClosedBar",
    "Decided",
    "Feed",
    "Gateway",
    "GatewayFill",
    "OrderRequest",
    "Pipeline",
    "PositionView",
    "Session",
    "SessionFill",
    "SessionResult",
    "Terms",
]
