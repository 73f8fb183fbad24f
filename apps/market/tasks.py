"""Celery's way in: load ids, one service call."""

from celery import shared_task

from apps.common.jobs import job_work
from apps.market.selectors import venue_by_code
from apps.market.services import backfill_share, instruments_sync, universe_refresh, venues_sync


@shared_task(name="market.instruments_sync")
def instruments_sync_task(venue_code: str) -> int:
    """Ask a venue what it lists."""
    return instruments_sync(venue_by_code(venue_code))


@shared_task(name="market.venues_sync")
def venues_sync_task() -> int:
    """Ask every active venue what it lists: new instruments, new terms, universes by rule."""
    return venues_sync()


@shared_task(name="market.universe_refresh")
def universe_refresh_task(name: str) -> int:
    """Work a universe's rule out anew."""
    return len(universe_refresh(name))


@shared_task(name="market.backfill")
def backfill_task(job_id: int) -> int:
    """Do shares of a back-fill until none is free; other workers do the others."""
    return job_work(job_id, backfill_share)
