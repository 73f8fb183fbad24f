"""Whether an order may be made: the desk's own guards first, then the core's checks with their limits."""

from dataclasses import asdict
from decimal import Decimal
from math import isfinite
from uuid import UUID

from apps.execution.brokers.base import Market
from apps.execution.desk.core import DeskCore
from apps.execution.desk.figures import Accounts
from apps.execution.desk.refusal import of_words
from apps.execution.origins import Blocker
from apps.market.models import Epoch
from apps.risk.selectors import LimitsSnapshot, essentials_missing
from apps.risk.services import RefusalRow, refusal_of_checks
from trader.core.risk import Limits, OrderIntent, RiskState, checks, refusal_of
from trader.core.types import Side


class Guard:
    """Asked before every order, from memory only."""

    def __init__(self, core: DeskCore, accounts: Accounts) -> None:
        self._core = core
        self._accounts = accounts
        self.limits: LimitsSnapshot | None = None
        self.touches: dict[int, tuple[float, float]] = {}

    def ask(
        self,
        market: Market,
        owner: str,
        side: str,
        quantity: Decimal,
        price: float,
        *,
        adds_risk: bool,
        decision_id: UUID | None = None,
    ) -> RefusalRow | None:
        """Return why an order may not be made, None when it may. What adds no risk skips the guards (DESIGN 7.11)."""
        of = {
            "account_id": self._core.account.id,
            "instrument_id": market.instrument_id,
            "owner": owner,
            "decision_id": decision_id,
            "market_ns": self._core.market_ns,
        }
        if adds_risk:
            blocked = self._core.why_no_risk(owner, market.instrument_id)
            if blocked is not None:
                return of_words(*blocked, **of)
            unlimited = self._why_unlimited(market.instrument_id)
            if unlimited:
                return of_words(Blocker.LIMITS, unlimited, **of)
        opposed = self._why_opposed(market, owner, side, quantity)
        if opposed:
            return of_words(Blocker.OPPOSED, opposed, **of)
        own = self.limits.owner(owner, market.instrument_id) if self.limits else Limits()
        net = self.limits.net(market.instrument_id) if self.limits else Limits()
        intent = OrderIntent(
            side=Side(side),
            quantity=float(quantity),
            price=price,
            kind="spot" if market.kind == "spot" else "linear",
            adds_risk=adds_risk,
            rate=float(self._core.books.rates().get(market.quote, Decimal("NaN"))),
        )
        results = checks(intent, self._state(market, owner, side), own, net)
        return None if refusal_of(results) is None else refusal_of_checks(results, **of)

    def account_limits(self) -> dict[str, float]:
        """The account's own limits by name, for the page."""
        if self.limits is None:
            return {}
        net = asdict(self.limits.net(-1))
        return {name: value for name, value in net.items() if value is not None}

    def figures(self) -> dict[str, tuple[float, float | None]]:
        """Figures of the account beside their limits, as the checks count them; what is not known is left out."""
        book = self._accounts.book(None, -1, "buy")
        equity = self._accounts.equity()
        limits = self.account_limits()
        loss = max(-book.day_profit, 0.0)
        shares = {
            "gross_exposure": (book.gross + book.resting_gross, equity),
            "net_exposure": (abs(book.net), equity),
            "leverage": (book.contracts, equity),
            "daily_loss": (loss, book.day_start_equity),
        }
        found = {name: part / whole for name, (part, whole) in shares.items() if whole > 0}
        found["orders_per_minute"] = float(book.orders_last_minute)
        return {name: (value, limits.get(name)) for name, value in found.items() if isfinite(value)}

    def _why_unlimited(self, instrument_id: int) -> str:
        """Say why an order would go out unlimited: a simulated account may do with few limits, real money may not."""
        if self.limits is None:
            return "the limits are not loaded"
        account = self._core.account
        is_real = account.is_live or account.epoch_kind == Epoch.Kind.REAL
        return essentials_missing(self.limits.net(instrument_id)) if is_real else ""

    def _why_opposed(self, market: Market, owner: str, side: str, quantity: Decimal) -> str:
        """Say who holds, or may come to hold, the other side of a contract that this order would open for its owner.

        The venue knows the net of all owners alone: a stop of each could not rest there, nor either be closed.
        """
        books, instrument_id, sign = self._core.books, market.instrument_id, 1 if side == "buy" else -1
        if market.kind != "linear" or (books.held(instrument_id, owner) + sign * quantity) * sign <= 0:
            return ""
        for of_instrument, other, held in books.open_positions():
            if of_instrument == instrument_id and other != owner and held * sign < 0:
                return f"{other} holds {held.normalize():f}; close that position first"
        for order in books.open.values():
            is_of_others = order.market.instrument_id == instrument_id and order.owner != owner and not order.is_stop
            then = books.held(instrument_id, order.owner) - sign * order.left
            if is_of_others and order.side != side and then * sign < 0:
                return f"an order of {order.owner} rests on the other side; cancel it first"
        return ""

    def touch(self, market: Market, side: str) -> float:
        """The price that a market order would take: the newest ask or bid, else the mark; NaN when unknown."""
        bid, ask = self.touches.get(market.instrument_id, (0.0, 0.0))
        found = ask if side == "buy" else bid
        if found > 0:
            return found
        return float(self._core.books.marks.get(market.instrument_id, Decimal("NaN")))

    def _state(self, market: Market, owner: str, side: str) -> RiskState:
        books = self._core.books
        may_take = reducible(
            books.held(market.instrument_id, owner), books.net(market.instrument_id), market.kind, side
        )
        return RiskState(
            equity=self._accounts.equity(),
            mark=float(books.marks.get(market.instrument_id, Decimal("NaN"))),
            held=float(may_take),
            min_quantity=float(market.min_quantity),
            min_notional=float(market.min_notional),
            owner=self._accounts.book(owner, market.instrument_id, side),
            net=self._accounts.book(None, market.instrument_id, side),
        )


def reducible(own: Decimal, net: Decimal, kind: str, side: str) -> Decimal:
    """How much an order of this side may take without adding risk: from its owner's position, or, on contracts
    where the owner does not close, from the net of the others. On spot never from another owner's coins."""
    sign = 1 if side == "buy" else -1
    if own * sign < 0:
        return min(abs(own), abs(net))
    return abs(net) if kind == "linear" and net * sign < 0 else Decimal(0)
