"""From the words of a command line to a market: files, symbols, terms, span; and where an epoch stood."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from apps.simulator.markets.base import (
    MINUTE_NS,
    BookEvent,
    FundingEvent,
    MarketError,
    MarkEvent,
    MinuteEnd,
    PrintEvent,
)
from apps.simulator.markets.files import file_find, file_read
from apps.simulator.markets.recording import SPAN_GAP_NS, Recording, Terms, recording_make


class ReplayPlan(msgspec.Struct, frozen=True):
    """Recordings and the span that is played: `from_ns` to `end_ns`, both whole minutes, the end past the last one."""

    recordings: list[Recording]
    from_ns: int
    end_ns: int

    def describe(self) -> list[str]:
        """Return a line an instrument: file, symbol, terms, and how much history it has."""
        return [
            f"{recording.name} as {recording.spec.kind} {recording.spec.symbol}: tick {recording.spec.tick:f}, "
            f"lot {recording.spec.lot:f}, {len(recording.bars_before(self.from_ns))} minutes of history"
            for recording in self.recordings
        ]


def replay_plan(data: Path, symbols: str, from_: str = "", to: str = "", terms: str = "") -> ReplayPlan:
    """Return what `--data --symbols --from --to --terms` ask for, or say what is wrong with them."""
    mapped = symbols_parse(symbols)
    given = terms_parse(terms)
    unknown = set(given) - {symbol for _, symbol in mapped}
    if unknown:
        raise MarketError(f"--terms: {sorted(unknown)[0]} is not among --symbols.")
    files = {name: file_read(file_find(data, name)) for name in dict(mapped)}
    recordings = [recording_make(symbol, files[name], given.get(symbol)) for name, symbol in mapped]
    from_ns, end_ns = _span(recordings, from_, to)
    return ReplayPlan(recordings, from_ns, end_ns)


def symbols_parse(text: str) -> list[tuple[str, str]]:
    """Return (file name, symbol) pairs of `FILE=SYMBOL,FILE=SYMBOL`; a symbol may stand once."""
    pairs: list[tuple[str, str]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, symbol = part.partition("=")
        if not (equals and name and symbol):
            raise MarketError(f"--symbols: {part!r} is no FILE=SYMBOL. Fix: like coinbase_BTCUSD_1m=BTC/USDT.")
        if any(symbol == other for _, other in pairs):
            raise MarketError(f"--symbols: {symbol} stands twice.")
        pairs.append((name, symbol))
    if not pairs:
        raise MarketError("--symbols is missing. Fix: FILE=SYMBOL, … like coinbase_BTCUSD_1m=BTC/USDT.")
    return pairs


def terms_parse(text: str) -> dict[str, Terms]:
    """Return tick and lot by symbol of `SYMBOL=TICK:LOT,…` (a perpetual's own colon is part of its symbol)."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        symbol, _, steps = part.rpartition("=")
        tick, _, lot = steps.partition(":")
        try:
            found[symbol] = (Decimal(tick), Decimal(lot))
        except InvalidOperation:
            raise MarketError(f"--terms: {part!r} is no SYMBOL=TICK:LOT. Fix: like BTC/USDT=0.01:0.000001.") from None
        if not (symbol and found[symbol][0] > 0 and found[symbol][1] > 0):
            raise MarketError(f"--terms: {part!r} needs a symbol, and a tick and a lot above 0.")
    return found


def time_parse(option: str, text: str) -> int:
    """Return the UTC nanoseconds of a whole minute like 2018-04-04T00:00."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise MarketError(f"{option} {text!r} is no time. Fix: UTC, like 2018-04-04T00:00.") from None
    at_ns = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 10**9
    if at_ns % MINUTE_NS or at.microsecond:
        raise MarketError(f"{option} {text!r} must be a whole minute.")
    return at_ns


def time_text(at_ns: int) -> str:
    """Return a time as the options take it."""
    return datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M")


def _span(recordings: list[Recording], from_: str, to: str) -> tuple[int, int]:
    """Return the span played; `--to` is the last minute that is, so the market ends when that minute does."""
    shared = _shared_spans(recordings)
    if not from_:
        if not shared:
            raise MarketError("The files share no span of time. Fix: give --from and --to within all of them.")
        from_ns, last_ns = shared[-1]
    else:
        from_ns = time_parse("--from", from_)
        around = [last for first, last in shared if first <= from_ns <= last]
        last_ns = around[0] if around else min(recording.last_ns for recording in recordings)
    last_ns = time_parse("--to", to) if to else last_ns
    for recording in recordings:
        _within(recording, from_ns, last_ns)
    if last_ns < from_ns:
        raise MarketError(f"--to {time_text(last_ns)} lies before --from {time_text(from_ns)}.")
    return from_ns, last_ns + MINUTE_NS


def _within(recording: Recording, from_ns: int, last_ns: int) -> None:
    if from_ns < recording.first_ns:
        raise MarketError(
            f"--from {time_text(from_ns)}: {recording.name} begins at {time_text(recording.first_ns)}. "
            f"Fix: begin there or later."
        )
    if last_ns > recording.last_ns + SPAN_GAP_NS:
        raise MarketError(
            f"--to {time_text(last_ns)}: {recording.name} ends at {time_text(recording.last_ns)}. "
            f"Fix: end there or earlier."
        )


def _shared_spans(recordings: Iterable[Recording]) -> list[tuple[int, int]]:
    shared: list[tuple[int, int]] | None = None
    for recording in recordings:
        spans = recording.spans()
        if shared is None:
            shared = spans
            continue
        both = [(max(a, c), min(b, d)) for a, b in shared for c, d in spans]
        shared = sorted(span for span in both if span[0] <= span[1])
    return shared or []


class ReplayRecord(msgspec.Struct, forbid_unknown_fields=True):
    """Which replay a folder holds, and the market time that it has reached."""

    replay: dict[str, str]
    market_ns: int


class ReplayPosition:
    """Keeps a replay's market time in `folder/market.json`, so that starting it again goes on from there."""

    def __init__(self, path: Path, replay: dict[str, str]) -> None:
        self._path, self._replay = path, replay

    def load(self, default_ns: int) -> int:
        """Return where the market stood; another replay's folder is refused."""
        if not self._path.exists():
            return default_ns
        try:
            record = msgspec.json.decode(self._path.read_bytes(), type=ReplayRecord)
        except msgspec.DecodeError as error:
            raise MarketError(f"{self._path} cannot be read as a replay's position: {error}.") from None
        if record.replay != self._replay:
            differ = sorted(name for name in self._replay if record.replay.get(name) != self._replay[name])
            raise MarketError(
                f"{self._path.parent} holds another replay (its {', '.join(differ)} differ). "
                f"Fix: another --state folder for this one."
            )
        return record.market_ns

    def save(self, market_ns: int) -> None:
        """Write the position; a crash leaves the old one or the new one."""
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(ReplayRecord(self._replay, market_ns)))
        os.replace(part, self._path)

    def on_minute_end(self, event: MinuteEnd) -> None:
        """Save at each minute's end; a process that is killed goes on from the start of its minute."""
        self.save(event.market_ns)

    def on_print(self, event: PrintEvent) -> None:
        """Nothing to keep."""

    def on_book(self, event: BookEvent) -> None:
        """Nothing to keep."""

    def on_mark(self, event: MarkEvent) -> None:
        """Nothing to keep."""

    def on_funding(self, event: FundingEvent) -> None:
        """Nothing to keep."""
