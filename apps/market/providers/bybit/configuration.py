"""How ccxt is told to speak to a Bybit address: the real one, the test net, or the simulator."""

from typing import Any

RECEIVE_WINDOW_MS = 1000
PING_EVERY_MS = 2000
NEVER = 1e9  # our own watch decides when a connection is stale, by any frame and not by pongs alone


def exchange_configuration(rest_url: str, socket_url: str) -> dict[str, Any]:
    """Return a ccxt or ccxt.pro constructor's dict; empty addresses mean the vendor's own. Keys are the caller's.

    ccxt's own limiter is off, because its leaky bucket holds an order back for 50 ms; the governor limits.
    """
    configuration: dict[str, Any] = {
        "enableRateLimit": False,
        "timeout": 5000,
        "options": {
            "recvWindow": RECEIVE_WINDOW_MS,
            "fetchMarkets": {"types": ["spot", "linear"]},
            "defaultType": "spot",
            "ws": {"compress": 0},
        },
        "streaming": {"keepAlive": PING_EVERY_MS, "maxPingPongMisses": NEVER},
    }
    urls: dict[str, Any] = {}
    if rest_url:
        urls.update({part: rest_url.rstrip("/") for part in ("spot", "futures", "v2", "public", "private")})
    if socket_url:
        urls["ws"] = _socket_urls(socket_url.rstrip("/"))
    if urls:
        configuration["urls"] = {"api": urls}
    return configuration


def _socket_urls(base: str) -> dict[str, Any]:
    private = f"{base}/v5/private"
    return {
        "public": {kind: f"{base}/v5/public/{kind}" for kind in ("spot", "linear", "inverse", "option")},
        "private": {
            "contract": private,
            "usdc": private,
            "trade": f"{base}/v5/trade",
            "spot": {"unified": private, "nonUnified": private},
        },
    }
