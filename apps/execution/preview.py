"""What a manual order would do, before it is sent: cost, fee, the worst case, and the limit that is nearest."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from apps.execution.desk.guard import reducible
from apps.execution.models import Order
from apps.execution.states import OPEN
from apps.market.models import Instrument
from apps.market.selectors import Terms, bars_newest_open, bars_read_many, terms_now
from apps.portfolio.models import Account, Position
from apps.portfolio.selectors import AccountFigures, account_figures
from apps.risk.selectors import limits_snapshot
from trader.config import config
from trader.core.portfolio import MANUAL
from trader.core.risk import Book, CheckResult, OpenOrder, OrderIntent, RiskState, adds_risk, checks, refusal_of
from trader.core.types import Side

ZERO = Decimal(0)
MINUTE_S = 60
MINUTE = timedelta(minutes=1)
NAN = float("nan")


@dataclass(frozen=True)
class Preview:
    """A manual order beside its numbers; amounts in the instrument's quote currency.

    `worst_case` is what is lost if the position ends at its protective stop, fees counted. `nearest_limit` names the
    check that leaves least room, `nearest_used` how much of it the order would use (1 is all).
    """

    price: Decimal
    quantity: Decimal
    cost: Decimal
    fee: Decimal
    worst_case: Decimal
    position_after: Decimal
    nearest_limit: str
    nearest_used: float | None
    refused_by: str
    detail: str


def preview_make(
    account: Account,
    instrument: Instrument,
    side: str,
    quantity: Decimal,
    limit: Decimal | None,
    bid: float | None,
    ask: float | None,
) -> Preview:
    """Compute a preview from the newest rows; the desk's memory decides when the order comes."""
    books = _books(account, instrument, bid, ask)
    touch = ask if side == "buy" else bid
    price = limit or (Decimal(repr(touch)) if touch else books.marks.get(instrument.pk, ZERO))
    terms = terms_now([instrument.pk])[instrument.pk]
    net = books.held(instrument)
    sign = 1 if side == "buy" else -1
    cost = quantity * price
    fee = cost * terms.taker_fee
    results = _checked(books, Side(side), quantity, price, terms)
    refused = refusal_of(results)
    used = [
        (result.number / result.limit, str(result.name))
        for result in results
        if result.number is not None and result.limit and result.name not in ("minimum", "held", "complete")
    ]
    nearest = max(used, default=(None, ""))
    return Preview(
        price=price,
        quantity=quantity,
        cost=cost,
        fee=fee,
        worst_case=cost * Decimal(str(config.execution.manual_stop_share)) + 2 * fee,
        position_after=net + sign * quantity,
        nearest_limit=nearest[1],
        nearest_used=nearest[0],
        refused_by=str(refused.name) if refused else "",
        detail=refused.detail if refused else "",
    )


@dataclass(frozen=True)
class _Books:
    """What the rows know of an account, as the desk's memory knows it: marks, rates, what is held and what rests."""

    account: Account
    instrument: Instrument
    figures: AccountFigures | None
    positions: list[Position]
    resting: list[Order]
    made: list[str]  # owners of the risk-adding orders of the market's last minute
    marks: dict[int, Decimal]
    rates: dict[str, Decimal]

    def held(self, instrument: Instrument, owner: str | None = None) -> Decimal:
        """Return the signed quantity of one owner, or of all."""
        return sum(
            (row.quantity for row in self.positions if row.instrument == instrument and _is_of(row, owner)), ZERO
        )

    def book(self, owner: str | None, side: Side) -> Book:
        """Return what one owner, or the whole account, holds and has resting."""
        figures = self.figures
        worth = [
            (row.instrument.kind, self._worth(row.instrument, row.quantity))
            for row in self.positions if row.quantity and _is_of(row, owner)
        ]  # fmt: skip
        resting = [row for row in self.resting if row.adds_risk and _is_of(row, owner)]
        same = [row for row in resting if row.instrument == self.instrument and row.side == side.value]
        return Book(
            position=float(self.held(self.instrument, owner)),
            resting=float(sum((_left(row) for row in same), ZERO)),
            gross=sum(abs(amount) for _, amount in worth),
            net=sum(amount for _, amount in worth),
            contracts=sum(abs(amount) for kind, amount in worth if kind == "linear"),
            resting_gross=sum(self._worth(row.instrument, _left(row)) for row in resting),
            orders_last_minute=sum(1 for by in self.made if owner in (None, by)),
            # rows know the account's day alone; the desk has each owner's
            day_start_equity=float(figures.day_start_equity) if figures else NAN,
            day_profit=float(figures.day_profit) if figures else NAN,
        )

    def _worth(self, instrument: Instrument, quantity: Decimal) -> float:
        mark, rate = self.marks.get(instrument.pk), self.rates.get(instrument.quote)
        return NAN if mark is None or rate is None else float(quantity * mark * rate)


