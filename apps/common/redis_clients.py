"""Connections to Redis (or Valkey): short timeouts for commands, none for reads that wait.

redis-py's default socket timeout of 5 s kills blocking reads at random, and its retries hide an outage
from those who must fail closed: both are set here, once.
"""

import threading

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

COMMAND_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 1.0

BUS_ERRORS = (redis.RedisError, OSError, TimeoutError)

_sync: dict[str, redis.Redis] = {}
_lock = threading.Lock()


def command_client(url: str, timeout_s: float = COMMAND_TIMEOUT_S) -> redis.asyncio.Redis:
    """Return an async client for commands that answer at once; errors come back within `timeout_s`."""
    return _async_client(url, timeout_s)


def blocking_client(url: str) -> redis.asyncio.Redis:
    """Return an async client for reads that wait: pub/sub and XREAD BLOCK."""
    return _async_client(url, None)


def _async_client(url: str, timeout_s: float | None) -> redis.asyncio.Redis:
    keepalive = {} if url.startswith("unix") else {"socket_keepalive": True}
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=AsyncRetry(NoBackoff(), 0),
        health_check_interval=0,
        **keepalive,
    )


def sync_client(url: str, timeout_s: float = 0.5) -> redis.Redis:
    """Return this process's synchronous client for `url`; it may be shared by threads."""
    with _lock:
        if url not in _sync:
            _sync[url] = redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
            )
        return _sync[url]
