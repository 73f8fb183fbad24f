"""The synthetic market's slow part: volatility, regime, returns and basis of every coin, minute by minute.

A function of the seed and the state at a block's start alone: the same seed and the same first
minute give the same market for ever, so a restarted simulator finds the prices it had. Blocks have
BLOCK minutes; each draws from its own counter-based generator.

The model: log-volatility is the sum of a slow part (half-life a day), a fast part (half-life twenty
minutes), both shared in part by all coins, and a regime (calm, active, storm). Returns are a common
factor plus the coin's own, each Student-t; a transient part pulls back towards the efficient price,
and the price is held weakly to where the coin began, so that a market left on for months stays
believable.
"""

from __future__ import annotations

import msgspec
import numpy as np

from apps.simulator.markets.listing import Coin

BLOCK = 10  # minutes
DAY = 1440
SLOW_KEEP, SLOW_SHOCK = 0.5 ** (1 / DAY), 0.013
FAST_KEEP, FAST_SHOCK = 0.5 ** (1 / 20), 0.14
SHARED = 0.75  # weight of the market in each coin's volatility shocks
REGIMES = np.array([0.58, 0.86, 1.6])  # calm, active, storm: factor on volatility
REGIME_LEAVE = np.array([1 / 240, 1 / 150, 1 / 45])  # chance a minute of leaving
REGIME_NEXT = (1, 2, 1)  # from active half go back to calm
TAIL_DEGREES = 4.5
TRANSIENT_KEEP, TRANSIENT_SHARE = 0.90, 0.30
HOLD = 1 / (20 * DAY)
BASIS_KEEP, BASIS_SHOCK = 0.98, 0.00003


class ChainState(msgspec.Struct):
    """State of all coins at the start of a minute; arrays have one entry a coin, the last of a volatility the market.

    `log_price`: efficient price; `transient`: its temporary deviation, in log; `basis`: perpetual
    over spot, as a fraction; `premium`: its slow average, which funding is made of.
    """

    log_price: list[float]
    transient: list[float]
    slow: list[float]
    fast: list[float]
    basis: list[float]
    premium: list[float]
    regime: int = 1


class ChainBlock(msgspec.Struct):
    """BLOCK minutes of the chain: arrays of shape (BLOCK + 1, coins) at minute starts, volatility (BLOCK, coins)."""

    log_mid: np.ndarray
    basis: np.ndarray
    premium: np.ndarray
    volatility: np.ndarray
    regime: list[int]
    after: ChainState


def state_first(coins: tuple[Coin, ...]) -> ChainState:
    """Return the state of a fresh market."""
    count = len(coins)
    prices = [float(np.log(coin.price)) for coin in coins]
    zeros = [0.0] * count
    return ChainState(prices, zeros, [0.0] * (count + 1), [0.0] * (count + 1), zeros, zeros)


def generator(seed: int, block: int) -> np.random.Generator:
    """Return the block's own source of randomness."""
    return np.random.Generator(np.random.Philox(key=[seed & (2**64 - 1), block & (2**64 - 1)]))


class Chain:
    """Advances a state by a block."""

    def __init__(self, coins: tuple[Coin, ...]) -> None:
        self._minute_volatility = np.array([coin.daily_volatility for coin in coins]) / np.sqrt(DAY)
        self._beta = np.array([coin.beta for coin in coins])
        self._home = np.log([coin.price for coin in coins])
        self._count = len(coins)

    def block(self, state: ChainState, rng: np.random.Generator) -> ChainBlock:
        """Return the next BLOCK minutes and the state after them."""
        count = self._count
        shocks = rng.standard_normal((BLOCK, 2, count + 1))
        returns = rng.standard_normal((BLOCK, count + 1))
        tails = np.sqrt((TAIL_DEGREES - 2) / (2 * rng.standard_gamma(TAIL_DEGREES / 2, (BLOCK, count + 1))))
        transient_shocks = rng.standard_normal((BLOCK, count))
        basis_shocks = rng.standard_normal((BLOCK, count)) * BASIS_SHOCK
        luck = rng.random((BLOCK, 2))
        returns *= tails
        own = np.sqrt(1 - self._beta**2)

        log_price, transient = np.array(state.log_price), np.array(state.transient)
        slow, fast = np.array(state.slow), np.array(state.fast)
        basis, premium, regime = np.array(state.basis), np.array(state.premium), state.regime
        mids, bases, premiums = np.empty((3, BLOCK + 1, count))
        volatilities, regimes = np.empty((BLOCK, count)), []
        mids[0], bases[0], premiums[0] = log_price + transient, basis, premium
        for minute in range(BLOCK):
            regime = _regime_next(regime, luck[minute])
            slow = slow * SLOW_KEEP + shocks[minute, 0] * SLOW_SHOCK
            fast = fast * FAST_KEEP + shocks[minute, 1] * FAST_SHOCK
            level = slow + fast
            shared = level[-1] * SHARED + level[:-1] * (1 - SHARED)
            sigma = self._minute_volatility * np.exp(np.clip(shared, -1.6, 1.6)) * REGIMES[regime]
            moves = sigma * (self._beta * returns[minute, -1] + own * returns[minute, :-1])
            log_price = log_price + moves + HOLD * (self._home - log_price)
            transient = transient * TRANSIENT_KEEP + transient_shocks[minute] * sigma * TRANSIENT_SHARE
            basis = basis * BASIS_KEEP + basis_shocks[minute] + 0.01 * moves
            premium = premium * 0.995 + basis * 0.005
            volatilities[minute] = sigma
            regimes.append(regime)
            mids[minute + 1], bases[minute + 1], premiums[minute + 1] = log_price + transient, basis, premium
        after = ChainState(
            log_price.tolist(),
            transient.tolist(),
            slow.tolist(),
            fast.tolist(),
            basis.tolist(),
            premium.tolist(),
            regime,
        )
        return ChainBlock(mids, bases, premiums, volatilities, regimes, after)


def _regime_next(regime: int, luck: np.ndarray) -> int:
    if luck[0] >= REGIME_LEAVE[regime]:
        return regime
    if regime == 1 and luck[1] < 0.5:
        return 0
    return REGIME_NEXT[regime]
