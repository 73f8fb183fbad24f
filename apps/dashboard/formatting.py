"""Numbers and times as people read them: a real minus sign, thousands by comma, a column's own decimals."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

MINUS = "−"
NONE = "–"
NS = 1_000_000_000


def decimal_of(value: Any) -> Decimal | None:
    """Return `value` (Decimal, number or text) as a finite Decimal; None for nothing, NaN and infinity."""
    if value is None or value == "":
        return None
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def decimals_of(step: Any, most: int = 12) -> int:
    """Return how many decimals a tick or lot has: 0.05 has 2, 10 has 0."""
    number = decimal_of(step)
    if not number:
        return 0
    exponent = number.normalize().as_tuple().exponent
    return min(most, max(0, -int(exponent)))


def number(value: Any, decimals: int = 2) -> str:
    """Return a figure with a fixed number of decimals: `−1,234.50`; `–` for nothing."""
    found = decimal_of(value)
    if found is None:
        return NONE
    text = f"{found:,.{decimals}f}"
    negative = text.startswith("-") and any(c in "123456789" for c in text)
    return (MINUS if negative else "") + text.lstrip("-")


def signed(value: Any, decimals: int = 2) -> str:
    """Return a figure that always shows its sign, but for zero: `+12.40`."""
    text = number(value, decimals)
    found = decimal_of(value)
    rises = found is not None and found > 0 and any(c in "123456789" for c in text)
    return f"+{text}" if rises else text


def plain(value: Any, most: int = 8) -> str:
    """Return a figure with as many decimals as it has, up to `most`, and none that are only zeros."""
    found = decimal_of(value)
    if found is None:
        return NONE
    text = f"{found:,.{most}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", MINUS) if text.strip("-0.,") else "0"


def share(value: Any, decimals: int = 0) -> str:
    """Return a share as per cent: 0.38 is `38 %`, with a narrow space that does not break."""
    found = decimal_of(value)
    return NONE if found is None else f"{number(found * 100, decimals)}\u202f%"


def tone(value: Any) -> str:
    """Return the class of a figure that is good above zero: `gain`, `loss` or nothing."""
    found = decimal_of(value)
    if not found:
        return ""
    return "gain" if found > 0 else "loss"


def arrow(value: Any) -> str:
    """Return ▲, ▼ or nothing: the sign once more, for those who do not see its colour."""
    return {"gain": "▲", "loss": "▼"}.get(tone(value), "")


def moment(ns: int | None) -> datetime | None:
    """Return int64 UTC nanoseconds as an aware datetime."""
    return None if ns is None else datetime.fromtimestamp(ns / NS, tz=UTC)


def ns_of(at: datetime | None) -> int | None:
    """Return an aware datetime as UTC nanoseconds, exact to the microsecond."""
    if at is None:
        return None
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def words(code: str) -> str:
    """Return a code as words: `max_position` is `max position`."""
    return code.replace("_", " ").replace("-", " ").strip()
