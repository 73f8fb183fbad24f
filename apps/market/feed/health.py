"""How a feed is: one word, and the figures behind it."""

from apps.common.clocks import boottime_ns, wall_ns
from apps.market.events import FeedHealth, MarketClock
from apps.market.feed.candles import minute_words
from apps.market.feed.collector import Collector
from apps.market.feed.instrument import InstrumentFeed
from trader.config.schema import MarketSection

DIFFERENCE_SHOWN_NS = 3_600_000_000_000  # of the market's clock; the bar keeps its flag for ever
STARTING, READY, STALE, DOWN = "starting", "ready", "stale", "down"
HALTED, PAUSED, ENDED = "halted", "paused", "ended"


def silence_s(collector: Collector) -> dict[str, float]:
    """Return for each connection how long no frame has come, a pong included."""
    now = boottime_ns()
    return {name: (now - found.last_frame_ns) / 1e9 for name, found in collector.connections.items()}


def health_of(
    collector: Collector,
    *,
    venue: str,
    settings: MarketSection,
    clock: MarketClock,
    clock_offset_ms: float | None,
    is_halted: bool,
    is_storage_up: bool,
    holes: list[str],
) -> FeedHealth:
    """Return the feed's health now."""
    wanted = [found for found in collector.instruments.values() if not found.refused]
    live = [found for found in wanted if found.book.is_sound]
    silent_connections = _silent(collector, settings)
    stale = _stale(collector, clock)
    state = _state(collector, silent_connections, clock, is_halted)
    newest = max((found.last_frame_wall_ns for found in collector.connections.values()), default=0)
    now = wall_ns()
    return FeedHealth(
        venue=venue,
        state=state,
        live=len(live),
        total=len(collector.instruments),
        stale=stale,
        stale_connection=bool(silent_connections),
        market_ns=collector.market_ns,
        wall_ns=now,
        lag_ms=(now - newest) / 1e6 if newest else 0.0,
        clock_offset_ms=clock_offset_ms,
        detail=_detail(collector, silent_connections, is_storage_up, holes),
        gaps=sum(found.gaps for found in collector.instruments.values()),
        reconnects=collector.reconnects,
        disagreements=sum(found.builder.disagreements for found in collector.instruments.values()),
    )


def _stale(collector: Collector, clock: MarketClock) -> list[int]:
    """Return what is stale by itself. A market that stands makes nothing silent, but an unsound book stays unsound."""
    if clock.ended:
        return []
    return sorted({*collector.unsound(), *(collector.silent() if clock.running else [])})


def _silent(collector: Collector, settings: MarketSection) -> dict[str, float]:
    """Return the connections that instruments depend on and that have been silent for too long."""
    needed = {found.item.kind for found in collector.instruments.values()}
    silence = silence_s(collector)
    return {name: age for name, age in silence.items() if name in needed and age > settings.stale_connection_s}


def _state(collector: Collector, silent: dict[str, float], clock: MarketClock, is_halted: bool) -> str:
    if clock.ended:
        return ENDED
    if silent:
        # a connection that was lost counts by its silence: a quick reconnect is no alarm
        return STALE if all(collector.connections[name].is_open for name in silent) else DOWN
    if not collector.instruments or not all(found.was_ready or found.refused for found in _found(collector)):
        return STARTING
    if is_halted:
        return HALTED
    return READY if clock.running else PAUSED


def _found(collector: Collector) -> list[InstrumentFeed]:
    return list(collector.instruments.values())


def _detail(collector: Collector, silent: dict[str, float], is_storage_up: bool, holes: list[str]) -> str:
    words = [f"{name}: silent for {age:.0f} s" for name, age in sorted(silent.items())]
    words += [f"{name}: {why}" for name, why in sorted(collector.lost_why.items())]
    words += [
        f"{found.item.venue_symbol} ({found.item.kind}) refused: {found.refused}"
        for found in collector.instruments.values()
        if found.refused
    ]
    words += [
        f"{found.item.venue_symbol} ({found.item.kind}): the venue's bar of {minute_words(found.difference.open_ns)} "
        f"was not as our prints made it: {found.difference.words()}; the venue's is kept"
        for found in collector.instruments.values()
        if found.difference and collector.market_ns - found.difference.open_ns < DIFFERENCE_SHOWN_NS
    ]
    words += _books(collector)
    words += holes
    if not is_storage_up:
        words.append("storage does not answer: bars wait")
    return "; ".join(words)


def _books(collector: Collector) -> list[str]:
    """Say whose book is asked for in vain; with a lost connection there is nobody to ask, and that is said already."""
    now = boottime_ns()
    return [
        f"{found.item.venue_symbol} ({found.item.kind}): no sound book for {(now - found.unsound_ns) / 1e9:.0f} s, "
        f"asked for anew {found.book_asks} times"
        for found in collector.instruments.values()
        if found.unsound_ns and found.book_asks and not found.refused
    ]
