"""What runs by the clock."""

from celery.schedules import crontab

SCHEDULE = {
    "market.venues_sync": {"task": "market.venues_sync", "schedule": crontab(minute=5, hour="*")},
}
