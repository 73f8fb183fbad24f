"""Reads recorded bars and trades from Parquet or CSV, and says in words what is wrong with a file.

Rows are counted from 1, the first row of data. Libraries that read columns are imported here only,
when a replay needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apps.simulator.markets.base import MINUTE_NS, MarketError

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
TIME_NAMES = ("ts", "timestamp")
SIZE_NAMES = ("size", "amount", "quantity", "qty")
ENDINGS = (".parquet", ".csv", ".csv.gz")
MOST_DECIMALS = 12
_UNIT_NS = ((10**17, 1), (10**14, 10**3), (10**11, 10**6), (0, 10**9))  # whole numbers as ns, us, ms, s


@dataclass(frozen=True)
class BarFile:
    """One-minute bars: `open_ns` ascending, prices and volume as in the file, float64."""

    name: str
    open_ns: np.ndarray
    columns: dict[str, np.ndarray]


@dataclass(frozen=True)
class TradeFile:
    """Trades: `ts_ns` not descending, `price`, `size` float64, `is_buy` or None where the file does not say."""

    name: str
    ts_ns: np.ndarray
    price: np.ndarray
    size: np.ndarray
    is_buy: np.ndarray | None


def file_find(folder: Path, name: str) -> Path:
    """Return the file of a name under a folder, by name alone or with its ending."""
    if not folder.is_dir():
        raise MarketError(f"--data {folder} is no folder. Fix: give the folder that holds the files.")
    for place in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
        for ending in ("", *ENDINGS):
            if (place / f"{name}{ending}").is_file():
                return place / f"{name}{ending}"
    near = sorted(path.name for path in folder.rglob("*") if path.name.endswith(ENDINGS))
    some = ", ".join(near[:8]) + (" …" if len(near) > 8 else "")
    raise MarketError(
        f"--symbols: no file {name}.parquet, .csv or .csv.gz under {folder}. It holds: {some or 'no such files'}."
    )


def file_read(path: Path) -> BarFile | TradeFile:
    """Return the bars or the trades of a file; which they are is told by its columns."""
    columns = _csv(path) if path.name.endswith((".csv", ".csv.gz")) else _parquet(path)
    time_name = next((name for name in TIME_NAMES if name in columns), None)
    if time_name is None:
        raise MarketError(f"{path}: column `ts` is missing. {_has(columns)}")
    if "open" not in columns and "price" in columns:
        return _trades(path, columns, time_name)
    missing = [name for name in BAR_COLUMNS if name not in columns]
    if missing:
        raise MarketError(
            f"{path}: column `{missing[0]}` is missing; expected bars (ts, open, high, low, close, volume) "
            f"or trades (ts, price, size). {_has(columns)}"
        )
    return _bars(path, columns, time_name)


def finest_step(values: np.ndarray) -> tuple[int, float]:
    """Return the finest decimals found in `values` and the step they make: (2, 0.01)."""
    for decimals in range(MOST_DECIMALS + 1):
        scaled = values * 10.0**decimals
        # what float64 cannot tell apart is not a decimal of the file
        if np.all(np.abs(scaled - np.rint(scaled)) <= np.maximum(np.abs(scaled) * 4e-16, 1e-9)):
            return decimals, 10.0**-decimals
    return MOST_DECIMALS, 10.0**-MOST_DECIMALS


def _has(columns: dict[str, Any]) -> str:
    return f"It has: {', '.join(columns)}."


def _parquet(path: Path) -> dict[str, Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise MarketError(f"{path} cannot be read as Parquet: {error}") from None
    return {name.lower(): table[name] for name in table.column_names}


def _csv(path: Path) -> dict[str, Any]:
    import pyarrow
    import pyarrow.csv

    try:
        with pyarrow.csv.open_csv(path) as reader:
            names = reader.schema.names
        texts = {name: pyarrow.string() for name in names}
        options = pyarrow.csv.ConvertOptions(column_types=texts, strings_can_be_null=True)
        table = pyarrow.csv.read_csv(path, convert_options=options)
    except (pyarrow.ArrowException, OSError) as error:
        raise MarketError(f"{path} cannot be read as CSV with a header line: {error}") from None
    return {name.strip().lower(): table[name] for name in table.column_names}


def _bars(path: Path, columns: dict[str, Any], time_name: str) -> BarFile:
    open_ns = _times(path, time_name, columns[time_name])
    values = {name: _numbers(path, name, columns[name]) for name in BAR_COLUMNS}
    _rows_any(path, open_ns)
    _refuse(path, time_name, open_ns % MINUTE_NS != 0, open_ns, "a whole minute, the open time of a one-minute bar")
    steps = np.diff(open_ns)
    _refuse(path, time_name, np.concatenate([[False], steps <= 0]), open_ns, "a time after the row before")
    if len(steps) and np.median(steps) != MINUTE_NS:
        raise MarketError(
            f"{path}: column `{time_name}`: rows lie {int(np.median(steps)) // 10**9} s apart; expected one-minute bars"
        )
    for name in BAR_COLUMNS[:4]:
        _refuse(path, name, values[name] <= 0, values[name], "a price above 0")
    _refuse(path, "volume", values["volume"] < 0, values["volume"], "a volume of 0 or more")
    body_high, body_low = np.maximum(values["open"], values["close"]), np.minimum(values["open"], values["close"])
    _refuse(path, "high", values["high"] < body_high, values["high"], "at least open and close")
    _refuse(path, "low", values["low"] > body_low, values["low"], "at most open and close")
    moved = (values["high"] > values["low"]) & (values["volume"] == 0)
    _refuse(path, "volume", moved, values["volume"], "above 0 where the price moves")
    return BarFile(path.name, open_ns, values)


def _trades(path: Path, columns: dict[str, Any], time_name: str) -> TradeFile:
    size_name = next((name for name in SIZE_NAMES if name in columns), None)
    if size_name is None:
        raise MarketError(f"{path}: column `size` is missing; expected ts, price, size. {_has(columns)}")
    ts_ns = _times(path, time_name, columns[time_name])
    price, size = _numbers(path, "price", columns["price"]), _numbers(path, size_name, columns[size_name])
    _rows_any(path, ts_ns)
    earlier = np.concatenate([[False], np.diff(ts_ns) < 0])
    _refuse(path, time_name, earlier, ts_ns, "a time not before the row before")
    _refuse(path, "price", price <= 0, price, "a price above 0")
    _refuse(path, size_name, size <= 0, size, "a size above 0")
    return TradeFile(path.name, ts_ns, price, size, _sides(path, columns))


def _sides(path: Path, columns: dict[str, Any]) -> np.ndarray | None:
    if "side" in columns:
        words = [str(value).lower() for value in columns["side"].to_pylist()]
        wrong = np.array([word not in ("buy", "sell") for word in words])
        _refuse(path, "side", wrong, np.array(words), "buy or sell")
        return np.array([word == "buy" for word in words])
    if "buyer_maker" in columns:
        return np.array([str(value).lower() != "true" for value in columns["buyer_maker"].to_pylist()])
    return None


def _rows_any(path: Path, times: np.ndarray) -> None:
    if not len(times):
        raise MarketError(f"{path} has no rows")


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    try:
        values = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    except (TypeError, ValueError):
        texts = column.to_pylist()
        row = next(number for number, text in enumerate(texts, 1) if _float(text) is None)
        raise _error(path, row, name, texts[row - 1], "a number") from None
    _refuse(path, name, ~np.isfinite(values), values, "a number")
    return values


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _times(path: Path, name: str, column: Any) -> np.ndarray:
    import pyarrow

    kind = column.type
    if column.null_count:
        row = next(number for number, value in enumerate(column.is_null().to_pylist(), 1) if value)
        raise _error(path, row, name, "nothing", "a time")
    if pyarrow.types.is_timestamp(kind):
        return np.asarray(column.cast(pyarrow.timestamp("ns", kind.tz)).cast(pyarrow.int64()).to_numpy())
    if pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
        return _epochs(np.asarray(column.to_numpy()))
    return _texts_to_ns(path, name, [str(value) for value in column.to_pylist()])


def _epochs(values: np.ndarray) -> np.ndarray:
    largest = float(np.max(np.abs(values))) if len(values) else 0
    unit = next(unit for least, unit in _UNIT_NS if largest >= least)
    return np.rint(values * unit).astype(np.int64) if values.dtype.kind == "f" else values.astype(np.int64) * unit


def _texts_to_ns(path: Path, name: str, texts: list[str]) -> np.ndarray:
    if texts and all(text.strip().isdecimal() for text in texts):
        return _epochs(np.array([int(text) for text in texts], dtype=np.int64))
    return np.array([_time(path, row, name, text) for row, text in enumerate(texts, 1)], dtype=np.int64)


def _time(path: Path, row: int, name: str, text: str) -> int:
    clean = text.strip().replace(" ", "T", 1)
    for ending in ("Z", "+00:00", "+0000", "TUTC", "UTC"):
        clean = clean.removesuffix(ending)
    try:
        return int(np.datetime64(clean, "ns").astype(np.int64))
    except ValueError:
        raise _error(
            path, row, name, text, "a UTC time like 2018-04-04T00:00:00, or whole seconds since 1970"
        ) from None


def _refuse(path: Path, name: str, wrong: np.ndarray, values: np.ndarray, expected: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row]
        shown = np.datetime64(int(value), "ns") if name in TIME_NAMES else value
        raise _error(path, row + 1, name, shown, expected)


def _error(path: Path, row: int, name: str, value: Any, expected: str) -> MarketError:
    return MarketError(f"{path}, row {row}, column `{name}`: {value}; expected {expected}")
