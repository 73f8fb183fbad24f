"""Back-fill on request: bars that storage lacks, from the venue's own history, as a job with shares.

A share is one instrument and one span: a day of minutes, or a page of coarser bars. A day, because every coarser bar
up to a day is then made whole within one share, however many workers do the others at the same time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from django.conf import settings

from apps.common.bus import Bus
from apps.common.errors import GovernorRefused
from apps.common.jobs import Share, job_create, job_log
from apps.common.models import Job
from apps.market.errors import BackfillRefused
from apps.market.feed.coarse import buckets_touched, coarse_of
from apps.market.models import Epoch, Instrument
from apps.market.providers.base import Provider, Subscription
from apps.market.selectors import epoch_current
from apps.market.services.epochs import epoch_clock_words
from apps.market.services.venues import provider_for
from apps.market.storage.gaps import Gap, gaps
from apps.market.storage.reader import bars_newest_open, bars_read_many
from apps.market.storage.rows import Bars, bars_empty
from apps.market.storage.tables import DAY_S, NANOSECONDS
from apps.market.storage.writer import bars_write, partitions_ready
from apps.market.throttle import VenueThrottle
from trader.config import config
from trader.core.types.errors import VenueUnavailable

KIND = "market.backfill"
PAGE = 1000  # bars the venue gives to one question
MINUTE_S = 60
MINUTE_NS = MINUTE_S * NANOSECONDS
RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # a venue that is away or too busy for us; the claim is renewed meanwhile


@dataclass(frozen=True)
class Span:
    """What one share has to fill: open times `[start_ns, end_ns)` of one instrument and timeframe."""

    epoch_id: int
    instrument_id: int
    timeframe_s: int
    start_ns: int
    end_ns: int


def backfill_begin(
    venue_code: str,
    instrument_ids: list[int],
    timeframe_s: int = MINUTE_S,
    start_ns: int | None = None,
    end_ns: int | None = None,
    *,
    by: str,
) -> Job | None:
    """Begin a job that fills what storage lacks of a span; what is stored is left alone. None: nothing is missing.

    Without a start it is the edge of the hot retention, without an end the newest bar that has closed; a later end
    counts as that. Raises `BackfillRefused` for a span older than the hot retention, for a timeframe that the venue
    has no history of, and before the feed has stored anything in this epoch.
    """
    epoch = epoch_current(venue_code)
    start_ns, end_ns = _bounds(epoch, instrument_ids, timeframe_s, start_ns, end_ns)
    found = gaps(epoch.pk, instrument_ids, timeframe_s, start_ns, end_ns)
    spans = _spans(epoch.pk, timeframe_s, found)
    if not spans:
        return None
    instruments = len({span.instrument_id for span in spans})
    title = f"Back-fill {epoch.venue.code}: {instruments} instruments, bars of {timeframe_s} s, " + (
        f"{epoch_clock_words(start_ns)} to {epoch_clock_words(end_ns)}"
    )
    return job_create(KIND, title[:160], [asdict(span) for span in spans], parameters={"venue": venue_code}, by=by)


def backfill_share(share: Share) -> Callable[[], None]:
    """Ask the venue for what a share lacks; returns what writes it, inside the transaction that ends the share.

    Raises `BackfillRefused` when the epoch has ended, `VenueUnavailable` or `GovernorRefused` when the venue stayed
    away, `VenueRefused` for its no: the share is then tried again, three times in all.
    """
    span = Span(**share.parameters)
    epoch = Epoch.objects.select_related("venue").get(pk=span.epoch_id)
    if not epoch.is_current:
        raise BackfillRefused(
            f"epoch {epoch.number} of {epoch.venue.code} has ended: its venue tells of another market"
        )
    instrument = Instrument.objects.get(pk=span.instrument_id)
    item = Subscription(instrument.pk, instrument.venue_symbol, instrument.kind)
    found = gaps(epoch.pk, [item.instrument_id], span.timeframe_s, span.start_ns, span.end_ns)
    bars = asyncio.run(_fetch(epoch, item, found, span.timeframe_s)) if found else bars_empty()
    partitions_ready([span.timeframe_s, *_coarser(span.timeframe_s)], bars)
    missing = sum((gap_end - gap_start) // (span.timeframe_s * NANOSECONDS) for _, gap_start, gap_end in found)

    def write() -> None:
        stored = bars_write(epoch_id=epoch.pk, timeframe_s=span.timeframe_s, bars=bars)
        _coarser_write(epoch.pk, span.timeframe_s, stored)
        words = (
            f"{instrument.symbol} from {epoch_clock_words(span.start_ns)}: {len(stored)} of {missing} missing stored"
        )
        job_log(share.job_id, words)

    return write


def _bounds(
    epoch: Epoch, instrument_ids: list[int], timeframe_s: int, start_ns: int | None, end_ns: int | None
) -> tuple[int, int]:
    """Return the span in whole bars that have closed, within the hot retention."""
    if timeframe_s < MINUTE_S:
        raise BackfillRefused(f"timeframe {timeframe_s} s: the venue keeps no history finer than a minute")
    newest = max(bars_newest_open(epoch.pk, instrument_ids, MINUTE_S).values(), default=None)
    if newest is None:
        raise BackfillRefused(
            "no minute of these instruments is stored in this epoch: its market time is not known, and a bar still in "
            "the making could be taken for a closed one. Let the feed collect them first"
        )
    step_ns = timeframe_s * NANOSECONDS
    closed_ns = newest + MINUTE_NS
    edge_ns = newest - config.market.keep_minutes_days * DAY_S * NANOSECONDS
    end_ns = closed_ns if end_ns is None else min(end_ns, closed_ns)
    end_ns -= end_ns % step_ns
    start_ns = edge_ns if start_ns is None else start_ns
    start_ns += -start_ns % step_ns
    if end_ns <= start_ns:
        raise BackfillRefused("the span ends before it begins: give a start before its end")
    if timeframe_s == MINUTE_S and start_ns < edge_ns:  # coarser bars are kept for ever
        raise BackfillRefused(
            f"{epoch_clock_words(start_ns)} is older than the hot retention: one-minute bars are kept for "
            f"{config.market.keep_minutes_days} days, back to {epoch_clock_words(edge_ns)} of this epoch's market. "
            "Older spans belong to the lake, which is not there yet. Ask for a later start, or raise "
            "market.keep_minutes_days"
        )
    return start_ns, end_ns


def _spans(epoch_id: int, timeframe_s: int, found: list[Gap]) -> list[Span]:
    """Cut what is missing into shares, newest first: charts fill from the right."""
    length_ns = (DAY_S if timeframe_s == MINUTE_S else PAGE * timeframe_s) * NANOSECONDS
    ends: dict[tuple[int, int], tuple[int, int]] = {}
    for instrument_id, gap_start, gap_end in found:
        for number in range(gap_start // length_ns, -(-gap_end // length_ns)):
            start, end = max(gap_start, number * length_ns), min(gap_end, (number + 1) * length_ns)
            before = ends.get((number, instrument_id), (start, end))
            ends[(number, instrument_id)] = (min(start, before[0]), max(end, before[1]))
    return [
        Span(epoch_id, instrument_id, timeframe_s, *ends[(number, instrument_id)])
        for number, instrument_id in sorted(ends, key=lambda key: (-key[0], key[1]))
    ]


async def _fetch(epoch: Epoch, item: Subscription, found: list[Gap], timeframe_s: int) -> Bars:
    """Ask for the missing bars, a page at a time, sharing the venue's limits with everybody else."""
    page_ns = PAGE * timeframe_s * NANOSECONDS
    pages = [
        (start, min(start + page_ns, gap_end))
        for _, gap_start, gap_end in found
        for start in range(gap_start, gap_end, page_ns)
    ]
    async with Bus(settings.REDIS_URL) as bus:
        provider = provider_for(epoch.venue, VenueThrottle(bus, epoch.venue.adapter, epoch.venue.rest_url))
        try:
            return np.concatenate([await _page(provider, item, timeframe_s, *page) for page in pages])
        finally:
            await provider.close()


