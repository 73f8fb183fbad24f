"""Celery's entries of the common library."""

from celery import shared_task

from apps.common.jobs import jobs_wake
from apps.common.services import outbox_prune


@shared_task(name="common.outbox_prune")
def outbox_prune_task() -> int:
    """Delete log messages past their keeping time."""
    return outbox_prune()


@shared_task(name="common.jobs_wake")
def jobs_wake_task() -> int:
    """Wake workers for jobs that have free shares."""
    return jobs_wake()
