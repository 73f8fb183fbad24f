"""The public feed: turns market events into frames, each encoded once and sent to all who subscribed.

Trades are never merged away or dropped; a book delta leads from the last frame of its topic to the
present book; tickers and unconfirmed klines are thinned by wall time, as the venue does, and their
newest state goes out at the end of each minute at the latest. A kline's `confirm` follows the
minute's last print.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from apps.simulator.markets.base import (
    SPOT,
    BookEvent,
    FundingEvent,
    Key,
    MarkEvent,
    MinuteEnd,
    PrintEvent,
)
from apps.simulator.markets.board import InstrumentState, MarketBoard, RecentPrint
from apps.simulator.markets.clock import MarketClock
from apps.simulator.public.books import DEPTHS, BookTopic
from apps.simulator.public.connection import QUEUE_HIGH, Connection
from apps.simulator.public.formats import Format, ms
from apps.simulator.public.intervals import INTERVALS, end_of, open_of
from apps.simulator.public.klines import kline_data
from apps.simulator.public.prints import print_data
from apps.simulator.public.tickers import ticker_row

TICKER_EVERY_S: dict[str, float] = {SPOT: 0.05, "linear": 0.1}
KLINE_EVERY_S = 0.25
REPEAT_TOUCH_S = 3.0  # orderbook.1 is sent again after so long without a change
PATIENCE_S = 10.0  # a client that takes nothing for so long does not hold the market up any longer


class FrameWatch:
    """Looks at frames on their way; this one lets all pass. The exchange's records them and plays faults."""

    def frame(
        self, kind: str, topic: str, frame: bytes, market_ns: int, note: str, write: Callable[[bytes], None]
    ) -> Iterable[bytes]:
        """Return what to write now in place of `frame`; `note` is "print", "confirm", "book" or "".

        `write` sends bytes to the topic's subscribers later, for a frame that is held back.
        """
        return (frame,)

    def silent(self) -> bool:
        """Return whether nothing at all is written, not even a pong."""
        return False

    def minute_ended(self) -> None:
        """All prints of a minute have been sent, its confirmations not yet."""


