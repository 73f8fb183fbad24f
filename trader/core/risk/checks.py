"""Pre-trade checks: one row of verdicts per order, with every number beside its limit. Fails closed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Literal

from trader.core.risk.limits import Check, Limits
from trader.core.types.sides import Kind, Side

Verdict = Literal["ok", "refused", "not_asked"]
Scope = Literal["order", "owner", "net"]


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """An order before it exists. Floats: the exact amounts are rounded to tick and lot elsewhere.

    `price` is what it would be filled at: its limit, or for a market order the touch it would take
    (in quote). `quantity` is above zero, in base. `rate` is the quote currency's price in the
    account's.
    """

    side: Side
    quantity: float
    price: float
    kind: Kind
    adds_risk: bool
    multiplier: float = 1.0
    rate: float = 1.0

    @property
    def notional(self) -> float:
        """Size in the account's currency, without sign."""
        return self.quantity * self.price * self.multiplier * self.rate


@dataclass(frozen=True, slots=True)
class Book:
    """What one scope holds, before the order: a deployment's sub-ledger, or the whole account's net.

    `position` is signed, in base, of the order's instrument; `resting` is the unfilled quantity of
    open risk-adding orders of the order's own side there. `gross`, `net` and `contracts` are
    exposures of all instruments in the account's currency, at their marks: absolute, signed, and
    absolute of contracts alone; `resting_gross` is the notional of every open risk-adding order.
    `orders_last_minute` counts sends that add risk, on the market clock; `day_start_equity` and `day_profit`
    (realised and unrealised, after fees and funding) are of the UTC market day.
    """

    position: float = 0.0
    resting: float = 0.0
    gross: float = 0.0
    net: float = 0.0
    contracts: float = 0.0
    resting_gross: float = 0.0
    orders_last_minute: int = 0
    day_start_equity: float = 0.0
    day_profit: float = 0.0


@dataclass(frozen=True, slots=True)
class RiskState:
    """What the checks see: the account's equity, the instrument's market, and both books.

    `mark` is the market's price of the instrument in quote. `held` is what an order that adds no risk
    may take, without sign, on the side that it closes: for an owner who closes, what he holds and
    never more than the venue's net; on a contract, for one who does not, the venue's net.
    """

    equity: float
    mark: float
    held: float
    min_quantity: float
    min_notional: float
    owner: Book
    net: Book


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: its number beside its limit. `not_asked` stands where no limit is set, or after a refusal."""

    name: Check
    scope: Scope
    number: float | None
    limit: float | None
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    name: Check
    scope: Scope
    number: float
    limit: float | None
    at_least: bool = False
    words: str = ""  # what a refusal says, where the two numbers do not say it

    def result(self) -> CheckResult:
        if self.limit is None:
            return CheckResult(self.name, self.scope, self.number, None, "not_asked", "no limit is set")
        known = isfinite(self.number) and not isnan(self.limit)
        passes = self.number >= self.limit if self.at_least else self.number <= self.limit
        if known and passes:
            return CheckResult(self.name, self.scope, self.number, self.limit, "ok")
        word = "below" if self.at_least else "above"
        detail = f"{self.number:.10g} is {word} the limit {self.limit:.10g}" if known else "a number is not known"
        return CheckResult(self.name, self.scope, self.number, self.limit, "refused", self.words or detail)


def checks(order: OrderIntent, state: RiskState, owner: Limits, net: Limits) -> list[CheckResult]:
    """Ask every check in order; the first refusal ends it and the rest are `not_asked`.

    `owner` are the tightest limits of the order's deployment (or person), `net` those of the whole
    account; each is asked of its own book. An order that adds no risk is asked only whether it is
    complete, held, and above the venue's minimums (DESIGN 7.11); but where it lowers the account's
    net and yet opens its owner's position, the owner's limits are asked too. A number or limit that
    is not a number refuses.
    """
    results: list[CheckResult] = []
    refused = False
    for asked in _row(order, state, owner, net):
        result = _skipped(asked) if refused else asked.result()
        refused = refused or result.verdict == "refused"
        results.append(result)
    return results


def refusal_of(results: Sequence[CheckResult]) -> CheckResult | None:
    """The check that said no, or None when the order may be made."""
    return next((result for result in results if result.verdict == "refused"), None)


def _skipped(asked: _Asked) -> CheckResult:
    return CheckResult(asked.name, asked.scope, None, asked.limit, "not_asked", "an earlier check refused")


def _row(order: OrderIntent, state: RiskState, owner: Limits, net: Limits) -> Iterator[_Asked]:
    unknown = _unknown_numbers(order, state)
    yield _Asked(Check.COMPLETE, "order", float(len(unknown)), 0.0, words=f"not known yet: {', '.join(unknown)}")
    if not order.adds_risk:
        yield _Asked(Check.HELD, "order", order.quantity, state.held)
    yield _Asked(Check.MINIMUM, "order", order.quantity, state.min_quantity, at_least=True)
    yield _Asked(Check.MINIMUM, "order", order.quantity * order.price, state.min_notional, at_least=True)
    if not order.adds_risk:
        if _opens(order, state.owner):
            yield from _limit_row(order, state, "owner", owner)
    else:
        # limit by limit, the deployment's own before the account's net
        pairs = zip(_limit_row(order, state, "owner", owner), _limit_row(order, state, "net", net), strict=True)
        for of_owner, of_net in pairs:
            yield of_owner
            yield of_net


def _opens(order: OrderIntent, book: Book) -> bool:
    """Whether an order moves its owner's position away from zero; an unknown position counts as zero."""
    return not abs(book.position + order.side.sign * order.quantity) <= abs(book.position)


