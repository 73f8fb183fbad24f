"""The API of money: accounts, equity over time, positions by owner."""

from typing import Any

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import Field

from apps.common.api import Key, Listing, Moment, MomentAsked, Money, Out, PageAsked, Text, answers, page_schema
from apps.common.api.fields import moment, money
from apps.portfolio.models import Account, EquitySnapshot, Position
from apps.users.selectors import bearer

router = Router(tags=["portfolio"])
FIGURES = ("equity", "cash", "realised", "unrealised", "fees", "funding", "gross", "net", "margin")


class AccountOut(Out):
    """Money at a venue in one epoch, with its newest equity; figures are null before the first."""

    id: int
    name: str
    venue: str
    epoch: int = Field(description="Number of the epoch at its venue.")
    is_current: bool = Field(description="Whether that epoch is the one that runs now.")
    currency: str
    is_live: bool = Field(description="Real money.")
    trading_enabled: bool
    is_active: bool
    created_at: Moment
    market_at: Moment | None = Field(description="Of the figures, on the market's clock.")
    equity: Money | None
    cash: Money | None
    realised: Money | None
    unrealised: Money | None
    fees: Money | None
    funding: Money | None
    gross: Money | None
    net: Money | None
    margin: Money | None = Field(description="Initial margin that contracts bind; null while it is unknown.")


class AccountsAsked(PageAsked):
    """Which accounts."""

    venue: Text | None = Field(None, description="The venue's code.")
    current: bool | None = Field(None, description="Only those of epochs that run now, or only the others.")


def _account_columns() -> dict[str, Any]:
    newest = EquitySnapshot.objects.filter(account=OuterRef("pk")).order_by("-market_at")
    same = ("name", "currency", "is_live", "trading_enabled", "is_active", "created_at")
    return {
        "id": "pk",
        "venue": "venue__code",
        "epoch": "epoch__number",
        "is_current": "epoch__is_current",
        **{name: name for name in same},
        "market_at": Subquery(newest.values_list(moment("market_at"))[:1]),
        **{name: Subquery(newest.values_list(money(name))[:1]) for name in FIGURES},
    }


ACCOUNTS = Listing(
    Account.objects.all(),
    _account_columns(),
    {"venue": ("venue__code", "{} = %s"), "current": ("epoch__is_current", "{} = %s")},
)


@router.get("/accounts", auth=bearer.READ, response=answers(page_schema(AccountOut)), summary="Accounts")
def accounts(request: HttpRequest, asked: Query[AccountsAsked]) -> HttpResponse:
    """Return accounts, newest first, with the newest figures of each."""
    return ACCOUNTS.page(asked)


class EquityOut(Out):
    """Equity of an account at a moment of the market's clock."""

    account: int
    market_at: Moment
    wall_at: Moment
    equity: Money
    cash: Money
    realised: Money
    unrealised: Money
    fees: Money
    funding: Money
    gross: Money
    net: Money
    margin: Money | None = Field(description="Initial margin that contracts bind; null while it is unknown.")


class EquityAsked(PageAsked):
    """Whose equity, and when."""

    account: Key
    since: MomentAsked | None = Field(None, description="Market time from which on.")
    until: MomentAsked | None = Field(None, description="Market time before which.")


EQUITY = {
    "account": "account_id",
    "market_at": "market_at",
    "wall_at": "wall_at",
    **{name: name for name in FIGURES},
}
EQUITIES = Listing(
    EquitySnapshot.objects.all(),
    EQUITY,
    {
        "account": ("account_id", "{} = %s"),
        "since": ("market_at", "{} >= %s"),
        "until": ("market_at", "{} < %s"),
    },
    ("-market_at",),
)


@router.get("/equity", auth=bearer.READ, response=answers(page_schema(EquityOut)), summary="Equity over time")
def equity(request: HttpRequest, asked: Query[EquityAsked]) -> HttpResponse:
    """Return an account's equity snapshots, newest first."""
    return EQUITIES.page(asked)


class PositionOut(Out):
    """What one owner holds of one instrument in one account. Their sum is the venue's position."""

    account: int
    instrument: int
    symbol: str
    owner: str = Field(description="A deployment's key, manual or unattributed.")
    quantity: Money = Field(description="Signed: below zero is short.")
    average_price: Money
    realised: Money = Field(description="Before fees and funding, in quote.")
    fees: Money
    funding: Money
    opened_at: Moment | None
    updated_at: Moment


class PositionsAsked(PageAsked):
    """Which positions."""

    account: Key | None = None
    instrument: Key | None = None
    owner: Text | None = None
    flat: bool = Field(False, description="Those of quantity 0 too: their history of profit and fees.")


POSITION = {
    "account": "account_id",
    "instrument": "instrument_id",
    "symbol": "instrument__symbol",
    "owner": "owner",
    **{name: name for name in ("quantity", "average_price", "realised", "fees", "funding", "opened_at", "updated_at")},
}
POSITIONS = Listing(
    Position.objects.all(),
    POSITION,
    {
        "account": ("account_id", "{} = %s"),
        "instrument": ("instrument_id", "{} = %s"),
        "owner": ("owner", "{} = %s"),
        "held": ("quantity", "{} <> %s"),
    },
)


@router.get("/positions", auth=bearer.READ, response=answers(page_schema(PositionOut)), summary="Positions")
def positions(request: HttpRequest, asked: Query[PositionsAsked]) -> HttpResponse:
    """Return positions by owner, newest first."""
    wanted = asked.model_dump(exclude={"limit", "cursor", "flat"})
    return POSITIONS.page(asked, wanted if asked.flat else wanted | {"held": 0})
