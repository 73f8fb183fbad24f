"""Orders of our prefix at the venue without a row here: journalled ones, and those a restored database has lost."""

from decimal import Decimal

import structlog

from apps.execution.brokers.base import Market, VenueOrder
from apps.execution.desk.core import DeskCore
from apps.execution.desk.model import MANUAL, STOP, DeskOrder
from apps.execution.desk.store import Unit
from apps.execution.events import ORDERS
from apps.execution.origins import Origin
from trader.core.portfolio import UNATTRIBUTED

log = structlog.get_logger(__name__)


class Adopter:
    """Gives a row to orders that reached the venue without one."""

    def __init__(self, core: DeskCore) -> None:
        self._core = core
        self._markets: dict[tuple[str, str], Market] = {
            (market.kind, market.venue_symbol): market for market in core.books.markets.values()
        }

    def market_add(self, market: Market) -> None:
        """Make a new instrument known."""
        self._markets[(market.kind, market.venue_symbol)] = market

    async def rows_add(self, orders: list[DeskOrder]) -> None:
        """Insert rows for orders that are in memory; a row that is there already stays."""
        if not orders:
            return
        now = self._core.now_ns()
        unit = Unit(orders_adopted=orders, events=[(ORDERS, order.event(now)) for order in orders])
        await self._core.store.write(unit, lane="book")

    async def from_venue(self, reports: list[VenueOrder]) -> list[DeskOrder]:
        """Adopt orders of our prefix that nothing here knows; they belong to `unattributed`.

        None without a sure lease: they may be those of the desk that has it now, and what is known here is cancelled.
        """
        if self._core.lease.expired():
            return []
        found = [
            self._order(report, market)
            for report in reports
            if self._core.broker.is_ours(report.client_id)
            and self._core.books.order_find(report.client_id, report.venue_order_id) is None
            and (market := self._markets.get((report.kind, report.venue_symbol))) is not None
        ]
        for order in found:
            log.warning("adopted an order of ours without a row", client_id=order.client_id)
            self._core.books.order_add(order)
        await self.rows_add(found)
        return found

    def _order(self, report: VenueOrder, market: Market) -> DeskOrder:
        own_id = self._core.broker.decode(report.client_id) or report.client_id
        is_protective = report.is_stop and (report.reduce_only or (market.kind == "spot" and report.side == "sell"))
        return DeskOrder(
            id=self._core.ids.take(),
            client_id=own_id,
            account_id=self._core.account.id,
            market=market,
            owner=UNATTRIBUTED,
            leg=STOP if report.is_stop else MANUAL,
            side=report.side,
            kind="stop" if report.is_stop else report.order_kind,
            quantity=report.quantity,
            adds_risk=not (is_protective or (market.kind == "linear" and report.reduce_only)),
            market_ns=report.market_ns,
            price=report.price,
            trigger_price=report.trigger_price,
            reduce_only=report.reduce_only,
            state=report.state,
            filled=Decimal(0),
            reported_filled=report.filled,
            venue_order_id=report.venue_order_id,
            origin=str(Origin.ADOPTED),
            detail="found at the venue without a row here",
        )
