"""Bybit's rate limits of orders and cancels, as the governor counts them by key; `market` registers the others."""

from apps.common.governor import Limit

LIMITS = {
    "order.linear": Limit(10, 1.0),
    "order.spot": Limit(20, 1.0),
    "cancel.linear": Limit(10, 1.0),
    "cancel.spot": Limit(20, 1.0),
}
