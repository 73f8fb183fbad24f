"""What runs nightly: the backup, then what is past its keeping time goes."""

from celery.schedules import crontab

SCHEDULE = {
    "monitoring: backup": {"task": "monitoring.backup", "schedule": crontab(hour=2, minute=30)},
    "monitoring: retention": {"task": "monitoring.retention", "schedule": crontab(hour=3, minute=40)},
}
