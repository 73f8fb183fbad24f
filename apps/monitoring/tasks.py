"""Celery's entries: one service call each."""

from celery import shared_task

from apps.monitoring.doctor import echo_answer
from apps.monitoring.services import backup_nightly, retention_nightly


@shared_task(name="monitoring.backup")
def backup_task() -> str:
    """Make the nightly backup."""
    return backup_nightly()


@shared_task(name="monitoring.retention")
def retention_task() -> dict[str, int]:
    """Delete what is past its keeping time."""
    return retention_nightly()


@shared_task(name="monitoring.echo")
def echo_task(nonce: str, queue: str) -> None:
    """Answer `manage.py doctor` from this queue's worker."""
    echo_answer(nonce, queue)
