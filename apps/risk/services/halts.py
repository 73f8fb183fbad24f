"""Halts: a breaker stops an account or a deployment; a person ends that, with a reason."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from apps.common.audit import audit_write
from apps.common.outbox import outbox_add
from apps.risk.events import HaltChanged
from apps.risk.models import Halt
from apps.users.models import User
from trader.core.risk import Trip

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ADD = """
INSERT INTO risk_halt (id, account_id, deployment_key, cause, detail, market_at, created_at)
SELECT given.*, now()
FROM unnest(%(c0)s::uuid[], %(c1)s::bigint[], %(c2)s::text[], %(c3)s::text[], %(c4)s::text[], %(c5)s::timestamptz[])
  AS given
ON CONFLICT DO NOTHING
"""


class HaltRefused(ValidationError):
    """A halt cannot be ended as asked; the message says why."""


@dataclass(frozen=True)
class HaltRow:
    """A halt that begins. An empty `deployment_key` stops the whole account."""

    account_id: int
    cause: str
    detail: str
    market_ns: int
    deployment_key: str = ""
    id: uuid.UUID = field(default_factory=uuid.uuid4)

    @classmethod
    def of_trip(cls, trip: Trip, *, account_id: int, market_ns: int, deployment_key: str = "") -> "HaltRow":
        """Return the halt that a breaker of the core asks for."""
        return cls(account_id, trip.cause, trip.detail[:200], market_ns, deployment_key)


async def halts_add(connection: Any, rows: Sequence[HaltRow]) -> None:
    """Write halts in one statement, inside the caller's transaction; one that is open already stays the only one."""
    if rows:
        columns = list(zip(*map(_columns, rows), strict=True))
        await connection.execute(ADD, {f"c{index}": list(column) for index, column in enumerate(columns)})


def halt_events(rows: Sequence[HaltRow]) -> list[tuple[str, HaltChanged]]:
    """Return the log messages of these halts, for the outbox of the same transaction."""
    return [
        (
            "halts",
            HaltChanged(
                id=str(row.id), account_id=row.account_id, deployment_key=row.deployment_key, cause=row.cause,
                detail=row.detail, market_ns=row.market_ns,
            ),
        )
        for row in rows
    ]  # fmt: skip


@transaction.atomic
def halt_end(*, halt: Halt, person: User, reason: str) -> Halt:
    """End a halt: new risk may leave again. Raises `HaltRefused` without a reason, or when it has ended already."""
    held = Halt.objects.select_for_update().get(pk=halt.pk)
    if not reason.strip():
        raise HaltRefused({"reason": "Say why it is safe to go on."})
    if held.ended_at is not None:
        raise HaltRefused("This halt has ended already.")
    held.ended_at, held.ended_by = timezone.now(), person
    held.save(update_fields=["ended_at", "ended_by"])
    audit_write(
        actor=person.get_username(),
        action="halt ended",
        target=f"halt:{held.pk} account:{held.account_id} {held.deployment_key}".strip(),
        before={"cause": held.cause, "detail": held.detail},
        after=None,
        reason=reason,
    )
    outbox_add(("halts", _ended(held, person)))
    return held


def _ended(held: Halt, person: User) -> HaltChanged:
    return HaltChanged(
        id=str(held.pk), account_id=held.account_id, deployment_key=held.deployment_key, cause=held.cause,
        detail=held.detail, market_ns=_ns(held.market_at), ended_ns=_ns(held.ended_at),
        ended_by=person.get_username(),
    )  # fmt: skip


def _columns(row: HaltRow) -> tuple[Any, ...]:
    moment = EPOCH + timedelta(microseconds=row.market_ns // 1000)
    return (row.id, row.account_id, row.deployment_key, row.cause[:40], row.detail[:200], moment)


def _ns(moment: datetime | None) -> int:
    return 0 if moment is None else (moment - EPOCH) // timedelta(microseconds=1) * 1000
