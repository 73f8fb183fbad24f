"""Hard limits: their names, and the tightest of those that apply."""

from dataclasses import dataclass, fields
from enum import StrEnum
from math import isnan


class Check(StrEnum):
    """Every check, in the order in which they are asked; the first refusal ends the row.

    `complete` is the guard in front: it refuses whatever cannot be computed.
    """

    COMPLETE = "complete"
    HELD = "held"
    MINIMUM = "minimum"
    ORDER_NOTIONAL = "order_notional"
    POSITION_NOTIONAL = "position_notional"
    GROSS_EXPOSURE = "gross_exposure"
    NET_EXPOSURE = "net_exposure"
    LEVERAGE = "leverage"
    ORDERS_PER_MINUTE = "orders_per_minute"
    PRICE_COLLAR = "price_collar"
    DAILY_LOSS = "daily_loss"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one scope; None where none is set. Field names are the checks' names.

    `order_notional` and `position_notional` are in the account's currency; `gross_exposure`,
    `net_exposure` and `leverage` are multiples of equity; `orders_per_minute` counts on the market
    clock; `price_collar` is a share of the market price; `daily_loss` a share of the day's first equity.
    """

    order_notional: float | None = None
    position_notional: float | None = None
    gross_exposure: float | None = None
    net_exposure: float | None = None
    leverage: float | None = None
    orders_per_minute: float | None = None
    price_collar: float | None = None
    daily_loss: float | None = None

    def tightest(self, *others: "Limits") -> "Limits":
        """The smallest of each limit over this scope and others that apply to the same numbers."""
        scopes = (self, *others)
        return Limits(**{f.name: _smallest([getattr(scope, f.name) for scope in scopes]) for f in fields(Limits)})


def _smallest(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    # a limit that is not a number must stay visible: it refuses, where min() might drop it
    broken = [value for value in known if isnan(value)]
    return broken[0] if broken else min(known, default=None)
