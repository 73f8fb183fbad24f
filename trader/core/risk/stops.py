"""Protective stops: where they stand, for how much, and when one is large enough to rest at a venue."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trader.core.risk.exposure import lots_down
from trader.core.types.errors import ConfigurationError
from trader.core.types.sides import Side


@dataclass(frozen=True, slots=True)
class StopPlan:
    """A stop that should rest at the venue: a market order of `side`, once `trigger_price` is touched."""

    side: Side
    quantity: Decimal
    trigger_price: Decimal


def stop_price(entry: Decimal, position: Decimal, distance: Decimal, tick: Decimal) -> Decimal:
    """Trigger of the stop of a position entered at `entry`; `distance` is a share of the price.

    Rounded to the tick nearer the entry, so that it never risks more than was sized for. Raises
    ConfigurationError for a distance outside 0 to 1, or a stop that would not be above zero.
    """
    if not Decimal(0) < distance < Decimal(1):
        raise ConfigurationError(f"stop distance is {distance}: must be a share above 0 and below 1")
    is_long = position > 0
    raw = entry * (1 - distance) if is_long else entry * (1 + distance)
    ticks = (raw / tick).to_integral_value(rounding=ROUND_CEILING if is_long else ROUND_FLOOR)
    if ticks <= 0:
        raise ConfigurationError(f"stop at {raw} is below one tick of {tick}")
    return ticks * tick


def stop_plan(
    position: Decimal,
    entry: Decimal,
    distance: Decimal,
    *,
    tick: Decimal,
    lot: Decimal,
    min_quantity: Decimal = Decimal(0),
    min_notional: Decimal = Decimal(0),
    multiplier: Decimal = Decimal(1),
) -> StopPlan | None:
    """The stop that a position should have, or None while it is too small for the venue to take one.

    The quantity is what is held, rounded down to lots: a spot venue refuses to sell more.
    """
    quantity = lots_down(abs(position), lot)
    if quantity <= 0 or quantity < min_quantity:
        return None
    trigger = stop_price(entry, position, distance, tick)
    if quantity * trigger * multiplier < min_notional:
        return None
    return StopPlan(Side.SELL if position > 0 else Side.BUY, quantity, trigger)


def stop_matches(plan: StopPlan | None, side: Side, quantity: Decimal, trigger_price: Decimal) -> bool:
    """Whether a resting stop already is what the plan asks for; if not, it is replaced, new before old."""
    return plan is not None and (plan.side, plan.quantity, plan.trigger_price) == (side, quantity, trigger_price)
