"""The engine: the pipeline, its three ports, and the replay of recorded bars through the same functions."""

from trader.core.engine.pipeline import Decided, Pipeline
from trader.core.engine.ports import Clock, ClosedBar, Feed, Gateway, GatewayFill, OrderRequest
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
]
