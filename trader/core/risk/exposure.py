"""What adds risk, and what counts as flat: the two definitions that every gate and sweep stands on."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from trader.core.types.sides import Kind, Side

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that rests or is on its way: what it could still do. `quantity` is what is not yet filled."""

    side: Side
    quantity: Decimal
    reduce_only: bool = False


def adds_risk(order: OpenOrder, position: Decimal, open_orders: Iterable[OpenOrder], kind: Kind) -> bool:
    """Whether an order may add risk. `position` is the venue's signed quantity of the instrument.

    It adds none when it is reduce-only on a contract; when it is a sell on cash spot of no more
    than is held; or when, filled together with every other open order of its own side that is not
    reduce-only, it would at most bring the position to zero (orders of the other side are not
    counted). `open_orders` are the *others*: leave the order itself out.

    A quantity that is not finite adds risk: what is unknown is treated as the worst case.
    """
    if not (order.quantity.is_finite() and position.is_finite()):
        return True
    if kind == "spot":
        if order.side is Side.SELL and order.quantity <= position:
            return False
    elif order.reduce_only:
        # on spot the flag binds nothing at the venue, so there it proves nothing
        return False
    together = order.quantity + sum((o.quantity for o in open_orders if _counts(o, order.side, kind)), ZERO)
    if not together.is_finite():
        return True
    room = -position * order.side.sign
    return together > room


def is_flat(
    quantity: Decimal,
    price: Decimal,
    *,
    lot: Decimal,
    min_quantity: Decimal = ZERO,
    min_notional: Decimal = ZERO,
    multiplier: Decimal = Decimal(1),
) -> bool:
    """Whether a position is flat or dust: below the minimum lot, quantity or notional that could be sold."""
    size = lots_down(abs(quantity), lot)
    return size <= 0 or size < min_quantity or size * price * multiplier < min_notional


def lots_down(quantity: Decimal, lot: Decimal) -> Decimal:
    """The largest whole number of lots in a quantity (towards zero). Raises ValueError for a lot of zero or less."""
    if lot <= 0:
        raise ValueError(f"lot is {lot}: must be above zero")
    return (quantity / lot).to_integral_value(rounding="ROUND_DOWN") * lot


def _counts(other: OpenOrder, side: Side, kind: Kind) -> bool:
    return other.side is side and (kind == "spot" or not other.reduce_only)
