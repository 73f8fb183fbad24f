"""Holes in the bars: waited for while they may still be filled; after one that stays, features begin anew.

No desk decides across a hole, and none waits behind one for ever: what is held could no longer be left. So when a
hole has not become smaller for a minute, and storage holds enough bars after it for whole features, the instrument's
steps forget what was before it and warm up from there, as at a first start. Positions, orders and stops stay.
"""

import time
from dataclasses import dataclass

import numpy as np
import structlog

from apps.execution.desk.core import DeskCore
from apps.execution.desk.deployed import HISTORY_BARS, Deployed
from apps.market.selectors import bars_read_many_async, gaps_async

log = structlog.get_logger(__name__)
MISSING_MOST = 20_000  # bars of an instrument that are stepped to fill a hole while a desk runs
RECORDED_MOST = 1_000  # of them that are recorded, each with its row; of a longer hole none is, as at a start
WAIT_S = 60.0  # a hole that has not become smaller for so long is not waited for
LONGEST_S = 600.0  # nor is one, however it shrinks, for longer than this
PAUSE_SHARE = 0.1  # of a hole's age between two looks
LONGEST_PAUSE_S = 60.0
LOOKS_MOST = 8
TOLD = 3  # instruments told one by one; of more only the number
SHOWN_NS = 3_600_000_000_000  # of the market's clock: how long a new beginning is told

Key = tuple[str, int]  # deployment, instrument


@dataclass(frozen=True, slots=True)
class Filled:
    """Bars read from storage and stepped: to be recorded as late."""

    deployed: Deployed
    instrument_id: int
    bars: np.ndarray
    features: np.ndarray


@dataclass(slots=True)
class Hole:
    """What an instrument of a deployment lacks; `since` and `moved` (when it was last smaller) on the steady clock."""

    since: float
    moved: float
    missing: int = 0  # bars; 0 before the first look
    words: str = ""
    looked: float = 0.0

    def look(self, missing: int) -> None:
        """Note how many bars are missing now."""
        if missing < self.missing:
            self.moved = time.monotonic()
        self.missing = missing

    def is_due(self) -> bool:
        """Whether to look at it again: the older it is, the less often."""
        now = time.monotonic()
        return now - self.looked >= min((now - self.since) * PAUSE_SHARE, LONGEST_PAUSE_S)

    def is_over(self) -> bool:
        """Whether it has been waited for long enough."""
        now = time.monotonic()
        return now - self.moved >= WAIT_S or now - self.since >= LONGEST_S


@dataclass(frozen=True, slots=True)
class Span:
    """Open times `[start_ns, end_ns)` of one instrument to be stepped; `anew`: after its features were forgotten."""

    instrument_id: int
    start_ns: int
    end_ns: int
    anew: str = ""  # why


