"""Timeframes: their names, lengths and the grid that bars stand on."""

from enum import IntEnum

from trader.core.types.errors import DataError

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS


class Timeframe(IntEnum):
    """Length of a bar in seconds. Every length divides a day, so bars stand on the UTC grid."""

    S1 = 1
    M1 = 60
    M5 = 300
    M15 = 900
    M30 = 1_800
    H1 = 3_600
    H4 = 14_400
    D1 = 86_400

    @property
    def ns(self) -> int:
        return int(self) * SECOND_NS

    @property
    def label(self) -> str:
        """The name people and venues use: `1m`, `4h`."""
        for seconds, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
            if self >= seconds:
                return f"{self // seconds}{unit}"
        return f"{int(self)}s"

    @classmethod
    def parse(cls, label: str) -> "Timeframe":
        """`1m` to M1. Raises DataError for a name that is not in the list."""
        for timeframe in cls:
            if timeframe.label == label:
                return timeframe
        raise DataError(f"timeframe {label!r} is unknown: use one of {', '.join(t.label for t in cls)}")

    def open_of(self, ts_ns: int) -> int:
        """Open time of the bar that holds `ts_ns`, in UTC nanoseconds."""
        return ts_ns - ts_ns % self.ns


def market_day(ts_ns: int) -> int:
    """Number of the UTC day, for limits that count by day."""
    return ts_ns // DAY_NS
