"""Can this installation serve and trade? Asked by probes without a sign-in: cheap, bounded in time, and no secrets.

Answers are fixed words: what a server says of itself (addresses, names) stays in the logs.
"""

import os
import threading
import time
from dataclasses import dataclass, field

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from apps.common.redis_clients import sync_client
from apps.common.residents import residents_registered
from apps.monitoring.selectors import residents_now
from trader.config import config

KEPT_S = 1.0  # a flood of probes costs one look a second
STATEMENT_MS = 1500


@dataclass(frozen=True)
class Readiness:
    """What is missing for pages to be served, and what is missing for trading."""

    missing: list[str] = field(default_factory=list)
    not_trading: list[str] = field(default_factory=list)

    @property
    def is_ready(self) -> bool:
        """Say whether this web process can serve."""
        return not self.missing


_lock = threading.Lock()
_last: tuple[float, Readiness] | None = None
_schema_known = False


def readiness() -> Readiness:
    """Return what is missing, as of a second ago at most. One look at a time: others wait for its answer."""
    global _last
    with _lock:
        if _last is None or time.monotonic() - _last[0] > KEPT_S:
            _last = (time.monotonic(), readiness_look())
        return _last[1]


def readiness_look() -> Readiness:
    """Look now."""
    missing: list[str] = []
    not_trading = _database(missing)
    if not _bus_answers():
        missing.append("the bus does not answer")
    if not os.access(config.runtime.state_dir, os.W_OK | os.X_OK):
        missing.append("the state folder cannot be written")
    return Readiness(missing, not_trading)


def _database(missing: list[str]) -> list[str]:
    """Ask the database; a server that stands still is given up after the connection's own limits."""
    global _schema_known
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {STATEMENT_MS}")
        try:
            if not _schema_known:
                executor = MigrationExecutor(connection)
                _schema_known = not executor.migration_plan(executor.loader.graph.leaf_nodes())
            if not _schema_known:
                missing.append("the database's schema is not of this version: manage.py migrate")
                return []
            return _residents()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = DEFAULT")
    except DatabaseError:
        missing.append("the database does not answer")
        connection.close()
        return []


def _bus_answers() -> bool:
    try:
        return bool(sync_client(settings.REDIS_URL).ping())
    except (redis.RedisError, OSError):
        return False


def _residents() -> list[str]:
    """Return, per kind, how many that should run are held by nobody. Counted, not named: anybody may ask."""
    held = {(row.kind, row.key) for row in residents_now() if row.is_held}
    words = []
    for kind in residents_registered():
        wanted = kind.keys_now()
        lost = [key for key in wanted if (kind.kind, key) not in held]
        if lost:
            words.append(f"{kind.kind}: {len(lost)} of {len(wanted)} run nowhere")
    return words
