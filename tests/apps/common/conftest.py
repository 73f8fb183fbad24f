"""A clean bus for each test of the common library."""

import pytest
from django.conf import settings
from django.db import connection

from apps.common.bus import Bus
from apps.common.redis_clients import sync_client


@pytest.fixture
def clean_bus():
    """Valkey without any key of ours."""
    client = sync_client(settings.REDIS_URL)
    client.flushall()
    return client


@pytest.fixture
async def bus(clean_bus):
    """A bus on a clean Valkey."""
    async with Bus(settings.REDIS_URL) as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def no_sessions_left(django_db_setup, django_db_blocker):
    """End the sessions of threads and processes of these tests, so that the database can be dropped."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
