"""The audit trail: who did what that moves money or limits, and why. Append-only: a trigger refuses the rest."""

from typing import Any

from apps.common.models import AuditEntry


def audit_write(
    actor: str,
    action: str,
    target: str,
    before: Any = None,
    after: Any = None,
    reason: str = "",
    *,
    address: str = "",
) -> AuditEntry:
    """Add an entry, in the running transaction if there is one: what is not recorded did not happen.

    `actor` is a person's name or `system:<part>`; `before` and `after` are plain JSON values without secrets.
    """
    if not actor or not action:
        raise ValueError("an audit entry needs an actor and an action")
    return AuditEntry.objects.create(
        actor=actor[:150],
        action=action[:80],
        target=str(target)[:200],
        before=before,
        after=after,
        reason=reason,
        address=address[:64],
    )


def audit_of(target: str, limit: int = 100) -> list[AuditEntry]:
    """Return the newest entries about a target, newest first."""
    return list(AuditEntry.objects.filter(target=target)[:limit])
