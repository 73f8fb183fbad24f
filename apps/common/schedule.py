"""What runs nightly for the common library."""

from celery.schedules import crontab

SCHEDULE = {
    "common: prune the outbox": {"task": "common.outbox_prune", "schedule": crontab(hour=3, minute=10)},
    "common: wake jobs": {"task": "common.jobs_wake", "schedule": 60.0, "options": {"expires": 50}},
}
