"""What one fill does to one position: pure, exact in Decimal, one place for spot and contracts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

from trader.core.types.errors import AccountingError
from trader.core.types.sides import Kind, Side

ZERO = Decimal(0)
MONEY = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""Wide enough that a product of two numeric(38,18) is exact; only an average price is ever rounded."""
_AVERAGE_STEP = Decimal("1e-18")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def exact(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compute in MONEY: the default context would round every sum to 28 digits."""

    @wraps(function)
    def inside(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        with localcontext(MONEY):
            return function(*arguments, **named)

    return inside


@dataclass(frozen=True, slots=True)
class Contract:
    """What accounting must know of an instrument.

    `quote` is what prices are in; `settle` is where profit of a contract lands (its quote currency).
    """

    kind: Kind
    base: str
    quote: str
    settle: str
    multiplier: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Position:
    """A sub-ledger of one owner in one instrument.

    `quantity` is signed, in base; `average_price` in quote, of what is open now; `realised` is
    before fees and funding; `fees` (paid) and `funding` (received less paid) are valued in quote.
    """

    quantity: Decimal = ZERO
    average_price: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO

    @exact
    def unrealised(self, mark: Decimal, multiplier: Decimal = Decimal(1)) -> Decimal:
        """Profit of what is open, in quote, were it closed at `mark` without fees."""
        return self.quantity * (mark - self.average_price) * multiplier


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution as the venue reports it. `fee` is paid (below zero: a rebate) in `fee_currency`.

    `fee_price` is the price of the fee's currency in quote; needed only where that currency is
    neither the base nor the quote.
    """

    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal = ZERO
    fee_currency: str = ""
    fee_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FillResult:
    """What a fill did: the new position, profit it realised (before fees), and what cash moved where."""

    position: Position
    realised: Decimal
    fee_in_quote: Decimal
    cash: dict[str, Decimal]


@exact
def fill_apply(position: Position, contract: Contract, fill: Fill) -> FillResult:
    """Book one fill on one position.

    On spot the base that a fee takes never arrives: the position moves by quantity less fee, at the
    fill's price, and the fee is valued at that price. On a contract only profit and fee move cash.

    Raises AccountingError for a quantity or price that is not above zero, or a fee that has no value.
    """
    _fill_checked(fill)
    fee_in_quote = _fee_in_quote(contract, fill)
    moved = fill.quantity * fill.side.sign
    pays_in_base = contract.kind == "spot" and fill.fee_currency == contract.base
    if pays_in_base:
        moved -= fill.fee
    quantity, average, realised = _moved(position, moved, fill.price)
    realised = realised * contract.multiplier
    cash: dict[str, Decimal] = {}
    if contract.kind == "spot":
        _add(cash, contract.quote, -fill.side.sign * fill.quantity * fill.price)
    else:
        _add(cash, contract.settle, realised)
    if not pays_in_base and fill.fee:
        _add(cash, fill.fee_currency, -fill.fee)
    booked = replace(
        position,
        quantity=quantity,
        average_price=average,
        realised=position.realised + realised,
        fees=position.fees + fee_in_quote,
    )
    return FillResult(booked, realised, fee_in_quote, cash)


@exact
def adjustment_apply(position: Position, contract: Contract, quantity: Decimal, price: Decimal) -> FillResult:
    """Book a quantity that came or went without a fill (a deposit of coins, what a reconciliation found).

    It joins at `price`, like a fill without fee, but moves no cash: where the venue's cash differs
    too, that is booked as cash. Raises AccountingError for a price that is not above zero.
    """
    if not (price.is_finite() and price > 0 and quantity.is_finite()):
        raise AccountingError(f"adjustment of {quantity} at {price}: quantity finite, price above zero")
    after, average, realised = _moved(position, quantity, price)
    realised = realised * contract.multiplier
    booked = replace(position, quantity=after, average_price=average, realised=position.realised + realised)
    return FillResult(booked, realised, ZERO, {})


def _moved(position: Position, moved: Decimal, price: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """New quantity, new average price, and realised profit of moving a position by `moved` at `price`."""
    before = position.quantity
    after = before + moved
    grows = before * moved >= 0
    if grows:
        if not after:
            return ZERO, ZERO, ZERO
        cost = before * position.average_price + moved * price
        return after, (cost / after).quantize(_AVERAGE_STEP), ZERO
    closed = moved if abs(moved) <= abs(before) else -before
    realised = -closed * (price - position.average_price)
    if not after:
        return ZERO, ZERO, realised
    turned = before * after < 0
    return after, price if turned else position.average_price, realised


def _fee_in_quote(contract: Contract, fill: Fill) -> Decimal:
    if not fill.fee:
        return ZERO
    if fill.fee_currency in (contract.quote, contract.settle):
        return fill.fee
    if contract.kind == "spot" and fill.fee_currency == contract.base:
        return fill.fee * fill.price
    if fill.fee_price is None:
        raise AccountingError(
            f"fee of {fill.fee} {fill.fee_currency or '(no currency)'} on {contract.base}/{contract.quote} "
            f"has no value in {contract.quote}: give fee_price"
        )
    return fill.fee * fill.fee_price


def _fill_checked(fill: Fill) -> None:
    for name, number in (("quantity", fill.quantity), ("price", fill.price)):
        if not (number.is_finite() and number > 0):
            raise AccountingError(f"{name} of a fill is {number}: must be above zero")
    if not fill.fee.is_finite():
        raise AccountingError(f"fee of a fill is {fill.fee}: must be a finite number")


def _add(cash: dict[str, Decimal], currency: str, amount: Decimal) -> None:
    if amount:
        cash[currency] = cash.get(currency, ZERO) + amount
