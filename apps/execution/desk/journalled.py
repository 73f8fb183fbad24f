"""What a desk wrote down in its journal without a database: taken up at a start, booked when there is one again."""

import structlog

from apps.execution.desk import load
from apps.execution.desk.adopt import Adopter
from apps.execution.desk.core import DeskCore
from apps.execution.desk.model import DeskOrder
from apps.execution.desk.store import DatabaseGone
from apps.execution.desk.track import Tracker
from apps.execution.desk.writer import Writer
from apps.execution.origins import Blocker
from apps.execution.states import LEGAL, OrderState

log = structlog.get_logger(__name__)
STARTED_AGAIN = "the desk started again"
# what may have left, and what may have been asked to go, without its answer having come down
IN_DOUBT = frozenset({OrderState.CREATED, OrderState.SENT, OrderState.CANCELLING})
RESTING = frozenset({OrderState.ACKNOWLEDGED, OrderState.PARTLY_FILLED})


class Journalled:
    """Lines of an earlier session: orders, refusals and cancels; each comes to its row with its reason."""

    def __init__(self, core: DeskCore, writer: Writer, tracker: Tracker, adopter: Adopter) -> None:
        self._core = core
        self._writer = writer
        self._tracker = tracker
        self._adopter = adopter
        self._orders: list[DeskOrder] = []
        self._asked: list[DeskOrder] = []

    def take_up(self) -> None:
        """Take the lines in, and doubt what may have been sent: after a crash every `created` row may.

        A refusal ends its order: nothing of it rests. A cancel gives its order who asked for it and why; whether the
        venue has taken it, the venue will say.
        """
        books = self._core.books
        self._orders = load.journal_orders(books, self._core.journal)
        for order in self._orders:
            books.order_add(order)
        refused = load.journal_lines(self._core.journal, "refused")
        cancelled = load.journal_lines(self._core.journal, "cancel")
        for order in list(books.open.values()):
            line = refused.get(order.client_id)
            if line is not None and OrderState.REJECTED in LEGAL[order.state]:
                self._tracker.move(order, OrderState.REJECTED, line["origin"], line["why"])
                continue
            line = cancelled.get(order.client_id)
            if line is not None:
                order.origin, order.detail = line["origin"], line["why"][:200]
            if line is not None or order.state is OrderState.CANCELLING:
                self._asked.append(order)
            if order.state in IN_DOUBT:
                self._tracker.move(order, OrderState.UNKNOWN, detail=STARTED_AGAIN)

    async def rows_add(self) -> None:
        """Give rows to the orders that have none."""
        await self._adopter.rows_add(self._orders)

    def cancels_settle(self) -> None:
        """Once the venue was asked: a cancel that it has not taken leaves its order as it was; nobody has ended it."""
        for order in self._asked:
            if order.state in RESTING:
                order.origin, order.detail = "", f"it rests still: a cancel was asked for, and {STARTED_AGAIN}"
                self._tracker.changed(order)
        self._asked.clear()

    async def settle(self) -> None:
        """Give rows to what was journalled while the database was gone, then forget the lines."""
        waiting = self._core.journal.waiting()
        if not waiting or Blocker.DATABASE in self._core.blocks:
            return
        orders = [self._core.books.orders.get(one["client_id"]) for one in waiting if one["kind"] == "order"]
        try:
            await self._adopter.rows_add([order for order in orders if order is not None])
        except DatabaseGone:
            return
        for order in orders:
            if order is not None:
                self._writer.order(order)
        if await self._writer.flush():
            try:
                self._core.journal.booked(waiting)
            except OSError as error:
                log.error("the journal's lines are booked, and could not be taken away", error=str(error)[:200])
