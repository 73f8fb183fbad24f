"""The shape of the synthetic book.

Levels lie on a grid that does not move with the price, and the size at a price is a function of that
price, so that one move changes a few levels and leaves the others as they were, as real books do.
"""

from __future__ import annotations

import zlib

import msgspec
import numpy as np

from apps.simulator.markets.base import InstrumentSpec, Level
from apps.simulator.markets.listing import Coin

DEPTH = 200  # levels a side
CELLS = 1024
TOUCH_SECONDS = 4.0  # seconds of usual turnover that rest at a level
_MASK = CELLS - 1


class BookShape(msgspec.Struct):
    """`step`: ticks between levels; `weight`: relative size by grid cell; `usual`: lots at a usual level."""

    step: int
    offset: list[int]
    weight: np.ndarray
    usual: float

    @classmethod
    def of(cls, spec: InstrumentSpec, coin: Coin) -> BookShape:
        """Return the shape for an instrument."""
        rng = np.random.Generator(np.random.Philox(key=zlib.crc32(f"{spec.kind}{spec.symbol}".encode())))
        step = max(1, round(coin.price * coin.spread_bp * 1e-4 / float(spec.tick)))
        turnover = coin.turnover * (3.0 if spec.kind == "linear" else 1.0)
        usual = turnover / 60 * TOUCH_SECONDS / (coin.price * float(spec.lot))
        return cls(step, rng.integers(0, step, CELLS).tolist(), np.exp(0.8 * rng.standard_normal(CELLS) - 0.32), usual)

    def sizes(self, stress: float) -> list[int]:
        """Return lots by grid cell; `stress` is volatility over its usual level."""
        return np.maximum(self.weight * (self.usual / max(stress, 0.25) ** 0.7), 1).astype(np.int64).tolist()

    def levels(self, bid: int, ask: int, sizes: list[int], salt: int) -> tuple[list[Level], list[Level]]:
        """Return both sides, best first; the touch is thinner than what rests behind and changes with every move."""
        step, offset = self.step, self.offset
        below, above = bid // step, ask // step
        touch = 1 + (salt >> 10) % 7
        bids = [(bid, max(1, sizes[below & _MASK] * touch // 10))]
        asks = [(ask, max(1, sizes[above & _MASK] * (8 - touch) // 10))]
        first = max(below - DEPTH, 0)
        bids += [(g * step + offset[g & _MASK], sizes[g & _MASK]) for g in range(below - 1, first, -1)]
        asks += [(g * step + offset[g & _MASK], sizes[g & _MASK]) for g in range(above + 1, above + DEPTH)]
        return bids, asks
