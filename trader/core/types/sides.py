"""Sides of an order and directions of a wish."""

from enum import IntEnum, StrEnum
from typing import Literal

Kind = Literal["spot", "linear"]
"""Cash spot, or a linear contract that is margined and settled in its quote currency."""


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class Direction(IntEnum):
    """What a strategy wants to be."""

    SHORT = -1
    FLAT = 0
    LONG = 1