async def _page(provider: Provider, item: Subscription, timeframe_s: int, start_ns: int, end_ns: int) -> Bars:
    for pause_s in RETRY_S:
        try:
            return await provider.klines(item, timeframe_s, start_ns, end_ns)
        except (VenueUnavailable, GovernorRefused):
            await asyncio.sleep(pause_s)
    return await provider.klines(item, timeframe_s, start_ns, end_ns)


def _coarser(timeframe_s: int) -> list[int]:
    """Return the timeframes that are made from this one: only minutes have any."""
    if timeframe_s != MINUTE_S:
        return []
    return [found for found in config.market.timeframes_s if found > MINUTE_S and found % MINUTE_S == 0]


def _coarser_write(epoch_id: int, timeframe_s: int, minutes: Bars) -> None:
    """Make the coarser bars that these stored minutes belong to, as the feed does for its own."""
    coarser = _coarser(timeframe_s) if len(minutes) else []
    touched = {length: buckets_touched(minutes, length) for length in coarser}
    edges = [(opened, opened + length * NANOSECONDS) for length, buckets in touched.items() for _, opened in buckets]
    if not edges:
        return
    instruments = sorted(set(minutes["instrument_id"].tolist()))
    first, last = min(start for start, _ in edges), max(end for _, end in edges)
    stored = bars_read_many(epoch_id, instruments, MINUTE_S, first, last)
    for length, buckets in touched.items():
        bars = coarse_of(stored, length)
        keys = zip(bars["instrument_id"].tolist(), bars["open_ns"].tolist(), strict=True)
        wanted = np.fromiter((key in buckets for key in keys), dtype=bool, count=len(bars))
        bars_write(epoch_id=epoch_id, timeframe_s=length, bars=bars[wanted])
