"""Bars as numpy rows, and their way through PostgreSQL's binary COPY format, both ways without a loop."""

import numpy as np
import numpy.typing as npt

EMPTY, BACKFILLED, LATE, REVISED, DIFFERED = 1, 2, 4, 8, 16
"""Flags of a bar: no prints; from the venue's klines instead of the feed; stored late; a corrected revision; the
venue's figures, where the prints that we heard made others."""

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
_TEMPLATE = np.zeros(1, dtype=WIRE_DTYPE)  # a row with its lengths, copied whole: cheaper than column by column
_TEMPLATE["fields"] = len(_WIRE)
for _name, _kind in _WIRE:
    _TEMPLATE[f"{_name}_length"] = np.dtype(_kind).itemsize
HEADER = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
TRAILER = b"\xff\xff"


def bars_empty() -> Bars:
    """Return no bars, in the right shape."""
    return np.empty(0, dtype=BAR_DTYPE)


def pack(bars: Bars, *, epoch_id: int, timeframe_s: int, source: int) -> bytearray:
    """Return the bars as one binary COPY stream for `tables.COLUMNS`."""
    row = _TEMPLATE.copy()
    row["epoch_id"], row["timeframe_s"], row["source"] = epoch_id, timeframe_s, source
    stream = bytearray(HEADER + row.tobytes() * len(bars) + TRAILER)
    wire = np.frombuffer(stream, dtype=WIRE_DTYPE, count=len(bars), offset=len(HEADER))
    for name in BAR_DTYPE.names or ():
        wire[name] = bars[name]
    return stream


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
    if len(bars) < 2 or _is_distinct(bars):
        return bars
    order = np.lexsort((np.arange(len(bars)), bars["open_ns"], bars["instrument_id"]))
    ordered = bars[order]
    last = np.ones(len(ordered), dtype=bool)
    same_instrument = ordered["instrument_id"][1:] == ordered["instrument_id"][:-1]
    last[:-1] = ~(same_instrument & (ordered["open_ns"][1:] == ordered["open_ns"][:-1]))
    return ordered[last]


def _is_distinct(bars: Bars) -> bool:
    """Whether the bars come ordered by instrument and time without a repeat, as a back-fill's do."""
    instrument, opened = np.diff(bars["instrument_id"]), np.diff(bars["open_ns"])
    return bool(np.all((instrument > 0) | ((instrument == 0) & (opened > 0))))
