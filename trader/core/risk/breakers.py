"""Breakers: what stops an account or a deployment by itself, until a person ends the halt."""

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True, slots=True)
class Trip:
    """A breaker that tripped: why, in words and numbers."""

    cause: str
    number: float
    limit: float
    detail: str


@dataclass(frozen=True, slots=True)
class BreakerInputs:
    """What breakers look at, of one scope; all on the market clock.

    `day_profit` is of the UTC day, after fees and funding, marked to market. `venue_errors` counts
    requests in a row that a venue refused or left unanswered.
    """

    day_start_equity: float
    day_profit: float
    peak_equity: float
    equity: float
    venue_errors: int = 0


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """None switches a breaker off. Shares of the day's first equity and of the highest equity."""

    daily_loss: float | None = None
    drawdown: float | None = None
    venue_errors: int | None = 10


def breakers(inputs: BreakerInputs, limits: BreakerLimits) -> list[Trip]:
    """Every breaker that trips now. An equity that is unknown or not above zero trips the loss breakers."""
    asked = (
        ("daily_loss", _loss(inputs.day_start_equity, -inputs.day_profit), limits.daily_loss),
        ("drawdown", _loss(inputs.peak_equity, inputs.peak_equity - inputs.equity), limits.drawdown),
        ("venue_errors", float(inputs.venue_errors), limits.venue_errors),
    )
    return [
        Trip(cause, number, float(limit), f"{cause.replace('_', ' ')} {number:.6g} reached its limit {limit:.6g}")
        for cause, number, limit in asked
        if limit is not None and not number < limit
    ]


def _loss(whole: float, lost: float) -> float:
    return max(lost, 0.0) / whole if isfinite(whole) and whole > 0 and isfinite(lost) else float("nan")
