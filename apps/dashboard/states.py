"""The newest state messages, as plain values. Without the bus there are none, and pages say "unknown"."""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from django.conf import settings

from apps.common.bus import SyncBus
from apps.common.errors import MessageError
from apps.common.redis_clients import BUS_ERRORS

logger = logging.getLogger(__name__)
States = dict[str, dict[str, Any]]
_bus: list[SyncBus] = []


def states_last(topics: Sequence[str]) -> States:
    """Return the newest message of each of these state topics that has one, as {topic: fields}."""
    try:
        found = bus().last_many(list(topics))
    except (*BUS_ERRORS, MessageError) as error:
        logger.warning("no states for a page: %s", error)
        return {}
    return {topic: msgspec.structs.asdict(message) for topic, message in found.items()}


def bus() -> SyncBus:
    """Return this process's connection to the bus; made once, connects when first used."""
    if not _bus:
        _bus.append(SyncBus(settings.REDIS_URL))
    return _bus[0]
