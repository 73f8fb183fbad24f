"""The Celery application: `celery -A celery_worker.app worker -Q data`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trader.settings")
app = Celery("quarterdeck")
