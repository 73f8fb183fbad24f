"""What persons do to an account: manual orders, cancels, closes. Each becomes a command that the desk takes."""

import secrets
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import IntegrityError, transaction

from apps.common.audit import audit_write
from apps.common.clocks import wall_ns
from apps.common.outbox import outbox_add
from apps.execution.events import COMMANDS, CommandChanged
from apps.execution.models import DeskCommand, Order
from apps.execution.preview import Preview, preview_make
from apps.execution.states import OPEN, lasting
from apps.market.models import Instrument
from apps.market.selectors import terms_now
from apps.portfolio.models import Account
from trader.core.risk import lots_down

__all__ = [
    "CommandRefused",
    "Preview",
    "manual_order_preview",
    "manual_order_submit",
    "nonce_make",
    "order_cancel",
    "position_close",
]
SIDES, KINDS = ("buy", "sell"), ("market", "limit")


class CommandRefused(ValueError):
    """A wish that cannot be handed to a desk; `field` says which part of the form, the text what it must be."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(f"{field}: {words}")
        self.field = field
        self.words = words


@dataclass(frozen=True)
class Wished:
    """A manual order as it goes to the desk: exact amounts as text."""

    instrument_id: int
    side: str
    kind: str
    quantity: str
    price: str | None
    reduce_only: bool
    time_in_force: str


def nonce_make() -> str:
    """Return a nonce for a form: what is sent twice with it is one order."""
    return secrets.token_hex(16)


def manual_order_preview(
    account: Account,
    instrument: Instrument,
    side: str,
    kind: str,
    quantity: Any,
    price: Any = None,
    *,
    bid: float | None = None,
    ask: float | None = None,
) -> Preview:
    """Say what an order would cost, the worst that can come of it, and which limit is nearest, before it is sent.

    `bid` and `ask` are the newest prices that the caller knows. Raises `CommandRefused` naming the field.
    """
    wished = _wished(account, instrument, side, kind, quantity, price)
    return preview_make(
        account, instrument, side, Decimal(wished.quantity), Decimal(wished.price) if wished.price else None, bid, ask
    )


def manual_order_submit(
    account: Account,
    instrument: Instrument,
    side: str,
    kind: str,
    quantity: Any,
    price: Any = None,
    *,
    nonce: str,
    by: str,
    reduce_only: bool = False,
    time_in_force: str = "",
) -> DeskCommand:
    """Hand a manual order to the account's desk. The same nonce again returns the same command.

    Raises `CommandRefused` naming the field; the desk's own checks come after that, with its answer in the command.
    """
    wished = _wished(account, instrument, side, kind, quantity, price, reduce_only, time_in_force)
    return _command(account, DeskCommand.Kind.ORDER, nonce, asdict(wished), by)


def order_cancel(order: Order, *, by: str, nonce: str = "") -> DeskCommand:
    """Ask the desk to cancel an order."""
    if order.state not in OPEN:
        raise CommandRefused("order", f"it is {order.state} already")
    body = {"client_id": order.client_id}
    return _command(order.account, DeskCommand.Kind.CANCEL, nonce or nonce_make(), body, by)


def position_close(account: Account, instrument: Instrument, owner: str, *, by: str, nonce: str = "") -> DeskCommand:
    """Ask the desk to close what one owner holds, by an order that cannot add risk."""
    body = {"instrument_id": instrument.pk, "owner": owner}
    return _command(account, DeskCommand.Kind.CLOSE, nonce or nonce_make(), body, by)


def _command(account: Account, kind: str, nonce: str, body: dict[str, Any], by: str) -> DeskCommand:
    if not nonce or len(nonce) > 64:
        raise CommandRefused("nonce", "it comes with the form and must be sent back; reload the page")
    try:
        with transaction.atomic():
            row = DeskCommand.objects.create(account=account, kind=kind, nonce=nonce, body=body, by=by)
            audit_write(by, f"command.{kind}", f"account:{account.pk}", None, body)
            outbox_add((COMMANDS, _event(row)))
    except IntegrityError:
        known = DeskCommand.objects.filter(nonce=nonce).first()
        if known is None:
            raise
        if (known.account_id, known.kind, known.body) != (account.pk, kind, body):
            raise CommandRefused("nonce", "it was used for something else: take a new one") from None
        return known
    return row


def _event(row: DeskCommand) -> CommandChanged:
    return CommandChanged(
        id=row.pk,
        account_id=row.account_id,
        kind=row.kind,
        nonce=row.nonce,
        by=row.by,
        state=row.state,
        result=row.result,
        wall_ns=wall_ns(),
    )


def _wished(
    account: Account,
    instrument: Instrument,
    side: str,
    kind: str,
    quantity: Any,
    price: Any,
    reduce_only: bool = False,
    time_in_force: str = "",
) -> Wished:
    """Return a manual order in the instrument's own steps, or raise `CommandRefused` naming the field."""
    if instrument.venue_id != account.venue_id:
        raise CommandRefused("instrument", f"{instrument.symbol} is not traded at this account's venue")
    if side not in SIDES:
        raise CommandRefused("side", f"choose one of {', '.join(SIDES)}")
    if kind not in KINDS:
        raise CommandRefused("kind", f"choose one of {', '.join(KINDS)}")
    terms = terms_now([instrument.pk]).get(instrument.pk)
    if terms is None:
        raise CommandRefused("instrument", f"the terms of {instrument.symbol} are not known yet")
    size = lots_down(_amount("quantity", quantity), terms.lot)
    if size <= 0 or size < terms.min_quantity:
        least = max(terms.min_quantity, terms.lot)
        raise CommandRefused("quantity", f"at least {least.normalize():f}, in steps of {terms.lot.normalize():f}")
    limit = None
    try:
        lasts = lasting(instrument.kind, side, kind, time_in_force)
    except ValueError as error:
        raise CommandRefused("time_in_force", str(error)) from None
    if kind == "limit":
        limit = _amount("price", price)
        if limit % terms.tick:
            raise CommandRefused("price", f"in steps of {terms.tick.normalize():f}")
    return Wished(
        instrument_id=instrument.pk,
        side=side,
        kind=kind,
        quantity=f"{size.normalize():f}",
        price=f"{limit.normalize():f}" if limit is not None else None,
        reduce_only=reduce_only,
        time_in_force=lasts,
    )


def _amount(field: str, given: Any) -> Decimal:
    try:
        value = Decimal(str(given).strip())
    except InvalidOperation:
        raise CommandRefused(field, "a number above zero") from None
    if not value.is_finite() or value <= 0:
        raise CommandRefused(field, "a number above zero")
    return value
