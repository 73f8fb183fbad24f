"""Servers that are not ours: whether they answer, said before anything is started on them."""

from urllib.parse import urlsplit

from trader.runtime.errors import StartError

TIMEOUT_S = 5


def refuse_silent(database_url: str, redis_url: str) -> None:
    """Raise StartError for a given address at which no server answers; an empty one is embedded, and not asked."""
    if database_url:
        _database(database_url)
    if redis_url:
        _redis(redis_url)


def _database(url: str) -> None:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=TIMEOUT_S).close()
    except psycopg.Error as error:
        raise _silent("DATABASE_URL", "PostgreSQL", url, error) from None


def _redis(url: str) -> None:
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise _silent("REDIS_URL", "Redis or Valkey", url, error) from None


def _silent(variable: str, server: str, url: str, error: Exception) -> StartError:
    words = " ".join(str(error).split())[:200]
    return StartError(
        f"No {server} answers at {variable} ({_without_password(url)}): {words}",
        f"start that server or correct {variable}; without {variable} an embedded one is used.",
    )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    place = parts.hostname or parts.path
    return f"{parts.scheme}://{place}{f':{parts.port}' if parts.port else ''}"
