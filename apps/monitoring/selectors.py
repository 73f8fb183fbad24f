"""What runs: residents with their leases, and long work."""

from dataclasses import dataclass
from typing import Any

from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now

from apps.common.models import Job, Lease

JOBS_SHOWN = 50


@dataclass(frozen=True)
class ResidentRow:
    """A resident: who holds its lease, for how long still, and what it reports."""

    kind: str
    key: str
    holder: str
    fence: int
    left_s: float
    state: str
    lag_s: float | None
    since: Any

    @property
    def is_held(self) -> bool:
        """Say whether somebody holds the lease, by the database's clock."""
        return bool(self.holder) and self.left_s > 0


def residents_now() -> list[ResidentRow]:
    """Return all leases with the time left, judged by the database's clock."""
    left = ExpressionWrapper(F("expires_at") - Now(), output_field=DurationField())
    return [
        ResidentRow(
            kind=row.kind,
            key=row.key,
            holder=row.holder,
            fence=row.fence,
            left_s=row.left.total_seconds(),
            state=str(row.meta.get("state", "")),
            lag_s=row.meta.get("lag_s"),
            since=row.since,
        )
        for row in Lease.objects.annotate(left=left)
    ]


def jobs_recent() -> list[Job]:
    """Return the newest jobs, running ones among them."""
    return list(Job.objects.all()[:JOBS_SHOWN])