def _books(account: Account, instrument: Instrument, bid: float | None, ask: float | None) -> _Books:
    """Read what the checks ask for, in a few queries whatever the account holds."""
    positions = list(Position.objects.filter(account=account).exclude(quantity=0).select_related("instrument"))
    resting = list(Order.objects.filter(account=account, state__in=OPEN).select_related("instrument"))
    known = {row.instrument_id: row.instrument for row in (*positions, *resting)} | {instrument.pk: instrument}
    twins = Instrument.objects.filter(venue=account.venue_id, kind="spot", quote=account.currency)
    quotes = {one.quote for one in known.values()} - {account.currency}
    known |= {one.pk: one for one in twins.filter(base__in=quotes)}
    marks, closed_at = _closes(account, known)
    if bid and ask:
        marks[instrument.pk] = Decimal(repr((bid + ask) / 2))
    rates = {account.currency: Decimal(1)}
    rates |= {
        one.base: marks[one.pk] for one in known.values()
        if one.kind == "spot" and one.quote == account.currency and one.pk in marks
    }  # fmt: skip
    figures = account_figures([account.pk]).get(account.pk)
    now = max([closed_at, *([figures.market_at] if figures else []), *(row.market_at for row in resting)])
    made = Order.objects.filter(account=account, adds_risk=True, market_at__gt=now - MINUTE).order_by()
    owners = list(made.values_list("owner", flat=True))
    return _Books(account, instrument, figures, positions, resting, owners, marks, rates)


def _closes(account: Account, known: Iterable[int]) -> tuple[dict[int, Decimal], datetime]:
    """Return the newest stored close of each instrument, and when the last of them closed."""
    ids = list(known)
    newest = bars_newest_open(account.epoch_id, ids, MINUTE_S)
    if not newest:
        return {}, datetime.fromtimestamp(0, UTC)
    last_ns = max(newest.values())
    bars = bars_read_many(account.epoch_id, ids, MINUTE_S, min(newest.values()), last_ns + 1)
    # by instrument and time: the newest of each comes last
    closes = {int(bar["instrument_id"]): Decimal(repr(float(bar["close"]))) for bar in bars if bar["close"] > 0}
    return closes, datetime.fromtimestamp(last_ns // 1_000_000_000 + MINUTE_S, UTC)


def _checked(books: _Books, side: Side, quantity: Decimal, price: Decimal, terms: Terms) -> list[CheckResult]:
    """Ask the core's checks, with what the rows know of the account."""
    instrument, figures = books.instrument, books.figures
    own, net = books.held(instrument, MANUAL), books.held(instrument)
    kind = "spot" if instrument.kind == "spot" else "linear"
    others = [
        OpenOrder(Side(row.side), _left(row), row.reduce_only) for row in books.resting if row.instrument == instrument
    ]
    state = RiskState(
        equity=float(figures.equity) if figures else NAN,
        mark=float(books.marks.get(instrument.pk, NAN)),
        held=float(reducible(own, net, instrument.kind, side.value)),
        min_quantity=float(terms.min_quantity),
        min_notional=float(terms.min_notional),
        owner=books.book(MANUAL, side),
        net=books.book(None, side),
    )
    intent = OrderIntent(
        side=side,
        quantity=float(quantity),
        price=float(price),
        kind=kind,
        adds_risk=adds_risk(OpenOrder(side, quantity), net, others, kind),
        rate=float(books.rates.get(instrument.quote, NAN)),
    )
    limits = limits_snapshot(books.account.pk)
    return checks(intent, state, limits.owner(MANUAL, instrument.pk), limits.net(instrument.pk))


def _is_of(row: Any, owner: str | None) -> bool:
    return owner is None or row.owner == owner


def _left(row: Order) -> Decimal:
    return row.quantity - row.filled
