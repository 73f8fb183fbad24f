"""What is let in: triggers that are not yet reached, orders the account can pay for, sizes that are not too small."""

from __future__ import annotations

from apps.simulator.exchange.active import ActiveOrders
from apps.simulator.exchange.errors import VenueRefusal, refusal
from apps.simulator.exchange.funds import Funds
from apps.simulator.exchange.records import AccountRecord, OrderRecord
from apps.simulator.exchange.tickets import Ticket
from trader.core.simulation import FALLING, MARKET, RISING, MatchingBook
from trader.core.simulation.margin import ZERO

OPEN_MAX = 500
ANY_LOTS = 1 << 62


class Admission:
    """Reads funds, open orders and the book; changes only the order it is asked about."""

    def __init__(self, funds: Funds, active: ActiveOrders) -> None:
        self._funds, self._active = funds, active

    def ticket_check(self, account: AccountRecord, ticket: Ticket) -> None:
        """Refuse a client id that an open order bears, and one order too many."""
        kind = ticket.spec.kind
        if ticket.link_id and self._active.find(account.uid, kind, "", ticket.link_id) is not None:
            raise refusal("duplicate", kind)
        if sum(order.key == ticket.spec.key for order in self._active.of(account.uid)) >= OPEN_MAX:
            raise refusal("too_many_orders", kind)

    def trigger_check(self, account: AccountRecord, order: OrderRecord) -> None:
        """Refuse a trigger that is already reached; give a spot trigger its direction."""
        now = {
            "LastPrice": self._funds.last_ticks,
            "MarkPrice": self._funds.mark_ticks,
            "IndexPrice": self._funds.index_ticks,
        }[order.trigger_by](order.key)
        if not order.trigger_direction:
            order.trigger_direction = RISING if order.trigger_price > now else FALLING
        if order.trigger_direction == RISING and order.trigger_price <= now:
            raise VenueRefusal(110092, f"expect Rising, but trigger_price[{order.trigger_price}] <= current[{now}]")
        if order.trigger_direction == FALLING and order.trigger_price >= now:
            raise VenueRefusal(110093, f"expect Falling, but trigger_price[{order.trigger_price}] >= current[{now}]")
        if order.reduce_only and not self.reducible(account, order):
            raise refusal("reduce_only", order.kind)

    def admit(self, account: AccountRecord, order: OrderRecord, book: MatchingBook) -> None:
        """Refuse what is too small, what cannot be paid for, what has nothing to reduce; else it may be matched.

        A reduce-only order is made no larger than the position; one told in quote gets its lots.
        """
        if order.quote_budget is not None:
            self._budget_to_lots(order, book)
        if order.reduce_only:
            reducible = self.reducible(account, order)
            if not reducible:
                raise refusal("reduce_only", order.kind)
            order.lots = min(order.lots, reducible)
            return
        spec = self._funds.spec(order.key)
        offers = [] if order.price else book.fillable(order.sign, MARKET, order.lots)
        value = sum((spec.price(ticks) * spec.quantity(lots) for ticks, lots in offers), ZERO)
        if not offers:
            value = spec.price(order.price or self._funds.last_ticks(order.key)) * spec.quantity(order.lots)
        if order.quote_budget is None and value < spec.min_notional:
            raise refusal("value_low", order.kind, f"({value} is below {spec.min_notional})")
        if order.kind == "linear":
            self._margin_check(account, order)
        elif order.side == "Sell":
            if self._funds.free(account, spec.base) < spec.quantity(order.lots):
                raise refusal("funds", order.kind)
        elif self._funds.free(account, spec.quote) < (order.quote_budget or value):
            raise refusal("funds", order.kind)

    def reducible(self, account: AccountRecord, order: OrderRecord) -> int:
        """Return the lots of a position that an order of this side may still close."""
        held = account.position(order.symbol).quantity
        if held * order.sign >= 0:
            return 0
        return int(abs(held) // self._funds.spec(order.key).lot)

    def adds_risk(self, account: AccountRecord, ticket: Ticket) -> bool:
        """Return whether an order adds risk by the house's rule; the ledger notes it for every order."""
        if ticket.reduce_only:
            return False
        spec, lots = ticket.spec, ticket.spec.quantity(ticket.lots)
        if spec.kind == "spot":
            return ticket.side == "Buy" or lots > account.wallet(spec.base)
        same_side = sum(
            (
                spec.quantity(order.left)
                for order in self._active.of(account.uid)
                if order.key == spec.key and order.side == ticket.side and not order.reduce_only
            ),
            ZERO,
        )
        held = account.position(spec.symbol).quantity * ticket.sign
        return held >= 0 or lots + same_side > -held

    def _margin_check(self, account: AccountRecord, order: OrderRecord) -> None:
        """Refuse a contract order that binds more margin than is available; one that binds none passes."""
        coin = self._funds.spec(order.key).settle
        before, after = self._funds.margin(account, coin), self._funds.margin(account, coin, order)
        if after.order_margin > before.order_margin and after.available < 0:
            raise refusal("funds", order.kind)

    def _budget_to_lots(self, order: OrderRecord, book: MatchingBook) -> None:
        """Give an order told in quote the lots that its money buys (or brings) in the book as it stands."""
        spec = self._funds.spec(order.key)
        money, lots = order.quote_budget or ZERO, 0
        for ticks, offered in book.fillable(order.sign, MARKET, ANY_LOTS):
            taken = min(offered, int(money // (spec.price(ticks) * spec.lot)))
            lots += taken
            money -= taken * spec.price(ticks) * spec.lot
            if taken < offered:
                break
        order.lots = lots
