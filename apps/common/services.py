"""Housekeeping of the common tables."""

from datetime import timedelta

from django.db import connection

from trader.config import config

PRUNE_BATCH = 10_000
PRUNE = """
DELETE FROM common_outbox WHERE (topic, n) IN (
    SELECT topic, n FROM common_outbox WHERE at < clock_timestamp() - %s ORDER BY at LIMIT %s
)
"""


def outbox_prune(batch: int = PRUNE_BATCH) -> int:
    """Delete log messages past their keeping time, in short transactions; returns how many went."""
    age = timedelta(days=config.bus.outbox_days)
    pruned = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(PRUNE, [age, batch])
            pruned += cursor.rowcount
            if cursor.rowcount < batch:
                return pruned
