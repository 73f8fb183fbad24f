"""What the venue says no with: Bybit's codes and words, as its clients map them."""

from __future__ import annotations


class VenueRefusal(Exception):
    """A request that is refused; becomes `retCode` and `retMsg` of the envelope (HTTP 200)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.message = code, message


BAD_REQUEST = 10001
CLOCK = 10002
KEY_UNKNOWN = 10003
SIGNATURE = 10004
TOO_MANY = 10006
SYSTEM_ERROR = 10016
PATH_UNKNOWN = 10017
ADDRESS_TOO_MANY = 10018

NOT_MODIFIED_LEVERAGE = 110043
NOT_MODIFIED_MODE = 110025

# meaning: (linear, spot)
_BY_KIND = {
    "not_found": ((110001, "order not exists or too late to cancel"), (170213, "Order does not exist.")),
    "funds": ((110007, "ab not enough for new order"), (170131, "Insufficient balance.")),
    "duplicate": ((110072, "OrderLinkedID is duplicate"), (170141, "Duplicate clientOrderId")),
    "value_low": ((110094, "Order does not meet minimum order value"), (170140, "Order value exceeded lower limit.")),
    "quantity_low": (
        (10001, "The number of contracts is below the minimum"),
        (170136, "Order quantity exceeded lower limit."),
    ),
    "quantity_step": ((10001, "Qty invalid"), (170137, "Order quantity has too many decimals.")),
    "price_step": ((10001, "Price invalid"), (170134, "Order price has too many decimals.")),
    "symbol": ((10001, "symbol invalid"), (170121, "Invalid symbol.")),
    "reduce_only": (
        (110017, "current position is zero, cannot fix reduce-only order qty"),
        (170130, "reduceOnly is not valid on spot"),
    ),
    "halted": ((110066, "No trading is allowed at the current time"), (170031, "The feature has been suspended")),
    "too_many_orders": ((110020, "number of active orders greater than 500"), (170005, "Too many new orders")),
    "cancel_failed": ((110010, "The order cannot be cancelled now"), (170142, "Order has been canceled")),
}


def refusal(meaning: str, kind: str, detail: str = "") -> VenueRefusal:
    """Return the refusal with this meaning in the words and code of `kind` (linear or spot)."""
    code, message = _BY_KIND[meaning][kind == "spot"]
    return VenueRefusal(code, f"{message} {detail}".strip())


def bad_request(text: str) -> VenueRefusal:
    """Return a refusal for a parameter that is wrong or missing; the text names it."""
    return VenueRefusal(BAD_REQUEST, text)


def not_served(what: str) -> VenueRefusal:
    """Return the refusal of something the real venue knows and this one does not."""
    return bad_request(f"{what} is not offered by this simulated exchange")
