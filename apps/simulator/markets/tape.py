"""The synthetic market's fast part: the prints, quotes and minutes of one block, for all instruments at once.

Arrays have the shape (instruments, BLOCK, prints); instruments come in pairs, spot then perpetual, in
the order of the coins.
"""

from __future__ import annotations

import msgspec
import numpy as np

from apps.simulator.markets.base import BAR_DTYPE, MINUTE_NS
from apps.simulator.markets.chain import BLOCK, ChainBlock
from apps.simulator.markets.listing import Coin, coin_specs

PRINTS = 120  # a minute and instrument: about two a second
COARSE = 24  # the same of a minute before the market began, of which only the bar is ever seen
FLOW = 38  # of 128: how much likelier a buy is while the price rises
LINEAR_TURNOVER = 3.0
SIZE_SIGMA = 1.1


class Tape(msgspec.Struct):
    """A block's prints: `price`, `bid`, `ask` in ticks; `spot_mid` in quote units, (coins, BLOCK, prints)."""

    price: np.ndarray
    bid: np.ndarray
    ask: np.ndarray
    lots: np.ndarray
    is_buy: np.ndarray
    offset_ns: np.ndarray
    spot_mid: np.ndarray


class TapeMaker:
    """Draws tapes for a chain's blocks."""

    def __init__(self, coins: tuple[Coin, ...]) -> None:
        pairs = [coin_specs(coin) for coin in coins]
        self.specs = [spec for pair in pairs for spec in pair]
        self._tick = np.array([float(spec.tick) for spec in self.specs])
        self._lot = np.array([float(spec.lot) for spec in self.specs])
        self._half_spread = np.repeat([coin.spread_bp for coin in coins], 2) * 0.5e-4
        self._turnover = np.repeat([float(coin.turnover) for coin in coins], 2)
        self._turnover[1::2] *= LINEAR_TURNOVER
        self._usual = np.repeat([coin.daily_volatility for coin in coins], 2) / np.sqrt(1440)
        table = np.random.Generator(np.random.Philox(key=1)).standard_normal(4096)
        self._sizes = np.exp(SIZE_SIGMA * table - SIZE_SIGMA**2 / 2).astype(np.float32)

    def stress(self, block: ChainBlock) -> np.ndarray:
        """Return volatility over its usual level, (instruments, BLOCK)."""
        return np.repeat(block.volatility, 2, axis=1).T / self._usual[:, None]

    def tape(self, block: ChainBlock, rng: np.random.Generator, prints: int = PRINTS) -> Tape:
        """Return a block's tape with so many prints a minute and instrument."""
        coins = block.log_mid.shape[1]
        along = (np.arange(1, prints + 1) / prints).astype(np.float32)
        mid = _mids(block, rng.standard_normal((coins, BLOCK, prints), dtype=np.float32), along)
        basis = block.basis.T
        ramp = basis[:, :-1, None] + (basis[:, 1:] - basis[:, :-1])[:, :, None] * along
        pairs = np.empty((coins, 2, BLOCK, prints))
        pairs[:, 0] = mid
        np.multiply(mid, 1 + ramp, out=pairs[:, 1])
        both = pairs.reshape(2 * coins, BLOCK, prints)
        both /= self._tick[:, None, None]

        stress = self.stress(block)
        half = np.exp(block.log_mid[0]).repeat(2) / self._tick * self._half_spread
        half = half[:, None] * np.sqrt(stress)
        bid = np.floor(both - half[:, :, None] + 0.5).astype(np.int64)
        ask = np.maximum(np.ceil(both + half[:, :, None] - 0.5).astype(np.int64), bid + 1)

        raw = rng.integers(0, 1 << 32, bid.shape, dtype=np.uint32)
        rising = np.empty(bid.shape, np.int8)
        rising[:, :, 0] = 0
        np.sign(np.diff(both, axis=2), out=rising[:, :, 1:], casting="unsafe")
        is_buy = (raw & 0xFF).astype(np.int16) < 128 + FLOW * rising.astype(np.int16)
        mean_lots = self._turnover / prints / (np.exp(block.log_mid[0]).repeat(2) * self._lot)
        scale = (mean_lots[:, None] * np.clip(stress, 0.3, 6.0)).astype(np.float32)
        lots = (self._sizes[(raw >> 8) & 0xFFF] * scale[:, :, None]).astype(np.int64) + 1
        slot_ns = MINUTE_NS // prints
        offset_ns = np.arange(prints) * slot_ns + ((raw >> 20) + 1).astype(np.int64) * (slot_ns // 4098)
        return Tape(np.where(is_buy, ask, bid), bid, ask, lots, is_buy, offset_ns, mid)


def bars_of(tape: Tape, first_open_ns: int) -> np.ndarray:
    """Return the block's minutes, (instruments, BLOCK), dtype BAR_DTYPE."""
    bars = np.empty(tape.price.shape[:2], BAR_DTYPE)
    bars["open_ns"] = first_open_ns + np.arange(tape.price.shape[1]) * MINUTE_NS
    bars["open"], bars["close"] = tape.price[:, :, 0], tape.price[:, :, -1]
    bars["high"], bars["low"] = tape.price.max(axis=2), tape.price.min(axis=2)
    bars["volume"] = tape.lots.sum(axis=2)
    bars["turnover"] = (tape.price * tape.lots).sum(axis=2)
    bars["prints"] = tape.price.shape[2]
    return bars


def _mids(block: ChainBlock, noise: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return spot mid prices: bridges between the chain's minute ends, as volatile as their minute."""
    noise *= (block.volatility.T / np.sqrt(len(along))).astype(np.float32)[:, :, None]
    walk = np.cumsum(noise, axis=2)
    walk -= walk[:, :, -1:] * along
    log_mid = block.log_mid.T
    walk += (log_mid[:, 1:] - log_mid[:, :-1]).astype(np.float32)[:, :, None] * along
    return np.exp(walk.astype(np.float64) + log_mid[:, :-1, None])
