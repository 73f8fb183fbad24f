"""Equity, exposures and the day's profit from the core's ledger, as floats for checks, pages and snapshots."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

from apps.execution.desk.books import MINUTE_NS
from apps.execution.desk.core import DeskCore
from apps.execution.desk.model import DeskOrder
from apps.execution.states import OrderState
from trader.core.portfolio import Figures
from trader.core.risk import Book
from trader.core.types import AccountingError, market_day

NAN = float("nan")
# the newest orders first, by their index; market time is not indexed
MADE = """
    SELECT (extract(epoch FROM market_at) * 1000000)::bigint, owner FROM (
        SELECT market_at, owner, adds_risk FROM execution_order WHERE account_id = %(account_id)s
        ORDER BY created_at DESC LIMIT 5000) AS newest
    WHERE adds_risk AND market_at > timestamptz 'epoch' + %(since)s * interval '1 microsecond' ORDER BY market_at
"""


@dataclass
class Day:
    """What a UTC market day counts from: its first equity, what each owner had earned and the ledger realised then."""

    number: int = -1
    equity: float = NAN
    earned: dict[str, float] = field(default_factory=dict)
    peak: float = 0.0
    realised: Decimal | None = None


class Accounts:
    """Reads the books. An unknown mark makes a figure NaN, and a NaN refuses."""

    def __init__(self, core: DeskCore) -> None:
        self._core = core
        self.day = Day()
        self.day_began = asyncio.Event()

    def figures(self, owner: str | None = None) -> Figures | None:
        """Value the account or one owner's part; None while a mark is missing."""
        books = self._core.books
        try:
            return books.ledger.figures(books.marks, books.rates(), owner)
        except AccountingError:
            return None

    def margin(self) -> Decimal | None:
        """Initial margin that contracts bind; None while a mark or a leverage is missing, 0 without contracts."""
        books = self._core.books
        try:
            return books.ledger.margin(books.marks, books.leverage, books.rates())
        except AccountingError:
            return None

    def equity(self) -> float:
        """Equity in the account's currency; NaN when unknown."""
        found = self.figures()
        return float(found.equity) if found is not None else NAN

    def mark_day(self, market_ns: int) -> None:
        """Begin a new market day when it comes; keep the highest equity."""
        figures = self.figures()
        if figures is None:
            return
        equity = float(figures.equity)
        self.day.peak = max(self.day.peak, equity)
        number = market_day(market_ns)
        if number != self.day.number:
            owners = {owner for _, owner in self._core.books.ledger.positions}
            earned = {owner: self._earned(owner) for owner in owners}
            self.day = Day(number, equity, earned, self.day.peak, figures.realised)
            self.day_began.set()

    def _earned(self, owner: str) -> float:
        found = self.figures(owner)
        return float(found.equity) if found is not None else NAN

    def profit_of_day(self, owner: str | None = None) -> float:
        """Profit of the market day, after fees and funding, marked; of the account or of one owner."""
        if owner is None:
            return self.equity() - self.day.equity
        # a successor has its predecessors' ledger, so it counts from where they began the day
        line = self._core.lineage.get(owner, (owner,))
        return sum(self._earned(one) - self.day.earned.get(one, 0.0) for one in line)

    def realised_today(self) -> float:
        """What the ledger has realised since the market day began, before fees and funding; 0 while it is not known.

        The same as `realised_today` of the portfolio's stored figures: a gain that a position carries over midnight
        belongs to the day that closes it.
        """
        figures = self.figures()
        known = figures is not None and self.day.realised is not None
        return float(figures.realised - self.day.realised) if known else 0.0

    def drawdown(self) -> float:
        """Share of the highest equity that is lost now."""
        equity = self.equity()
        return max(0.0, 1.0 - equity / self.day.peak) if self.day.peak > 0 else 0.0

    def book(self, owner: str | None, instrument_id: int, side: str) -> Book:
        """What one owner, or the whole account, holds and has resting, as the checks ask for it."""
        books = self._core.books
        rates = books.rates()
        gross = net = contracts = 0.0
        for of, by, quantity in books.open_positions():
            if owner is not None and by != owner:
                continue
            market = books.markets[of]
            worth = float(quantity * books.marks.get(of, Decimal("NaN")) * rates.get(market.quote, Decimal("NaN")))
            gross, net = gross + abs(worth), net + worth
            contracts += abs(worth) if market.kind == "linear" else 0.0
        resting = [order for order in books.orders_of(owner=owner) if order.adds_risk]
        same = [one for one in resting if one.market.instrument_id == instrument_id and one.side == side]
        held = books.held(instrument_id, owner) if owner is not None else books.net(instrument_id)
        return Book(
            position=float(held),
            resting=float(sum((one.left for one in same), Decimal(0))),
            gross=gross,
            net=net,
            contracts=contracts,
            resting_gross=sum(self._worth(one.market.instrument_id, one.left) for one in resting),
            orders_last_minute=self._orders_last_minute(owner, resting),
            day_start_equity=self.day.equity,
            day_profit=self.profit_of_day(owner),
        )

    def _orders_last_minute(self, owner: str | None, resting: list[DeskOrder]) -> int:
        """Orders made in the market's last minute, those that wait for their commit included."""
        made = self._core.books.sends_last_minute(self._core.market_ns, owner)
        return made + sum(1 for one in resting if one.state is OrderState.CREATED and not one.is_counted)

    async def orders_restore(self) -> None:
        """Count the orders of the market's last minute that an earlier session made."""
        given = {"account_id": self._core.account.id, "since": (self._core.market_ns - MINUTE_NS) // 1000}
        books = self._core.books
        for market_us, owner in await self._core.store.query(MADE, given):
            books.sent(int(market_us) * 1000, owner)

    def _worth(self, instrument_id: int, quantity: Decimal) -> float:
        books = self._core.books
        market = books.markets[instrument_id]
        rate = books.rates().get(market.quote, Decimal("NaN"))
        return float(quantity * books.marks.get(instrument_id, Decimal("NaN")) * rate)
