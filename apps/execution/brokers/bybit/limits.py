"""Bybit's rate limits of orders and cancels, as the governor counts them by key; `market` registers the others."""

from apps.common.governor import Limit

# the venue counts arrivals, we count departures: a tenth more time, so that one request that was slow on its way does
# not meet the next window's first ones there
SPAN_S = 1.1
LIMITS = {
    "order.linear": Limit(10, SPAN_S),
    "order.spot": Limit(20, SPAN_S),
    "cancel.linear": Limit(10, SPAN_S),
    "cancel.spot": Limit(20, SPAN_S),
}
