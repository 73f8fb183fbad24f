"""Orders made from a wish: ids derived, quantities in whole lots, what only reduces bound to it at the venue."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from apps.execution.brokers.base import Market
from apps.execution.desk.core import DeskCore
from apps.execution.desk.model import DeskOrder
from trader.core.risk import lots_down
from trader.core.types import client_id


@dataclass(frozen=True, slots=True)
class Wish:
    """An order that somebody wants. `decided_ns` is the market time of the decision it comes from."""

    market: Market
    owner: str
    leg: str
    side: str
    quantity: Decimal
    decided_ns: int
    kind: str = "market"
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    time_in_force: str = "GTC"
    reduce_only: bool = False
    revision: int = 0
    decision_id: UUID | None = None
    signal_id: int | None = None
    parent_id: int | None = None
    client_id: str = ""


def order_make(core: DeskCore, wish: Wish) -> DeskOrder:
    """Return the order of a wish, not yet in the books. The same wish always has the same client id.

    A contract order that adds no risk skips limits, lease and kill switch, so it goes out as reduce-only, asked for or
    not: what it reduces may be gone by the time it trades, and the venue then lets it open nothing.
    """
    own_id = wish.client_id or client_id(
        core.account.install,
        core.account.id,
        core.account.epoch_number,
        wish.owner,
        wish.market.instrument_id,
        wish.decided_ns,
        wish.leg,
        wish.revision,
    )
    is_linear = wish.market.kind == "linear"
    adds_risk = core.books.adds_risk(wish.market, wish.side, wish.quantity, wish.reduce_only and is_linear)
    if wish.trigger_price is not None:
        # a protective stop is never larger than what is held; other exits resting beside it do not make it risk
        adds_risk = not (wish.reduce_only if is_linear else wish.quantity <= core.books.net(wish.market.instrument_id))
    return DeskOrder(
        id=core.ids.take(),
        client_id=own_id,
        account_id=core.account.id,
        market=wish.market,
        owner=wish.owner,
        leg=wish.leg,
        side=wish.side,
        kind=wish.kind,
        quantity=wish.quantity,
        adds_risk=adds_risk,
        market_ns=max(core.market_ns, wish.decided_ns),
        revision=wish.revision,
        price=wish.price,
        trigger_price=wish.trigger_price,
        time_in_force=wish.time_in_force,
        reduce_only=is_linear and (wish.reduce_only or not adds_risk),
        decision_id=wish.decision_id,
        signal_id=wish.signal_id,
        parent_id=wish.parent_id,
    )


def closing_quantity(core: DeskCore, instrument_id: int, owner: str) -> tuple[str, Decimal]:
    """Return side and quantity that close an owner's position: whole lots, never past the venue's net."""
    held = core.books.held(instrument_id, owner)
    net = core.books.net(instrument_id)
    market = core.books.markets[instrument_id]
    side = "sell" if held > 0 else "buy"
    if held * net <= 0:
        return side, Decimal(0)
    return side, lots_down(min(abs(held), abs(net)), market.lot)


def is_closing(order: DeskOrder, side: str) -> bool:
    """Whether an open order of an owner closes its position already, at whatever price it gets; `side` closes it."""
    return order.kind == "market" and order.side == side and not order.is_stop
