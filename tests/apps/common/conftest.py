"""A clean bus for each test of the common library."""

import pytest
from django.conf import settings

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
