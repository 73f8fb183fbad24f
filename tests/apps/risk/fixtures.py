"""A kill switch on the test run's own servers, clear before and after: for every test that engages or reads it.

Records are written beside Django's transaction: use it with `django_db(transaction=True)`.
"""

import asyncio
import shutil

import pytest
import redis
from django.conf import settings

from apps.risk.killswitch import overview, reader, switch
from apps.risk.models import KillRecord
from trader.config import config


def kill_wipe() -> None:
    """Forget all records, as if nothing had ever started here."""
    KillRecord.objects.all().delete()
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.delete("qd:kill")
    shutil.rmtree(config.runtime.state_dir / "kill", ignore_errors=True)
    overview.kept_forget()


@pytest.fixture
def kill_clear(transactional_db, monkeypatch):
    """Three clear records of generation 1 on this run's servers."""
    monkeypatch.setattr(reader, "_host_started", True)
    kill_wipe()
    assert asyncio.run(switch.first_up())
    yield
    kill_wipe()
