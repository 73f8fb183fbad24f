"""Writes of the market: what other apps and the admin call."""

from apps.market.services.backfill import backfill_begin, backfill_share
from apps.market.services.epochs import epoch_begin, epoch_resume_or_begin
from apps.market.services.instruments import instruments_store, instruments_sync, venues_sync
from apps.market.services.universes import (
    universe_check,
    universe_delete,
    universe_refresh,
    universe_save,
    universes_refresh,
)
from apps.market.services.venues import (
    exchange_configuration,
    provider_for,
    simulator_save,
    venue_check,
    venue_save,
)

__all__ = [
    "backfill_begin",
    "backfill_share",
    "epoch_begin",
    "epoch_resume_or_begin",
    "exchange_configuration",
    "instruments_store",
    "instruments_sync",
    "provider_for",
    "simulator_save",
    "universe_check",
    "universe_delete",
    "universe_refresh",
    "universe_save",
    "universes_refresh",
    "venue_check",
    "venue_save",
    "venues_sync",
]