def _limit_row(order: OrderIntent, state: RiskState, scope: Scope, limits: Limits) -> Iterator[_Asked]:
    book = state.owner if scope == "owner" else state.net
    value = state.mark * order.multiplier * order.rate
    sign = order.side.sign
    after = abs(book.position + sign * (book.resting + order.quantity)) * value
    net = book.net + sign * order.notional
    gross = book.gross + book.resting_gross + order.notional
    contracts = book.contracts + book.resting_gross + order.notional if order.kind == "linear" else book.contracts
    yield _Asked(Check.ORDER_NOTIONAL, scope, order.notional, limits.order_notional)
    yield _Asked(Check.POSITION_NOTIONAL, scope, after, limits.position_notional)
    yield _Asked(Check.GROSS_EXPOSURE, scope, _share(gross, state.equity), limits.gross_exposure)
    yield _Asked(Check.NET_EXPOSURE, scope, _share(abs(net), state.equity), limits.net_exposure)
    yield _Asked(Check.LEVERAGE, scope, _share(contracts, state.equity), limits.leverage)
    yield _Asked(Check.ORDERS_PER_MINUTE, scope, book.orders_last_minute + 1.0, limits.orders_per_minute)
    yield _Asked(Check.PRICE_COLLAR, scope, abs(_share(order.price, state.mark) - 1.0), limits.price_collar)
    loss = _share(max(-book.day_profit, 0.0), book.day_start_equity)
    yield _Asked(Check.DAILY_LOSS, scope, loss, limits.daily_loss)


def _unknown_numbers(order: OrderIntent, state: RiskState) -> list[str]:
    """Name the numbers that every check stands on and that are missing; any refuses."""
    above_zero = {
        "the quantity": order.quantity,
        "the price": order.price,
        "the contract's multiplier": order.multiplier,
        "the rate of the quote currency": order.rate,
        "the market's price": state.mark,
    }
    if order.adds_risk:
        above_zero["the account's equity"] = state.equity
    known = {
        "what is held": state.held,
        "the venue's minimum quantity": state.min_quantity,
        "the venue's minimum notional": state.min_notional,
    }
    missing = [name for name, number in above_zero.items() if not (isfinite(number) and number > 0)]
    return missing + [name for name, number in known.items() if not isfinite(number)]


def _share(amount: float, whole: float) -> float:
    # nothing to compare with is an unknown share, and an unknown refuses wherever a limit is set
    return amount / whole if isfinite(whole) and whole > 0 else float("nan")