class Broadcaster:
    """An event sink and the driver's outlet. Topics are per kind: spot and linear have their own sockets."""

    def __init__(self, board: MarketBoard, clock: MarketClock, watch: FrameWatch | None = None) -> None:
        self._board, self._clock = board, clock
        self.watch = watch or FrameWatch()
        self._forms = {key: Format(state.spec) for key, state in board.states.items()}
        self._subscribers: dict[tuple[str, str], set[Connection]] = {}
        self._books: dict[Key, dict[int, BookTopic]] = {key: {} for key in board.states}
        self._klines: dict[Key, set[str]] = {key: set() for key in board.states}
        self._pending: dict[Key, list[RecentPrint]] = {}
        self._sent_s: dict[tuple[str, str], float] = {}
        self._tickers: dict[Key, dict[str, Any]] = {}
        self._late_tickers: set[Key] = set()
        self.connections: set[Connection] = set()
        self.frames_sent = 0

    # Subscriptions

    def knows(self, kind: str, topic: str) -> bool:
        """Return whether a socket of `kind` has such a topic."""
        parts = topic.split(".")
        return _topic_known(parts) and self._board.find(kind, parts[-1]) is not None

    def subscribe(self, connection: Connection, topic: str) -> None:
        """Add a topic that is known, and queue its snapshot where it has one."""
        parts = topic.split(".")
        state = self._board[connection.kind, parts[-1]]
        key = state.spec.key
        self._subscribers.setdefault((key[0], topic), set()).add(connection)
        connection.topics.add(topic)
        if parts[0] == "orderbook":
            self._book_join(connection, key, int(parts[1]), topic)
        elif parts[0] == "tickers":
            self._ticker_join(connection, state, topic)
        elif parts[0] == "kline":
            self._klines[key].add(parts[1])

    def unsubscribe(self, connection: Connection, topic: str) -> None:
        """Take a topic away; a topic without subscribers costs nothing from then on."""
        connection.topics.discard(topic)
        subscribers = self._subscribers.get((connection.kind, topic), set())
        subscribers.discard(connection)
        if subscribers:
            return
        self._subscribers.pop((connection.kind, topic), None)
        parts = topic.split(".")
        key = (connection.kind, parts[-1])
        if parts[0] == "orderbook":
            self._books[key].pop(int(parts[1]), None)
        elif parts[0] == "kline":
            self._klines[key].discard(parts[1])
        elif parts[0] == "tickers":
            self._tickers.pop(key, None)

    def connect(self, connection: Connection) -> None:
        """Count a connection in."""
        self.connections.add(connection)

    def disconnect(self, connection: Connection) -> None:
        """Forget a connection and its topics."""
        self.connections.discard(connection)
        for topic in tuple(connection.topics):
            self.unsubscribe(connection, topic)

    # Market events

    def on_print(self, event: PrintEvent) -> None:
        """Keep the print until its book follows; prints of one moment share a frame."""
        if self._subscribers.get((event.kind, f"publicTrade.{event.symbol}")):
            self._pending.setdefault(event.key, []).append(self._board[event.key].recent[-1])

    def on_book(self, event: BookEvent) -> None:
        """Send the prints that led here, the deltas, and what is due of kline and ticker."""
        key = event.key
        self._prints_flush(key)
        for book in self._books[key].values():
            frame = book.delta(self._board.sequence, event.market_ns)
            if frame is not None:
                self._send(key[0], book.name, frame, event.market_ns, "book")
        self._klines_update(key, event.market_ns)
        self._ticker_update(key, event.market_ns)

    def on_mark(self, event: MarkEvent) -> None:
        """Marks travel with the ticker that the next book brings."""
        if self._subscribers.get((event.kind, f"tickers.{event.symbol}")):
            self._late_tickers.add(event.key)

    def on_funding(self, event: FundingEvent) -> None:
        """Funding shows in the next ticker."""

    def on_minute_end(self, event: MinuteEnd) -> None:
        """Send the last prints, then the confirmations of every interval that ends here, then late tickers."""
        for key in tuple(self._pending):
            self._prints_flush(key)
        self.watch.minute_ended()
        for key, wanted in self._klines.items():
            for interval in wanted:
                self._confirm(key, interval, event.market_ns)
        for key in tuple(self._late_tickers):
            self._ticker_send(key, event.market_ns)

    # Back-pressure

    async def drained(self) -> None:
        """Wait for clients that are behind, where the market can wait; one that takes nothing is cut off."""
        if self._clock.mode == "synthetic" and self._clock.speed == 1 and not self._clock.forwarding:
            return
        late = [connection for connection in self.connections if connection.waiting > QUEUE_HIGH]
        for connection in late:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await connection.calm()
            except TimeoutError:
                connection.abort()

    async def flushed(self) -> None:
        """Return when every queue is empty, or its client was cut off."""
        give_up_s = time.monotonic() + PATIENCE_S
        while any(connection.waiting for connection in self.connections):
            if time.monotonic() > give_up_s:
                for connection in self.connections:
                    connection.abort()
                return
            await asyncio.sleep(0.001)

    async def repeat_touches(self) -> None:
        """Send `orderbook.1` again after three seconds of wall time without a change, until cancelled."""
        while True:
            await asyncio.sleep(0.5)
            now_s = time.monotonic()
            market_ns = self._clock.market_ns()
            for key, books in self._books.items():
                book = books.get(1)
                if book is not None and now_s - self._sent_s.get((key[0], book.name), 0.0) >= REPEAT_TOUCH_S:
                    self._send(key[0], book.name, book.snapshot(market_ns), market_ns, "")

    # Frames

    def _send(self, kind: str, topic: str, frame: dict[str, Any], market_ns: int, note: str) -> None:
        subscribers = self._subscribers.get((kind, topic))
        if not subscribers:
            return
        self._sent_s[kind, topic] = time.monotonic()

        def write(part: bytes) -> None:
            if self.watch.silent():
                return
            for connection in subscribers:
                connection.send(part)
            self.frames_sent += len(subscribers)

        for part in self.watch.frame(kind, topic, orjson.dumps(frame), market_ns, note, write):
            write(part)

    def _prints_flush(self, key: Key) -> None:
        prints = self._pending.pop(key, None)
        if not prints:
            return
        form, topic = self._forms[key], f"publicTrade.{key[1]}"
        market_ns = prints[-1].event.market_ns
        data = [print_data(recent, form) for recent in prints]
        frame = {"topic": topic, "type": "snapshot", "ts": ms(market_ns), "data": data}
        self._send(key[0], topic, frame, market_ns, "print")

    def _book_join(self, connection: Connection, key: Key, depth: int, topic: str) -> None:
        book = self._books[key].get(depth)
        if book is None:
            book = self._books[key][depth] = BookTopic(topic, depth, self._board[key], self._forms[key])
            book.take(self._board.sequence)
        self._sent_s[key[0], topic] = time.monotonic()
        connection.send(orjson.dumps(book.snapshot(self._clock.market_ns())))

    def _due(self, kind: str, topic: str, every_s: float) -> bool:
        return time.monotonic() - self._sent_s.get((kind, topic), 0.0) >= every_s

    def _klines_update(self, key: Key, market_ns: int) -> None:
        for interval in self._klines[key]:
            topic = f"kline.{interval}.{key[1]}"
            if self._due(key[0], topic, KLINE_EVERY_S):
                state = self._board[key]
                open_ns = open_of(interval, state.open_ns)
                self._kline_send(key, interval, open_ns, market_ns, confirm=False)

    def _confirm(self, key: Key, interval: str, end_ns: int) -> None:
        open_ns = open_of(interval, end_ns - 1)
        if end_of(interval, open_ns) == end_ns:
            self._kline_send(key, interval, open_ns, end_ns, confirm=True)

    def _kline_send(self, key: Key, interval: str, open_ns: int, market_ns: int, confirm: bool) -> None:
        topic = f"kline.{interval}.{key[1]}"
        data = kline_data(self._board[key], self._forms[key], interval, open_ns, market_ns, confirm)
        if data is None:
            return
        frame = {"topic": topic, "data": [data], "ts": ms(market_ns), "type": "snapshot"}
        self._send(key[0], topic, frame, market_ns, "confirm" if confirm else "")

    def _ticker_join(self, connection: Connection, state: InstrumentState, topic: str) -> None:
        key = state.spec.key
        if key not in self._tickers:
            self._tickers[key] = self._ticker_row(key)
        connection.send(self._ticker_frame(topic, "snapshot", self._tickers[key], self._clock.market_ns()))

    def _ticker_update(self, key: Key, market_ns: int) -> None:
        topic = f"tickers.{key[1]}"
        if not self._subscribers.get((key[0], topic)):
            return
        if self._due(key[0], topic, TICKER_EVERY_S[key[0]]):
            self._ticker_send(key, market_ns)
        else:
            self._late_tickers.add(key)

    def _ticker_send(self, key: Key, market_ns: int) -> None:
        self._late_tickers.discard(key)
        old, topic = self._tickers.get(key), f"tickers.{key[1]}"
        row = self._ticker_row(key)
        if old == row:
            return
        self._tickers[key] = row
        kind = "snapshot"
        if key[0] != SPOT and old is not None:  # perpetuals' tickers are deltas: what changed, and the symbol
            kind = "delta"
            row = {name: value for name, value in row.items() if old.get(name) != value or name == "symbol"}
        frame = {"topic": topic, "type": kind, "data": row, "cs": self._board.sequence, "ts": ms(market_ns)}
        self._send(key[0], topic, frame, market_ns, "")

    def _ticker_row(self, key: Key) -> dict[str, Any]:
        return ticker_row(self._board[key], self._forms[key], with_quote=key[0] != SPOT)

    def _ticker_frame(self, topic: str, kind: str, row: dict[str, Any], market_ns: int) -> bytes:
        return orjson.dumps(
            {"topic": topic, "type": kind, "data": row, "cs": self._board.sequence, "ts": ms(market_ns)}
        )


def _topic_known(parts: list[str]) -> bool:
    if len(parts) == 2:
        return parts[0] in ("publicTrade", "tickers")
    if len(parts) != 3:
        return False
    return (parts[0] == "orderbook" and parts[1] in map(str, DEPTHS)) or (parts[0] == "kline" and parts[1] in INTERVALS)
