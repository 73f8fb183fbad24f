"""Back-fill on request: bars that storage lacks, from the venue's own history."""

import asyncio
from dataclasses import dataclass

from apps.market.errors import BackfillRefused
from apps.market.models import Epoch, Instrument
from apps.market.providers.base import Subscription
from apps.market.selectors import epoch_current
from apps.market.services.epochs import epoch_clock_words
from apps.market.services.venues import provider_for
from apps.market.storage.gaps import Gap, gaps
from apps.market.storage.reader import bars_newest_open
from apps.market.storage.rows import Bars
from apps.market.storage.tables import DAY_S, NANOSECONDS
from apps.market.storage.writer import bars_write
from trader.config import config

PAGE = 1000


@dataclass(frozen=True)
class Backfilled:
    """What a back-fill did: bars asked for that storage lacked, and bars stored."""

    missing: int
    stored: int


def bars_backfill(
    venue_code: str, instrument_ids: list[int], timeframe_s: int, start_ns: int, end_ns: int
) -> Backfilled:
    """Fill `[start_ns, end_ns)` of these instruments from the venue's klines; what is stored is left alone.

    Raises `BackfillRefused` for a span older than the hot retention or of a timeframe that the venue has no
    history of, `VenueUnavailable` (try again later), `VenueRefused`.
    """
    epoch = epoch_current(venue_code)
    _check(epoch, instrument_ids, timeframe_s, start_ns, end_ns)
    found = gaps(epoch.pk, instrument_ids, timeframe_s, start_ns, end_ns)
    step_ns = timeframe_s * NANOSECONDS
    missing = sum((gap_end - gap_start) // step_ns for _, gap_start, gap_end in found)
    rows = Instrument.objects.filter(pk__in={gap[0] for gap in found})
    items = {row.pk: Subscription(row.pk, row.venue_symbol, row.kind) for row in rows}
    pages = asyncio.run(_fetch(epoch, items, found, timeframe_s)) if found else []
    stored = sum(len(bars_write(epoch_id=epoch.pk, timeframe_s=timeframe_s, bars=bars)) for bars in pages)
    return Backfilled(missing, stored)


def _check(epoch: Epoch, instrument_ids: list[int], timeframe_s: int, start_ns: int, end_ns: int) -> None:
    if timeframe_s < 60:
        raise BackfillRefused(f"timeframe {timeframe_s} s: the venue keeps no history finer than a minute")
    if end_ns <= start_ns:
        raise BackfillRefused("the span ends before it begins: give a start before its end")
    if timeframe_s > 60:
        return  # coarser bars are kept for ever
    newest = bars_newest_open(epoch.pk, instrument_ids, timeframe_s)
    edge_ns = max(newest.values(), default=end_ns) - config.market.keep_minutes_days * DAY_S * NANOSECONDS
    if start_ns < edge_ns:
        raise BackfillRefused(
            f"{epoch_clock_words(start_ns)} is older than the hot retention: one-minute bars are kept for "
            f"{config.market.keep_minutes_days} days, back to {epoch_clock_words(edge_ns)} of this epoch's market. "
            "Older spans belong to the lake, which is not there yet. Ask for a later start, or raise "
            "market.keep_minutes_days"
        )


async def _fetch(epoch: Epoch, items: dict[int, Subscription], found: list[Gap], timeframe_s: int) -> list[Bars]:
    provider = provider_for(epoch.venue)
    span_ns = PAGE * timeframe_s * NANOSECONDS
    pages: list[Bars] = []
    try:
        for instrument_id, gap_start, gap_end in found:
            for page_start in range(gap_start, gap_end, span_ns):
                page_end = min(page_start + span_ns, gap_end)
                pages.append(await provider.klines(items[instrument_id], timeframe_s, page_start, page_end))
    finally:
        await provider.close()
    return pages
