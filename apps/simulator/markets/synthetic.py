"""The synthetic market: a source whose minutes are a function of its seed and first minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np

from apps.simulator.markets.base import (
    BAR_DTYPE,
    LINEAR,
    MINUTE_NS,
    BookEvent,
    FundingEvent,
    InstrumentSpec,
    Key,
    MarketEvent,
    MarkEvent,
    MinuteEnd,
    PrintEvent,
    Side,
)
from apps.simulator.markets.chain import BLOCK, Chain, ChainBlock, ChainState, generator, state_first
from apps.simulator.markets.listing import COINS, FUNDING_INTERVAL_MIN, Coin
from apps.simulator.markets.quoting import BookShape
from apps.simulator.markets.store import SyntheticRecord, record_load, record_save
from apps.simulator.markets.tape import COARSE, PRINTS, Tape, TapeMaker, bars_of

BLOCK_NS = BLOCK * MINUTE_NS
HISTORY_NS = 3 * 1440 * MINUTE_NS
FUNDING_NS = FUNDING_INTERVAL_MIN * MINUTE_NS
MARK_EVERY = 2  # prints of a perpetual between two marks: about one a second
FUNDING_BASE = 0.0001
FUNDING_CAP = 0.003
_RATE = Decimal("0.00000001")


class _Block(msgspec.Struct):
    first_open_ns: int
    before: ChainState
    chain: ChainBlock
    tape: Tape
    stress: np.ndarray


class SyntheticMarket:
    """Ten coins, each as a spot pair and as a perpetual, seeded and endless.

    `start_ns` is wall time at the start, or how far the market had been run ahead of it. What it needs to go on
    after a restart, the chain's state three days back, is kept in `folder/market.json`; without a folder
    nothing is kept.
    """

    mode = "synthetic"
    end_ns = None

    def __init__(self, seed: int, start_ns: int, folder: Path | None = None, coins: tuple[Coin, ...] = COINS) -> None:
        self.seed = seed
        self._coins, self._chain, self._maker = coins, Chain(coins), TapeMaker(coins)
        self._specs = self._maker.specs
        self._index = {spec.key: number for number, spec in enumerate(self._specs)}
        self._path = folder / "market.json" if folder else None
        record = record_load(self._path, seed, [coin.name for coin in coins]) if self._path else None
        if record is None:
            first_ns = (start_ns - HISTORY_NS) // BLOCK_NS * BLOCK_NS
            record = SyntheticRecord(seed, [coin.name for coin in coins], first_ns, start_ns, state_first(coins))
            if self._path:
                record_save(self._path, record)
        self._record = record
        self.start_ns = max(start_ns, record.reached_ns)
        self._state, self._next_open_ns = record.state, record.first_open_ns
        self._starts: deque[tuple[int, ChainState]] = deque()
        self._recent: deque[_Block] = deque(maxlen=2)
        self._bars: list[np.ndarray] = []
        self._fundings: list[tuple[int, np.ndarray, np.ndarray]] = []  # market time, rates, marks
        self._shapes = [BookShape.of(spec, coins[number // 2]) for number, spec in enumerate(self._specs)]

    def instruments(self) -> list[InstrumentSpec]:
        """Return the terms of everything listed."""
        return list(self._specs)

    def history(self, key: Key, until_ns: int) -> np.ndarray:
        """Return the minutes that end by `until_ns`: three days, or more where the simulator was away."""
        self._advance_past(until_ns)
        if len(self._bars) > 1:
            self._bars = [np.concatenate(self._bars, axis=1)]
        rows = self._bars[0][self._index[key]] if self._bars else np.empty(0, BAR_DTYPE)
        return rows[rows["open_ns"] < until_ns]

    def fundings(self, key: Key, until_ns: int) -> list[FundingEvent]:
        """Return the fundings paid by `until_ns`."""
        if key[0] != LINEAR:
            return []
        number = self._index[key] // 2
        return [
            FundingEvent(LINEAR, key[1], at_ns, _rate(rates[number]), int(marks[number]))
            for at_ns, rates, marks in self._fundings
            if at_ns <= until_ns
        ]

    def opening(self) -> Iterator[MarketEvent]:
        """Yield books and marks as they stood when the running minute began."""
        open_ns = self.start_ns // MINUTE_NS * MINUTE_NS
        block = self._block_of(open_ns - MINUTE_NS)
        minute = (open_ns - MINUTE_NS - block.first_open_ns) // MINUTE_NS
        sizes = self._sizes(block, minute)
        for number, spec in enumerate(self._specs):
            if spec.kind == LINEAR:
                yield self._mark(block, number, minute, -1, open_ns)
            yield self._book(block, number, minute, -1, open_ns, sizes[number])

    def minute(self, open_ns: int) -> Iterator[MarketEvent]:
        """Yield the minute that opens at `open_ns`."""
        block = self._block_of(open_ns)
        minute = (open_ns - block.first_open_ns) // MINUTE_NS
        if open_ns % FUNDING_NS == 0:
            yield from self._fundings_due(open_ns)
        yield from self._prints(block, minute, open_ns)
        if open_ns + MINUTE_NS == block.first_open_ns + BLOCK_NS:
            self.save(open_ns + MINUTE_NS)
        yield MinuteEnd(open_ns + MINUTE_NS)

    def _prints(self, block: _Block, minute: int, open_ns: int) -> Iterator[MarketEvent]:
        tape, prints = block.tape, block.tape.price.shape[2]
        offsets = tape.offset_ns[:, minute].ravel()
        order = np.argsort(offsets, kind="stable")
        at = (offsets[order] + open_ns).tolist()
        price = tape.price[:, minute].ravel()[order].tolist()
        lots = tape.lots[:, minute].ravel()[order].tolist()
        is_buy = tape.is_buy[:, minute].ravel()[order].tolist()
        sizes = self._sizes(block, minute)
        for position, flat in enumerate(order.tolist()):
            number, nth = divmod(flat, prints)
            spec = self._specs[number]
            at_ns = at[position]
            if number % 2 and nth % MARK_EVERY == 0:
                yield self._mark(block, number, minute, nth, at_ns)
            side: Side = "Buy" if is_buy[position] else "Sell"
            yield PrintEvent(spec.kind, spec.symbol, at_ns, price[position], lots[position], side)
            yield self._book(block, number, minute, nth, at_ns, sizes[number])

    def _book(self, block: _Block, number: int, minute: int, nth: int, at_ns: int, sizes: list[int]) -> BookEvent:
        tape, spec = block.tape, self._specs[number]
        bid, ask = int(tape.bid[number, minute, nth]), int(tape.ask[number, minute, nth])
        bids, asks = self._shapes[number].levels(bid, ask, sizes, at_ns)
        return BookEvent(spec.kind, spec.symbol, at_ns, bids, asks)

    def _sizes(self, block: _Block, minute: int) -> list[list[int]]:
        """Return each instrument's level sizes for a minute: books thin out as volatility rises."""
        stress = block.stress[:, minute]
        return [shape.sizes(float(stress[number])) for number, shape in enumerate(self._shapes)]

    def _mark(self, block: _Block, number: int, minute: int, nth: int, at_ns: int) -> MarkEvent:
        coin, spec = number // 2, self._specs[number]
        index = float(block.tape.spot_mid[coin, minute, nth])
        premium = float(block.chain.premium[minute, coin])
        tick = float(spec.tick)
        next_ns = (at_ns // FUNDING_NS + 1) * FUNDING_NS
        return MarkEvent(
            LINEAR,
            spec.symbol,
            at_ns,
            round(index * (1 + premium) / tick),
            round(index / tick),
            _rate(_funding_rates(block.chain.premium[minute])[coin]),
            next_ns,
        )

    def _fundings_due(self, open_ns: int) -> Iterator[FundingEvent]:
        for spec in self._specs:
            if spec.kind == LINEAR:
                yield from (event for event in self.fundings(spec.key, open_ns) if event.market_ns == open_ns)

    def _block_of(self, open_ns: int) -> _Block:
        self._advance_past(open_ns + MINUTE_NS)
        for block in self._recent:
            if block.first_open_ns <= open_ns < block.first_open_ns + BLOCK_NS:
                return block
        raise LookupError(f"the minute {open_ns} lies before the block in hand")

    def _advance_past(self, until_ns: int) -> None:
        while self._next_open_ns < until_ns:
            self._block_next()

    def _block_next(self) -> None:
        open_ns = self._next_open_ns
        number = open_ns // BLOCK_NS
        chain = self._chain.block(self._state, generator(self.seed, 2 * number))
        seen = open_ns + 2 * BLOCK_NS > self._record.began_ns  # the opening looks one minute back
        tape = self._maker.tape(chain, generator(self.seed, 2 * number + 1), PRINTS if seen else COARSE)
        block = _Block(open_ns, self._state, chain, tape, self._maker.stress(chain))
        self._starts.append((open_ns, self._state))
        self._recent.append(block)
        self._bars.append(bars_of(tape, open_ns))
        for minute in range(BLOCK):
            if (open_ns + minute * MINUTE_NS) % FUNDING_NS == 0:
                self._fund(block, minute)
        self._state, self._next_open_ns = chain.after, open_ns + BLOCK_NS

    def _fund(self, block: _Block, minute: int) -> None:
        premium = block.chain.premium[minute]
        ticks = np.array([float(spec.tick) for spec in self._specs[1::2]])
        marks = np.rint(np.exp(block.chain.log_mid[minute]) * (1 + premium) / ticks)
        self._fundings.append((block.first_open_ns + minute * MINUTE_NS, _funding_rates(premium), marks))

    def save(self, market_ns: int) -> None:
        """Keep the state three days back and how far the market came, and forget what is older."""
        while len(self._starts) > 1 and self._starts[1][0] <= market_ns - HISTORY_NS:
            self._starts.popleft()
        first_ns, state = self._starts[0]
        newer = (bars[:, bars["open_ns"][0] >= first_ns] for bars in self._bars)
        self._bars = [bars for bars in newer if bars.size]
        if self._path:
            kept = {"first_open_ns": first_ns, "state": state, "reached_ns": market_ns}
            record_save(self._path, msgspec.structs.replace(self._record, **kept))


def _funding_rates(premium: np.ndarray) -> np.ndarray:
    return np.clip(premium + np.clip(FUNDING_BASE - premium, -0.0005, 0.0005), -FUNDING_CAP, FUNDING_CAP)


def _rate(value: float) -> Decimal:
    return Decimal(float(value)).quantize(_RATE)
