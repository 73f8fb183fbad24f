"""Celery's entries: one service call each."""

from celery import shared_task

from apps.monitoring.services import backup_nightly


@shared_task(name="monitoring.backup")
def backup_task() -> str:
    """Make the nightly backup."""
    return backup_nightly()
