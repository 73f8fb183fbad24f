"""The API of orders: read them and their fills, place and cancel by hand. The desk takes what is asked as a command."""

from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Header, Query, Router
from pydantic import Field, StrictBool, StringConstraints

from apps.common.api import (
    In,
    Key,
    Listing,
    Moment,
    MomentAsked,
    Money,
    MoneyAsked,
    Out,
    PageAsked,
    Problem,
    Text,
    answers,
    page_schema,
)
from apps.execution.models import DeskCommand, Fill, Order
from apps.execution.services import CommandRefused, manual_order_submit, order_cancel
from apps.execution.states import FINAL, OPEN
from apps.market.models import Instrument
from apps.portfolio.models import Account
from apps.users.selectors import bearer

router = Router(tags=["orders"])
StateName = Literal[
    "created", "sent", "acknowledged", "partly_filled", "filled", "cancelling", "cancelled", "rejected", "unknown",
    "expired",
]  # fmt: skip
Nonce = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{8,64}$")]
NONCE = "Yours, new for each order: sent twice with it, it is one order. 8 to 64 letters, digits, dots, dashes."
IdempotencyKey = Annotated[Nonce, Header(alias="Idempotency-Key", description=NONCE)]


class OrderOut(Out):
    """An order of ours, as it stands."""

    id: int
    client_id: str
    venue_order_id: str
    account: int
    instrument: int
    symbol: str
    owner: str
    decision: UUID | None
    signal: int | None
    parent: int | None
    leg: str
    revision: int
    side: str
    kind: str
    time_in_force: str
    quantity: Money
    price: Money | None
    trigger_price: Money | None
    reduce_only: bool
    adds_risk: bool
    state: StateName
    filled: Money
    average_price: Money | None
    origin: str = Field(description="Who ended it; see docs/reference/orders.md.")
    detail: str
    market_at: Moment
    created_at: Moment
    sent_at: Moment | None
    updated_at: Moment


class OrdersAsked(PageAsked):
    """Which orders."""

    account: Key | None = None
    instrument: Key | None = None
    owner: Text | None = Field(None, description="A deployment's key, manual or unattributed.")
    state: StateName | None = None
    open: bool | None = Field(None, description="Only those that may still do something, or only the others.")
    client_id: Text | None = None


def _order_columns() -> dict[str, Any]:
    same = (
        "venue_order_id", "owner", "leg", "revision", "side", "kind", "time_in_force", "reduce_only", "adds_risk",
        "state", "origin", "detail", "market_at", "created_at", "sent_at", "updated_at",
    )  # fmt: skip
    return {
        "id": "pk",
        "client_id": "client_id",
        "account": "account_id",
        "instrument": "instrument_id",
        "symbol": "instrument__symbol",
        "decision": "decision_id",
        "signal": "signal_id",
        "parent": "parent_id",
        **{name: name for name in same},
        **{name: name for name in ("quantity", "price", "trigger_price", "filled", "average_price")},
    }


ORDERS = Listing(
    Order.objects.all(),
    _order_columns(),
    {
        "id": ("pk", "{} = %s"),
        "account": ("account_id", "{} = %s"),
        "instrument": ("instrument_id", "{} = %s"),
        "owner": ("owner", "{} = %s"),
        "state": ("state", "{} = %s"),
        "client_id": ("client_id", "{} = %s"),
        "open": ("state", "{} = ANY(%s)"),
        "ended": ("state", "{} = ANY(%s)"),
    },
)


@router.get("/orders", auth=bearer.READ, response=answers(page_schema(OrderOut)), summary="Orders")
def orders(request: HttpRequest, asked: Query[OrdersAsked]) -> HttpResponse:
    """Return orders, newest first."""
    wanted = asked.model_dump(exclude={"limit", "cursor", "open"})
    if asked.open is not None:
        wanted |= {"open": [*OPEN]} if asked.open else {"ended": [*FINAL]}
    return ORDERS.page(asked, wanted)


@router.get("/orders/{order_id}", auth=bearer.READ, response=answers(OrderOut, 404), summary="Order")
def order(request: HttpRequest, order_id: Key) -> HttpResponse:
    """Return one order."""
    found = ORDERS.one(id=order_id)
    if found is None:
        raise _no_order(order_id)
    return found


class FillOut(Out):
    """One execution at the venue, booked once."""

    id: int
    account: int
    order: int | None
    instrument: int
    symbol: str
    owner: str
    venue_fill_id: str
    venue_order_id: str
    side: str
    quantity: Money
    price: Money
    fee: Money
    fee_currency: str
    realised: Money = Field(description="Realised by this fill, before fees, in quote.")
    is_maker: bool
    market_at: Moment
    booked_at: Moment


class FillsAsked(PageAsked):
    """Which fills."""

    account: Key | None = None
    instrument: Key | None = None
    owner: Text | None = None
    order: Key | None = None
    since: MomentAsked | None = Field(None, description="Market time from which on.")
    until: MomentAsked | None = Field(None, description="Market time before which.")


