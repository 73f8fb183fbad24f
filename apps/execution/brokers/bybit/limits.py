"""Bybit's rate limits, as the governor counts them: by key and kind of request, and 600 in 5 s by address."""

from apps.common.governor import ADDRESS, DEFAULT, Limit

LIMITS = {
    ADDRESS: Limit(600, 5.0),
    DEFAULT: Limit(50, 1.0),
    "order.linear": Limit(10, 1.0),
    "order.spot": Limit(20, 1.0),
    "cancel.linear": Limit(10, 1.0),
    "cancel.spot": Limit(20, 1.0),
}
