"""From a signal to a target: how much, in whole lots."""

from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

from trader.core.risk.exposure import lots_down
from trader.core.types.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Sizing:
    """How much a deployment may put on one signal.

    `risk_share`: share of equity lost if a full-strength position ends at its stop.
    `position_share`: the most of equity that one position may be worth, whatever the stop.
    `stage_share`: what the stage allows of the target (1 at stage full).
    """

    risk_share: float = 0.002
    position_share: float = 0.10
    stage_share: float = 1.0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("risk_share", self.risk_share, 0.1),
            ("position_share", self.position_share, 10.0),
            ("stage_share", self.stage_share, 1.0),
        ):
            if not 0.0 <= value <= most:
                raise ConfigurationError(f"sizing {name} is {value}: must be from 0 to {most}")


def size_target(
    equity: float, price: float, strength: float, stop_distance: float, sizing: Sizing, *, multiplier: float = 1.0
) -> float:
    """Size of the position for a signal, in base, without sign, before rounding to lots.

    `strength` is from 0 to 1 (above 1 counts as 1); `stop_distance` is the protective stop's
    distance as a share of the price. Whatever is unknown or not above zero gives 0: no position.

    >>> size_target(10_000.0, 100.0, 1.0, 0.01, Sizing(risk_share=0.002, position_share=0.5))
    20.0
    """
    if not all(isfinite(number) and number > 0 for number in (equity, price, strength, stop_distance, multiplier)):
        return 0.0
    at_risk = equity * sizing.risk_share * min(strength, 1.0)
    notional = min(at_risk / stop_distance, equity * sizing.position_share)
    return notional * sizing.stage_share / (price * multiplier)


def quantity_exact(quantity: float, lot: Decimal) -> Decimal:
    """A float quantity as whole lots, rounded towards zero: never more than was meant.

    Raises ConfigurationError for a lot that is not above zero, ValueError for a quantity that is not finite.
    """
    if lot <= 0:
        raise ConfigurationError(f"lot is {lot}: must be above zero")
    if not isfinite(quantity):
        raise ValueError(f"quantity is {quantity}: must be a finite number")
    return lots_down(Decimal(repr(quantity)), lot)


def order_quantity(target: Decimal, position: Decimal) -> Decimal:
    """What to trade to come from a position to a target: signed, above zero buys."""
    return target - position