class Holes:
    """The holes of a desk's deployments, and what becomes of them."""

    def __init__(self, core: DeskCore) -> None:
        self._core = core
        self.open: dict[Key, Hole] = {}
        self._begun: dict[Key, tuple[int, str]] = {}  # market time, words

    def note(self, deployed: Deployed, instrument_id: int) -> None:
        """There is a hole before the newest bar that was given of this instrument."""
        key, now = (deployed.key, instrument_id), time.monotonic()
        if key not in self.open:
            self.open[key] = Hole(now, now)
            place = deployed.places[instrument_id]
            log.warning(
                "bars are missing: nothing is decided until they come", deployment=deployed.key,
                symbol=place.market.symbol, after_ns=place.newest_ns, before_ns=place.given_ns,
            )  # fmt: skip

    def closed(self, deployed: Deployed, instrument_id: int) -> None:
        """There is none any more."""
        self.open.pop((deployed.key, instrument_id), None)

    def missing(self, deployed: Deployed, instrument_id: int) -> int:
        """Return how many bars were missing at the last look; 0 before the first one."""
        hole = self.open.get((deployed.key, instrument_id))
        return hole.missing if hole is not None else 0

    def due(self, deployments: dict[str, Deployed]) -> list[Key]:
        """Return the holes to look at now, a few of many: others have to be looked after meanwhile, too."""
        self._keep(deployments)
        due = sorted((hole.looked, key) for key, hole in self.open.items() if hole.is_due())
        return [key for _, key in due[:LOOKS_MOST]]

    def _keep(self, deployments: dict[str, Deployed]) -> None:
        """Forget the holes of what is no longer at work, and those behind which nothing waits any more."""
        for key in list(self.open):
            deployed = deployments.get(key[0])
            place = deployed.places.get(key[1]) if deployed is not None else None
            if place is None or place.given_ns <= place.newest_ns:
                del self.open[key]

    def waiting(self) -> dict[str, str]:
        """Say by deployment which instruments are not decided on, and what they wait for."""
        told: dict[str, list[str]] = {}
        for (key, _), hole in sorted(self.open.items()):
            if hole.words:
                told.setdefault(key, []).append(hole.words)
        return {key: "; ".join(_few(words)) for key, words in told.items()}

    def words(self) -> list[str]:
        """Say what waits, and what began anew in the last hour of the market."""
        since_ns = self._core.market_ns - SHOWN_NS
        self._begun = {key: told for key, told in self._begun.items() if told[0] > since_ns}
        waiting = [f"{key}: {words}" for key, words in self.waiting().items()]
        return waiting + _few([words for _, (_, words) in sorted(self._begun.items())])

    async def mend(self, deployed: Deployed, instrument_id: int) -> list[Filled]:
        """Step what fills an instrument's hole, or begin anew after one that stays; returns what was filled.

        Only bars up to the newest given one are stepped: one that is still on its way is decided when it comes.
        Raises `DATABASE_ERRORS`.
        """
        self.open[deployed.key, instrument_id].looked = time.monotonic()
        place, step_ns = deployed.places[instrument_id], deployed.timeframe_ns
        start_ns, end_ns = place.newest_ns + step_ns, place.given_ns + step_ns
        pool, epoch_id, only = self._core.context.pool, self._core.account.epoch_id, [instrument_id]
        gaps = await gaps_async(pool, epoch_id, only, deployed.timeframe_s, start_ns, end_ns)
        span = self._judge(deployed, instrument_id, [gap[1:] for gap in gaps])
        if span is None:
            return []
        bars = await bars_read_many_async(pool, epoch_id, only, deployed.timeframe_s, span.start_ns, span.end_ns)
        if len(bars) != (span.end_ns - span.start_ns) // step_ns:
            return []
        return self._step(deployed, span, bars)

    def fill(self, deployed: Deployed, instrument_id: int, bars: np.ndarray) -> list[Filled]:
        """Step the bars that fill a hole; returns those to be recorded as late."""
        features = deployed.take(instrument_id, bars)
        if len(bars) <= RECORDED_MOST:
            return [Filled(deployed, instrument_id, bars, features)]
        symbol = deployed.places[instrument_id].market.symbol
        log.info("missing bars are caught up", deployment=deployed.key, symbol=symbol, bars=len(bars))
        return []

    def _judge(self, deployed: Deployed, instrument_id: int, gaps: list[tuple[int, int]]) -> Span | None:
        """Return what is to be stepped of an instrument now; None while its hole is waited for."""
        place, step_ns = deployed.places[instrument_id], deployed.timeframe_ns
        start_ns, end_ns = place.newest_ns + step_ns, place.given_ns + step_ns
        hole = self.open[deployed.key, instrument_id]
        symbol, missing = place.market.symbol, sum(other - one for one, other in gaps) // step_ns
        span_words = f"{_time(start_ns)} to {_time(end_ns - step_ns)}"
        if not gaps and (end_ns - start_ns) // step_ns <= MISSING_MOST:
            return Span(instrument_id, start_ns, end_ns)
        newest_ns = max((other for _, other in gaps), default=start_ns)
        warm_ns = max(newest_ns, end_ns - HISTORY_BARS * step_ns)
        if not gaps:
            why = f"{symbol}: more bars than are caught up were missed, {span_words} UTC"
            return Span(instrument_id, warm_ns, end_ns, why)
        hole.look(missing)
        there, enough = (end_ns - newest_ns) // step_ns, deployed.pipeline.warm_up
        hole.words = (
            f"{symbol}: nothing is decided, {missing} bars of {span_words} UTC are missing; "
            f"{min(there, enough)} of the {enough} after them that its features need are there"
        )
        if hole.is_over() and there >= enough:
            return Span(instrument_id, warm_ns, end_ns, f"{symbol}: {missing} bars of {span_words} UTC did not come")
        return None

    def _step(self, deployed: Deployed, span: Span, bars: np.ndarray) -> list[Filled]:
        """Step a span's bars; what was filled is to be recorded, a warm-up is not."""
        self.closed(deployed, span.instrument_id)
        if not span.anew:
            return self.fill(deployed, span.instrument_id, bars)
        deployed.begin_anew(span.instrument_id, bars)
        words = f"{span.anew}: features began anew with {_time(span.start_ns)}"
        log.error("features begin anew after missing bars", deployment=deployed.key, why=words, bars=len(bars))
        self._begun[deployed.key, span.instrument_id] = (self._core.market_ns, f"{deployed.key}: {words}")
        return []


def _few(words: list[str]) -> list[str]:
    more = len(words) - TOLD
    return [*words[:TOLD], *([f"and {more} more instruments"] if more > 0 else [])]


def _time(open_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(open_ns // 1_000_000_000))