FILL: dict[str, Any] = {
    "id": "pk",
    "account": "account_id",
    "order": "order_id",
    "instrument": "instrument_id",
    "symbol": "instrument__symbol",
    **{name: name for name in ("owner", "venue_fill_id", "venue_order_id", "side", "fee_currency", "is_maker")},
    **{name: name for name in ("quantity", "price", "fee", "realised")},
    "market_at": "market_at",
    "booked_at": "booked_at",
}
FILLS = Listing(
    Fill.objects.all(),
    FILL,
    {
        "account": ("account_id", "{} = %s"),
        "instrument": ("instrument_id", "{} = %s"),
        "owner": ("owner", "{} = %s"),
        "order": ("order_id", "{} = %s"),
        "since": ("market_at", "{} >= %s"),
        "until": ("market_at", "{} < %s"),
    },
)


@router.get("/fills", auth=bearer.READ, response=answers(page_schema(FillOut)), summary="Fills")
def fills(request: HttpRequest, asked: Query[FillsAsked]) -> HttpResponse:
    """Return fills in the order in which they were booked, newest first."""
    return FILLS.page(asked)


class CommandOut(Out):
    """What a person or program asked the desk for, and what came of it: ask again while `state` is new or taken."""

    id: int
    account: int
    kind: str
    nonce: str
    by: str
    state: Literal["new", "taken", "done", "refused", "failed"]
    result: str = Field(description="The desk's answer: what was done, or which check said no, with number and limit.")
    created_at: Moment
    done_at: Moment | None


class OrderIn(In):
    """A manual order. The desk's checks come after this one's; their refusal is in the command's result."""

    account: Key
    instrument: Key
    side: Literal["buy", "sell"]
    kind: Literal["market", "limit"] = "market"
    quantity: MoneyAsked
    price: MoneyAsked | None = Field(None, description="Of a limit order.")
    reduce_only: StrictBool = False
    time_in_force: Literal["GTC", "IOC"] | None = Field(
        None, description="GTC for a limit order and IOC for a market order; a sale on spot is always IOC."
    )


@router.post(
    "/orders", auth=bearer.ORDERS, response=answers(CommandOut, 400, 409, status=202), summary="Place a manual order"
)
def order_place(
    request: HttpRequest,
    payload: OrderIn,
    idempotency_key: Annotated[Nonce, Header(alias="Idempotency-Key", description=NONCE)],
) -> dict[str, Any]:
    """Hand an order to the account's desk. The same key again returns the same command, and makes no second order."""
    account = Account.objects.select_related("venue", "epoch").filter(pk=payload.account).first()
    instrument = Instrument.objects.filter(pk=payload.instrument).first()
    if account is None or instrument is None:
        field = "account" if account is None else "instrument"
        raise Problem(422, f"There is no such {field}.", field=field, fix=f"give an id from /api/v1/{field}s")
    try:
        command = manual_order_submit(
            account,
            instrument,
            payload.side,
            payload.kind,
            payload.quantity,
            payload.price,
            nonce=idempotency_key,
            by=request.auth.by,  # type: ignore[attr-defined]
            reduce_only=payload.reduce_only,
            time_in_force=payload.time_in_force or "",
        )
    except CommandRefused as refused:
        raise _refused(refused) from None
    return _command(command)


@router.post(
    "/orders/{order_id}/cancel",
    auth=bearer.ORDERS,
    response=answers(CommandOut, 404, 409, status=202),
    summary="Cancel an order",
)
def order_end(request: HttpRequest, order_id: Key) -> dict[str, Any]:
    """Ask the desk to cancel an order."""
    found = Order.objects.select_related("account").filter(pk=order_id).first()
    if found is None:
        raise _no_order(order_id)
    try:
        return _command(order_cancel(found, by=request.auth.by))  # type: ignore[attr-defined]
    except CommandRefused as refused:
        raise Problem(409, f"Not cancelled: {refused.words}.", field="order_id", fix="choose an open order") from None


@router.get("/commands/{command_id}", auth=bearer.READ, response=answers(CommandOut, 404), summary="What came of it")
def command(request: HttpRequest, command_id: Key) -> dict[str, Any]:
    """Return what became of an order or a cancel that was asked for."""
    found = DeskCommand.objects.filter(pk=command_id).first()
    if found is None:
        raise Problem(404, f"There is no command {command_id}.", field="command_id", fix="give the id of its answer")
    return _command(found)


def _command(row: DeskCommand) -> dict[str, Any]:
    names = ("kind", "nonce", "by", "state", "result", "created_at", "done_at")
    return {"id": row.pk, "account": row.account_id, **{name: getattr(row, name) for name in names}}


def _refused(refused: CommandRefused) -> Problem:
    if refused.field == "nonce":
        return Problem(409, f"Idempotency-Key: {refused.words}.", field="Idempotency-Key", fix=refused.words)
    return Problem(422, f"{refused.field}: {refused.words}.", field=refused.field, fix=refused.words)


def _no_order(order_id: int) -> Problem:
    return Problem(404, f"There is no order {order_id}.", field="order_id", fix="see /api/v1/orders")
