"""The books of one account: positions by owner, cash by currency, and what they are worth."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from trader.core.portfolio.positions import (
    ZERO,
    Contract,
    Fill,
    FillResult,
    Position,
    adjustment_apply,
    exact,
    fill_apply,
)
from trader.core.types.errors import AccountingError

MANUAL = "manual"
UNATTRIBUTED = "unattributed"
"""Owners beside the deployments' keys: a person, and what reconciliation found."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What an account is worth at given marks, all in the account's currency.

    equity = opening balance + realised + unrealised - fees + funding, and also cash + what is held.
    `gross` and `net` are the exposures: sum of the absolute and of the signed notionals.
    """

    equity: Decimal
    cash: Decimal
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    funding: Decimal
    gross: Decimal
    net: Decimal


class Ledger:
    """Books of one account. Every booking goes to one owner; the owners' sum is the venue's position.

    `currency` is what equity is counted in. An amount in another currency needs its rate when the
    account is valued, and the lack of one raises AccountingError: an unknown value is not zero.
    """

    def __init__(self, currency: str, contracts: Mapping[int, Contract]) -> None:
        self.currency = currency
        self.contracts = dict(contracts)
        self.cash: dict[str, Decimal] = {}
        self.positions: dict[tuple[int, str], Position] = {}

    def book_fill(self, instrument: int, owner: str, fill: Fill) -> FillResult:
        """Book an execution to its owner; call it once per execution id."""
        key = (instrument, owner)
        result = fill_apply(self.positions.get(key, Position()), self._contract(instrument), fill)
        self.positions[key] = result.position
        for currency, amount in result.cash.items():
            self.book_cash(currency, amount)
        return result

    @exact
    def book_funding(self, instrument: int, owner: str, amount: Decimal) -> None:
        """Book funding of a contract: above zero was received."""
        contract = self._contract(instrument)
        key = (instrument, owner)
        position = self.positions.get(key, Position())
        self.positions[key] = replace(position, funding=position.funding + amount)
        self.book_cash(contract.settle, amount)

    def book_adjustment(self, instrument: int, owner: str, quantity: Decimal, price: Decimal) -> FillResult:
        """Book a quantity that came or went without a fill; the venue wins."""
        key = (instrument, owner)
        contract = self._contract(instrument)
        result = adjustment_apply(self.positions.get(key, Position()), contract, quantity, price)
        self.positions[key] = result.position
        return result

    @exact
    def book_cash(self, currency: str, amount: Decimal) -> None:
        """Book cash that came (above zero) or went: an opening balance, a transfer, an adjustment."""
        if not amount.is_finite():
            raise AccountingError(f"cash of {amount} {currency}: must be a finite number")
        self.cash[currency] = self.cash.get(currency, ZERO) + amount

    def position(self, instrument: int, owner: str) -> Position:
        return self.positions.get((instrument, owner), Position())

    @exact
    def net_quantity(self, instrument: int) -> Decimal:
        """Sum over all owners: what the venue must show."""
        return sum((p.quantity for (of, _), p in self.positions.items() if of == instrument), ZERO)

    @exact
    def figures(
        self, marks: Mapping[int, Decimal], rates: Mapping[str, Decimal] | None = None, owner: str | None = None
    ) -> Figures:
        """Value the account, or one owner's part of it (then `cash` and `equity` hold only what it earned).

        `marks` are prices by instrument, in quote; `rates` are prices of currencies in the account's.
        Raises AccountingError where a mark or a rate that is needed is missing or not above zero.
        """
        known = {self.currency: Decimal(1), **(rates or {})}
        totals = dict.fromkeys(("held", "realised", "unrealised", "fees", "funding", "gross", "net"), ZERO)
        for instrument, position in self._rows(owner):
            for name, amount in self._valued(instrument, position, marks, known).items():
                totals[name] += amount
        earned = totals["realised"] + totals["unrealised"] - totals["fees"] + totals["funding"]
        cash = sum((amount * _rate(known, of) for of, amount in self.cash.items() if amount), ZERO)
        held = totals.pop("held")
        if owner is not None:
            return Figures(equity=earned, cash=ZERO, **totals)
        return Figures(equity=cash + held, cash=cash, **totals)

    def equity(self, marks: Mapping[int, Decimal], rates: Mapping[str, Decimal] | None = None) -> Decimal:
        """Cash and what is held, in the account's currency."""
        return self.figures(marks, rates).equity

    @exact
    def margin(
        self,
        marks: Mapping[int, Decimal],
        leverage: Mapping[int, Decimal],
        rates: Mapping[str, Decimal] | None = None,
    ) -> Decimal:
        """Initial margin that open contracts bind, in the account's currency; 0 where none is open.

        Raises AccountingError where a mark, a leverage or a rate of what is held is missing or not above zero.
        """
        known = {self.currency: Decimal(1), **(rates or {})}
        bound = ZERO
        for instrument in {of for of, _ in self.positions if self._contract(of).kind == "linear"}:
            if self.net_quantity(instrument):
                held = self.margin_of(instrument, _mark(marks, instrument), leverage.get(instrument))
                bound += held * _rate(known, self._contract(instrument).settle)
        return bound

    @exact
    def margin_of(self, instrument: int, mark: Decimal, leverage: Decimal | None) -> Decimal:
        """Initial margin of one contract's net position, in its settle currency: notional over leverage."""
        if leverage is None or not leverage.is_finite() or leverage <= 0:
            raise AccountingError(f"instrument {instrument} is held and its leverage is unknown (got {leverage})")
        return abs(self.net_quantity(instrument)) * mark * self._contract(instrument).multiplier / leverage

    def _valued(
        self, instrument: int, position: Position, marks: Mapping[int, Decimal], rates: Mapping[str, Decimal]
    ) -> dict[str, Decimal]:
        contract = self._contract(instrument)
        rate = _rate(rates, contract.quote)
        notional = unrealised = ZERO
        if position.quantity:
            mark = _mark(marks, instrument)
            notional = position.quantity * mark * contract.multiplier
            unrealised = position.unrealised(mark, contract.multiplier)
        held = notional if contract.kind == "spot" else unrealised
        amounts = {
            "held": held,
            "realised": position.realised,
            "unrealised": unrealised,
            "fees": position.fees,
            "funding": position.funding,
            "gross": abs(notional),
            "net": notional,
        }
        return {name: amount * rate for name, amount in amounts.items()}

    def _rows(self, owner: str | None) -> Iterator[tuple[int, Position]]:
        for (instrument, of), position in self.positions.items():
            if owner is None or of == owner:
                yield instrument, position

    def _contract(self, instrument: int) -> Contract:
        contract = self.contracts.get(instrument)
        if contract is None:
            raise AccountingError(f"instrument {instrument} is not in the books: add its contract first")
        return contract


def _mark(marks: Mapping[int, Decimal], instrument: int) -> Decimal:
    mark = marks.get(instrument)
    if mark is None or not mark.is_finite() or mark <= 0:
        raise AccountingError(f"instrument {instrument} is held and has no mark (got {mark})")
    return mark


def _rate(rates: Mapping[str, Decimal], currency: str) -> Decimal:
    rate = rates.get(currency)
    if rate is None or not rate.is_finite() or rate <= 0:
        raise AccountingError(f"no rate for {currency} (got {rate}): its value is unknown, not zero")
    return rate
