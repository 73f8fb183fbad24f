"""Money rules of the simulated venue: fees, funding, margin and the price of liquidation. Exact decimals.

Linear perpetuals, cross margin, one-way positions. Quantities in base units, values in the quote
currency, fractions for rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

ZERO = Decimal(0)
MAINTENANCE_RATE = Decimal("0.005")
AVERAGE_STEP = Decimal("1e-18")
# wide enough for every product of tick, lot and rate: nothing is rounded but an average price
EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)


def spot_fee(side_is_buy: bool, quantity: Decimal, value: Decimal, rate: Decimal) -> tuple[Decimal, bool]:
    """Return (fee, paid in base): a spot buyer pays in what he receives, a seller in quote.

    >>> spot_fee(True, Decimal(2), Decimal(200), Decimal("0.001"))
    (Decimal('0.002'), True)
    """
    return (quantity * rate, True) if side_is_buy else (value * rate, False)


def funding_payment(quantity: Decimal, mark: Decimal, rate: Decimal) -> Decimal:
    """Return what a position pays at a funding: positive leaves the wallet. `quantity` is signed, long positive."""
    return EXACT.multiply(EXACT.multiply(quantity, mark), rate)


@dataclass(slots=True, frozen=True)
class Holding:
    """A contract position: signed `quantity`, `average` entry price (0 when flat)."""

    quantity: Decimal = ZERO
    average: Decimal = ZERO

    def unrealised(self, mark: Decimal) -> Decimal:
        """Return profit or loss at `mark`."""
        return EXACT.multiply(self.quantity, mark - self.average)


def holding_trade(holding: Holding, quantity: Decimal, price: Decimal) -> tuple[Holding, Decimal]:
    """Return the position after a trade of signed `quantity`, and the profit it realised (fees apart).

    Adding averages the entry price; reducing keeps it; passing through zero starts anew at `price`.
    """
    held = holding.quantity
    after = held + quantity
    if held * quantity >= 0:
        cost = EXACT.add(EXACT.multiply(abs(held), holding.average), EXACT.multiply(abs(quantity), price))
        average = EXACT.divide(cost, abs(after)).quantize(AVERAGE_STEP, context=EXACT) if after else ZERO
        return Holding(after, average), ZERO
    closed = min(abs(quantity), abs(held)) * (1 if held > 0 else -1)
    realised = EXACT.multiply(closed, price - holding.average)
    if not after:
        return Holding(), realised
    passed_zero = (after > 0) != (held > 0)
    return Holding(after, price if passed_zero else holding.average), realised


def initial_margin(value: Decimal, leverage: Decimal) -> Decimal:
    """Return the margin that a position or order of `value` binds."""
    return EXACT.divide(abs(value), leverage).quantize(AVERAGE_STEP, context=EXACT)


def maintenance_margin(value: Decimal, rate: Decimal = MAINTENANCE_RATE) -> Decimal:
    """Return the margin below which a position of `value` is liquidated."""
    return EXACT.multiply(abs(value), rate)


def liquidation_price(holding: Holding, equity_without: Decimal, tick: Decimal) -> Decimal:
    """Return the mark at which equity meets the maintenance margin, all else standing; 0 where it never does.

    `equity_without` is the account's equity less this position's unrealised profit, less what its other
    positions need as maintenance margin.
    """
    if not holding.quantity:
        return ZERO
    sign = 1 if holding.quantity > 0 else -1
    size = abs(holding.quantity)
    # equity_without + q (p - average) = size p m  =>  p = (q average - equity_without) / (q - size m)
    numerator = EXACT.multiply(holding.quantity, holding.average) - equity_without
    price = EXACT.divide(numerator, size * (sign - MAINTENANCE_RATE))
    return price.quantize(tick, context=EXACT) if price > 0 else ZERO
