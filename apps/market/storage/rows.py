"""Bars as numpy rows, and their way through PostgreSQL's binary COPY format, both ways without a loop."""

import numpy as np
import numpy.typing as npt

EMPTY, BACKFILLED, LATE, REVISED = 1, 2, 4, 8
"""Flags of a bar: no prints; from the venue's klines instead of the feed; stored late; a corrected revision."""

BAR_DTYPE = np.dtype(
    [
        ("instrument_id", "i8"),
        ("open_ns", "i8"),
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
        ("turnover", "f8"),
        ("trades", "i4"),
        ("revision", "i2"),
        ("flags", "i2"),
        ("known_ns", "i8"),
    ]
)
"""One bar: prices in quote, volume in base, turnover in quote, times in market nanoseconds."""

Bars = npt.NDArray[np.void]

_WIRE = (
    ("epoch_id", ">i8"),
    ("instrument_id", ">i8"),
    ("timeframe_s", ">i4"),
    ("source", ">i2"),
    ("open_ns", ">i8"),
    ("revision", ">i2"),
    ("open", ">f8"),
    ("high", ">f8"),
    ("low", ">f8"),
    ("close", ">f8"),
    ("volume", ">f8"),
    ("turnover", ">f8"),
    ("trades", ">i4"),
    ("flags", ">i2"),
    ("known_ns", ">i8"),
)


def _wire_dtype(fields: tuple[tuple[str, str], ...]) -> np.dtype:
    """A COPY row: the number of fields, then each field's length and its big-endian value."""
    columns: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in fields:
        columns += [(f"{name}_length", ">i4"), (name, kind)]
    return np.dtype(columns)


WIRE_DTYPE = _wire_dtype(_WIRE)
READ_DTYPE = _wire_dtype(tuple(field for field in _WIRE if field[0] in (BAR_DTYPE.names or ())))
READ_COLUMNS = ", ".join(name for name, _ in _WIRE if name in (BAR_DTYPE.names or ()))
HEADER = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
TRAILER = b"\xff\xff"


def bars_empty() -> Bars:
    """Return no bars, in the right shape."""
    return np.empty(0, dtype=BAR_DTYPE)


def pack(bars: Bars, *, epoch_id: int, timeframe_s: int, source: int) -> bytes:
    """Return the bars as one binary COPY stream for `tables.COLUMNS`."""
    wire = np.empty(len(bars), dtype=WIRE_DTYPE)
    wire["fields"] = len(_WIRE)
    constants = {"epoch_id": epoch_id, "timeframe_s": timeframe_s, "source": source}
    for name, kind in _WIRE:
        wire[f"{name}_length"] = np.dtype(kind).itemsize
        wire[name] = constants[name] if name in constants else bars[name]
    return HEADER + wire.tobytes() + TRAILER


def unpack(stream: bytes) -> Bars:
    """Return the bars of a binary COPY stream of `READ_COLUMNS`."""
    body = memoryview(stream)[len(HEADER) : len(stream) - len(TRAILER)]
    wire = np.frombuffer(body, dtype=READ_DTYPE)
    bars = np.empty(len(wire), dtype=BAR_DTYPE)
    for name in BAR_DTYPE.names or ():
        bars[name] = wire[name]
    return bars


def newest_per_key(bars: Bars) -> Bars:
    """Return the bars with the last row of each (instrument, open time), in order of these."""
    if len(bars) < 2:
        return bars
    order = np.lexsort((np.arange(len(bars)), bars["open_ns"], bars["instrument_id"]))
    ordered = bars[order]
    last = np.ones(len(ordered), dtype=bool)
    same_instrument = ordered["instrument_id"][1:] == ordered["instrument_id"][:-1]
    last[:-1] = ~(same_instrument & (ordered["open_ns"][1:] == ordered["open_ns"][:-1]))
    return ordered[last]
