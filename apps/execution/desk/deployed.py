"""A deployment inside a desk: its pipeline, where each instrument's features stand, and what it may take."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import structlog

from apps.execution.brokers.base import Market
from apps.strategies.selectors import (
    DeploymentAtWork,
    code_differs,
    imported_hash,
    strategy_code_hash,
    strategy_load,
)
from trader.core.engine import Pipeline
from trader.core.indicators import set_cache_dir
from trader.core.risk import Sizing
from trader.core.types import StateError
from trader.core.types.bars import bar_matrix

log = structlog.get_logger(__name__)
HISTORY_BARS = 20_000  # of a warm-up from the anchor, at most
STAGE_SHARES = {"shadow": 0.0, "canary": 0.05, "gradual": 0.25, "full": 1.0}


def kernels_prepare(rows: list[DeploymentAtWork], cache_dir: str) -> None:
    """Compile what deployments need, into the cache on disk; done before a desk takes its lease."""
    set_cache_dir(cache_dir)
    for name, parameters in {row.strategy: row.parameters for row in rows}.items():
        try:
            _cache_leave_if_stale(name)
            Pipeline(strategy_load(name), parameters, ["spot"]).step(0, (1.0, 1.0, 1.0, 1.0, 0.0))
        except Exception:  # a strategy's own file, whatever is wrong in it: the desk says so and sweeps without it
            log.exception("a strategy does not compile", strategy=name)


def _cache_leave_if_stale(name: str) -> bool:
    """Compile in memory from here on where a strategy's files have changed since they were imported.

    The cache on disk goes by the files as they are now: what runs here is neither kept there nor taken from there.
    """
    is_stale = strategy_code_hash(name) != imported_hash(name)
    if is_stale:
        log.warning("files changed since they were imported: kernels are compiled in memory", strategy=name)
        set_cache_dir(None)
    return is_stale


@dataclass
class Place:
    """Where one instrument stands in a pipeline: open times of the newest bar stepped, and of the newest one given."""

    index: int
    market: Market
    newest_ns: int = 0
    given_ns: int = 0


@dataclass
class Deployed:
    """A deployment at work. Instruments that left the universe stay while a position of it is held."""

    row: DeploymentAtWork
    pipeline: Pipeline
    places: dict[int, Place]
    sizing: Sizing
    members: tuple[int, ...]
    code_differs: str = ""
    decided: int = field(default=0)

    @property
    def key(self) -> str:
        return self.row.key

    @property
    def timeframe_s(self) -> int:
        return int(self.pipeline.strategy.timeframe)

    @property
    def timeframe_ns(self) -> int:
        return self.timeframe_s * 1_000_000_000

    @property
    def stop_distance(self) -> Decimal | None:
        """Distance of its stops, None where it does without, by its own word."""
        return None if self.row.no_stop_reason else Decimal(repr(self.pipeline.plan.stop_distance))

    @property
    def is_shadow(self) -> bool:
        return self.row.stage == "shadow"

    def newest_of_all(self) -> int:
        """Open time of the newest bar that every member has been stepped to; 0 without members."""
        return min((self.places[one].newest_ns for one in self.members if one in self.places), default=0)

    def given(self, bars: Iterable[tuple[int, int]]) -> None:
        """Note which bars (instrument, open time) have come, before they are stepped."""
        for instrument_id, open_ns in bars:
            place = self.places.get(instrument_id)
            if place is not None:
                place.given_ns = max(place.given_ns, open_ns)

    def behind_ns(self) -> int:
        """How far the features are behind the newest bar that came, at worst; 0 when nothing waits."""
        return max(
            (place.given_ns - place.newest_ns for place in self.places.values() if place.given_ns > place.newest_ns),
            default=0,
        )

    def take(self, instrument_id: int, bars: np.ndarray) -> np.ndarray:
        """Step bars from storage without deciding: a warm-up, or what was missed. Returns their features."""
        place = self.places[instrument_id]
        if len(bars):
            place.newest_ns = int(bars["open_ns"][-1])
        return self.pipeline.warm(place.index, bar_matrix(bars))

    def begin_anew(self, instrument_id: int, bars: np.ndarray) -> None:
        """Forget an instrument's features and warm them up from these bars, as at a first start."""
        self.pipeline.reset(self.places[instrument_id].index)
        self.take(instrument_id, bars)

    def restore(self, instrument_id: int, newest_ns: int, body: bytes) -> bool:
        """Take up a checkpoint; False where it does not fit and the anchor must be warmed up from."""
        place = self.places[instrument_id]
        try:
            self.pipeline.restore(place.index, body)
        except StateError:
            self.pipeline.reset(place.index)
            return False
        place.newest_ns = newest_ns
        return True

    def snapshot(self) -> dict[str, tuple[int, bytes]]:
        """State of every instrument: newest bar and arena."""
        return {
            str(instrument_id): (place.newest_ns, self.pipeline.snapshot(place.index))
            for instrument_id, place in self.places.items()
        }


def members(row: DeploymentAtWork, markets: dict[int, Market]) -> tuple[int, ...]:
    """Return the members of a deployment's universe that can be traded: their terms are known."""
    return tuple(one for one in row.members if one in markets)


def deployed_make(row: DeploymentAtWork, markets: dict[int, Market], extra: set[int]) -> Deployed:
    """Build a deployment's pipeline over its members and what it still holds elsewhere (`extra`).

    Where the code is not what was deployed, `code_differs` says so: the desk takes no new risk by it.
    """
    tradable = members(row, markets)
    differs = code_differs(row.key, row.strategy, row.code_hash)
    is_stale = _cache_leave_if_stale(row.strategy)
    instruments = [*tradable, *sorted(extra & set(markets) - set(tradable))]
    kinds = ["spot" if markets[one].kind == "spot" else "linear" for one in instruments]
    pipeline = Pipeline(strategy_load(row.strategy), row.parameters, kinds)
    if is_stale:
        # states of this code are checkpoints of this code, whatever the files say by now
        pipeline.definition_hash = imported_hash(row.strategy)[:32] + pipeline.definition_hash[32:]
    places = {one: Place(index, markets[one]) for index, one in enumerate(instruments)}
    sizing = Sizing(**row.sizing, stage_share=STAGE_SHARES[row.stage])
    return Deployed(row=row, pipeline=pipeline, places=places, sizing=sizing, members=tradable, code_differs=differs)
