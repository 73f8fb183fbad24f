"""The pipeline of one deployment: bars in, decisions out, the same functions live and in replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from trader.core.engine.decider import Decider
from trader.core.indicators.machine import Machine, features_batch
from trader.core.indicators.plan import Plan, machine_remarks
from trader.core.strategy.protocol import INCOMPLETE, PositionView, Strategy, TradePlan, code_hash
from trader.core.types.bars import FloatArray
from trader.core.types.errors import KernelError, StateError
from trader.core.types.sides import Kind

Outcome = Literal["hold", "signal", "blocked", "late"]
FLAT = PositionView()


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of one bar: the features as decided upon, and the wish.

    `direction` is -1, 0 or 1 and never -1 on cash spot, where a wish to be short is a wish to be
    flat. `outcome`: `signal` when the direction differs from the position's, `hold` when not,
    `blocked` when a feature was not a number, `late` when the bar was stepped and not decided.
    """

    features: dict[str, float]
    direction: int
    strength: float
    reason: str
    words: str
    outcome: Outcome


class _Snapshot(msgspec.Struct, frozen=True, array_like=True):
    definition: str
    arena: bytes


class Pipeline:
    """A strategy with its parameters at work on several instruments, by index.

    Building it compiles (seconds when cold, milliseconds from the cache), so build it before a lease
    is taken. A strategy that does not compile runs in Python, slower, and `remarks` says why. Raises
    ConfigurationError for parameters out of range, KernelError where features and row do not agree.
    """

    def __init__(self, strategy: Strategy, parameters: Mapping[str, Any], kinds: Sequence[Kind]) -> None:
        self.strategy = strategy
        self.parameters = strategy.parameters_checked(parameters)
        self.kinds = tuple(kinds)
        self.plan: TradePlan = strategy.plan(self.parameters)
        self.warm_up = strategy.warm_up(self.parameters)
        features = strategy.features(self.parameters)
        missing = [name for name in strategy.row._fields if name not in features]
        if missing:
            raise KernelError(f"strategy {strategy.name}: its row wants features that it does not declare: {missing}")
        self._layout = Plan(features)
        self._seen = [self._layout.names.index(name) for name in strategy.row._fields]
        self._machine = Machine(self._layout, len(self.kinds))
        self._decider = Decider(strategy, np.array(self.parameters, dtype=np.float64))
        self._row = np.empty((1, len(self._seen)), dtype=np.float64)
        self.definition_hash = f"{code_hash(strategy)[:32]}{self._layout.definition_hash[:32]}"

    @property
    def remarks(self) -> list[str]:
        """Why parts run as plain Python, and where their bits may differ; empty when all is compiled."""
        return [*machine_remarks(self._layout), *self._decider.remarks]

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self._layout.names

    def step(
        self, instrument: int, bar: Sequence[float], position: PositionView = FLAT, *, decide: bool = True
    ) -> Decided:
        """Take one closed bar (open, high, low, close, volume) of an instrument and decide on it.

        Bars come in order of time, each once. `decide=False` only steps the features: a late bar.
        """
        computed = self._machine.step(instrument, bar)
        features = dict(zip(self._layout.names, computed.tolist(), strict=True))
        if not decide:
            return Decided(features, 0, 0.0, "late", "The bar came too late to be decided upon.", "late")
        self._row[0] = computed[self._seen]
        wish = self._decider.one(self._row, position)
        reason, words = self.strategy.reason_code(wish.reason), self.strategy.words[wish.reason]
        if wish.reason == INCOMPLETE:
            return Decided(features, 0, 0.0, reason, words, "blocked")
        direction = max(wish.direction, 0) if self.kinds[instrument] == "spot" else wish.direction
        outcome: Outcome = "hold" if direction == _sign(position.quantity) else "signal"
        return Decided(features, direction, wish.strength, reason, words, outcome)

    def warm(self, instrument: int, rows: Any) -> FloatArray:
        """Take many closed bars, shape (n, 5), without deciding; their features, shape (n, features)."""
        return self._machine.run(instrument, rows)

    def batch(self, rows: Any) -> FloatArray:
        """All features over bars (n, 5) from the anchor on, step by step; touches no state."""
        return features_batch(self._layout, rows)

    def bars_taken(self, instrument: int) -> int:
        """Bars taken since the anchor: features are complete from `warm_up` on."""
        return self._machine.bars_taken(instrument)

    def reset(self, instrument: int) -> None:
        """Forget an instrument's bars, before a warm-up from its anchor."""
        self._machine.reset(instrument)

    def snapshot(self, instrument: int) -> bytes:
        """The whole state of an instrument, for a checkpoint."""
        return msgspec.msgpack.encode(_Snapshot(self.definition_hash, self._machine.snapshot(instrument)))

    def restore(self, instrument: int, body: bytes) -> None:
        """Take up a checkpoint. Raises StateError when other code or parameters wrote it: warm up instead."""
        try:
            saved = msgspec.msgpack.decode(body, type=_Snapshot)
        except msgspec.MsgspecError as error:
            raise StateError(f"checkpoint of {self.strategy.name} cannot be read: {error}") from error
        if saved.definition != self.definition_hash:
            raise StateError(f"checkpoint of {self.strategy.name} was written by other code or parameters")
        self._machine.restore(instrument, saved.arena)


def _sign(quantity: float) -> int:
    return (quantity > 0.0) - (quantity < 0.0)
