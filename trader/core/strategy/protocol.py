"""What a strategy is: features it wants, a slow `fit`, and a fast, pure `decide`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from trader.core.indicators import sources
from trader.core.indicators.step import Feature
from trader.core.strategy.parameters import Parameter, checked, parameters_of
from trader.core.types.bars import FloatArray
from trader.core.types.errors import KernelError
from trader.core.types.timeframes import Timeframe


class PositionView(NamedTuple):
    """What a decision may know of the owner's position: an input like any feature, recorded with it.

    `quantity` is signed, in base, and 0.0 when the position is flat or dust; `average_price` in
    quote; `age_s` on the market clock since it was opened.
    """

    quantity: float = 0.0
    average_price: float = 0.0
    age_s: float = 0.0


class Wish(NamedTuple):
    """What `decide` returns: direction -1, 0 or 1, strength from 0 to 1, and a reason code."""

    direction: int
    strength: float
    reason: int


@dataclass(frozen=True)
class TradePlan:
    """What goes with a strategy's signals.

    `stop_distance`: the protective stop, as a share of the entry price. `horizon_s`: how long a
    signal may wait to be sent before it expires, in market seconds.
    """

    stop_distance: float
    horizon_s: int


INCOMPLETE = 0
"""The reason code of a decision that was not asked, because a feature was not a number."""


class Decide(Protocol):
    """The fast half. Compiled, so it keeps to what kernels may do; pure, so that it can be replayed."""

    def __call__(self, row: Any, position: PositionView, parameters: Any, /) -> tuple[int, float, int]: ...


class Features(Protocol):
    """Which features a set of parameters needs, by name: a column or an earlier feature feeds the next."""

    def __call__(self, parameters: Any, /) -> Mapping[str, Feature]: ...


class Plan(Protocol):
    def __call__(self, parameters: Any, /) -> TradePlan: ...


class WarmUp(Protocol):
    def __call__(self, parameters: Any, /) -> int: ...


class Fit(Protocol):
    """The slow half: from closed bars (n, 5) to parameters; Python, scheduled, never on the order path."""

    def __call__(self, rows: FloatArray, parameters: Any, /) -> Any: ...


class Together(Protocol):
    """Raises ConfigurationError where parameters that are each in range make no sense together."""

    def __call__(self, parameters: Any, /) -> None: ...


def any_parameters(_parameters: Any, /) -> None:
    """Every combination makes sense."""


@dataclass(frozen=True)
class Strategy:
    """A strategy, whole. Its parts are module-level functions, so that its file is its code.

    `row` and `parameters` are NamedTuples; the fields of `row` are the features that `decide` sees,
    in order. `reasons` gives every code a name; `words` says each to a person. `warm_up` is how many
    closed bars it takes until every feature is complete.
    """

    name: str
    title: str
    timeframe: Timeframe
    row: type[Any]
    parameters: type[Any]
    features: Features
    decide: Decide
    reasons: type[IntEnum]
    words: Mapping[int, str]
    plan: Plan
    warm_up: WarmUp
    fit: Fit
    together: Together = any_parameters
    tags: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        missing = [reason.name for reason in self.reasons if int(reason) not in self.words]
        if missing:
            raise KernelError(f"strategy {self.name}: reasons without words: {', '.join(missing)}")
        if INCOMPLETE not in {int(reason) for reason in self.reasons}:
            raise KernelError(f"strategy {self.name}: reason {INCOMPLETE} must be the one for incomplete features")

    def parameters_checked(self, given: Mapping[str, Any]) -> Any:
        """Parameters from values by name, with defaults. Raises ConfigurationError naming field and range."""
        parameters = checked(self.parameters, given)
        self.together(parameters)
        return parameters

    def parameter_list(self) -> tuple[Parameter, ...]:
        """Parameters with types, defaults, ranges and words: for forms, commands and docs."""
        return parameters_of(self.parameters)

    def reason_code(self, reason: int) -> str:
        """The name under which a reason is stored: `below_band`."""
        return self.reasons(reason).name.lower()


def code_hash(strategy: Strategy) -> str:
    """64 hex digits over every source file the strategy reaches: names its code in a deployment."""
    return sources.sources_hash([strategy.decide, strategy.features], strategy.name)
