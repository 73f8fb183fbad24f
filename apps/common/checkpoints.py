"""Checkpoints: the state of a resident's steps, so that it goes on where it was."""

from typing import Any, NamedTuple

from django.db import connection

FIND = "SELECT body, version, saved_at FROM common_checkpoint WHERE kind = %s AND key = %s AND epoch = %s"
# A holder that lost its lease must not overwrite its successor's state.
PUT = """
INSERT INTO common_checkpoint AS kept (kind, key, epoch, version, body, fence, saved_at)
SELECT given.kind, given.key, given.epoch, given.version, given.body, %s, clock_timestamp()
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::bytea[]) AS given (kind, key, epoch, version, body)
ON CONFLICT (kind, key, epoch) DO UPDATE SET
    version = excluded.version, body = excluded.body, fence = excluded.fence, saved_at = excluded.saved_at
WHERE kept.fence <= excluded.fence
"""


class Checkpoint(NamedTuple):
    """What was saved: the state, and the hash of the definitions it belongs to."""

    body: bytes
    version: str
    saved_at: Any


class CheckpointToSave(NamedTuple):
    """One checkpoint of a batch."""

    kind: str
    key: str
    epoch: int
    body: bytes
    version: str


def checkpoint_save(kind: str, key: str, epoch: int, body: bytes, version: str, fence: int = 0) -> bool:
    """Save a state; returns False when one with a higher fence is there already."""
    with connection.cursor() as cursor:
        cursor.execute(PUT, _arguments([CheckpointToSave(kind, key, epoch, body, version)], fence))
        return cursor.rowcount == 1


def checkpoint_load(kind: str, key: str, epoch: int, version: str | None = None) -> Checkpoint | None:
    """Return the saved state; None when there is none, or when it belongs to another version than asked for."""
    with connection.cursor() as cursor:
        cursor.execute(FIND, [kind, key, epoch])
        return _found(cursor.fetchone(), version)


async def checkpoints_save_async(pool: Any, checkpoints: list[CheckpointToSave], fence: int = 0) -> int:
    """Save several states in one statement; returns how many were not refused for their fence."""
    if not checkpoints:
        return 0
    async with pool.connection() as opened:
        cursor = await opened.execute(PUT, _arguments(checkpoints, fence))
        return cursor.rowcount


async def checkpoint_load_async(
    pool: Any, kind: str, key: str, epoch: int, version: str | None = None
) -> Checkpoint | None:
    """Return the saved state, from asyncio code."""
    async with pool.connection() as opened:
        cursor = await opened.execute(FIND, [kind, key, epoch])
        return _found(await cursor.fetchone(), version)


def _arguments(checkpoints: list[CheckpointToSave], fence: int) -> list[Any]:
    return [
        fence,
        [one.kind for one in checkpoints],
        [one.key for one in checkpoints],
        [one.epoch for one in checkpoints],
        [one.version for one in checkpoints],
        [one.body for one in checkpoints],
    ]


def _found(row: Any, version: str | None) -> Checkpoint | None:
    if row is None or (version is not None and row[1] != version):
        return None
    return Checkpoint(bytes(row[0]), row[1], row[2])
