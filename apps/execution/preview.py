"""What a manual order would do, before it is sent: cost, fee, the worst case, and the limit that is nearest."""

from dataclasses import dataclass
from decimal import Decimal

from apps.execution.desk.guard import reducible
from apps.market.models import Instrument
from apps.market.selectors import bars_read, terms_now
from apps.portfolio.models import Account, Position
from apps.portfolio.selectors import account_figures
from apps.risk.selectors import limits_snapshot
from trader.config import config
from trader.core.risk import Book, OrderIntent, RiskState, checks, refusal_of
from trader.core.types import Side

ZERO = Decimal(0)
MINUTE_S = 60


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
    touch = ask if side == "buy" else bid
    price = limit or (Decimal(repr(touch)) if touch else _last_close(account, instrument))
    terms = terms_now([instrument.pk])[instrument.pk]
    positions = list(Position.objects.filter(account=account, instrument=instrument).exclude(quantity=0))
    net = sum((position.quantity for position in positions), ZERO)
    own = sum((position.quantity for position in positions if position.owner == "manual"), ZERO)
    sign = 1 if side == "buy" else -1
    cost = quantity * price
    fee = cost * terms.taker_fee
    results = _checked(account, instrument, Side(side), quantity, price, net, own, terms)
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


def _checked(account, instrument, side, quantity, price, net, own, terms):
    """Ask the core's checks, with what the rows know of the account."""
    figures = account_figures([account.pk]).get(account.pk)
    limits = limits_snapshot(account.pk)
    is_spot_sale = instrument.kind == "spot" and side is Side.SELL and quantity <= net
    nan = float("nan")
    day = {
        "day_start_equity": float(figures.day_start_equity) if figures else nan,
        "day_profit": float(figures.day_profit) if figures else nan,
    }
    gross, exposure = (float(figures.gross), float(figures.net)) if figures else (nan, nan)
    takes_net = instrument.kind == "linear" and net * side.sign < 0 and quantity <= abs(net)
    state = RiskState(
        equity=float(figures.equity) if figures else nan,
        mark=float(price),
        held=float(reducible(own, net, instrument.kind, side.value)),
        min_quantity=float(terms.min_quantity),
        min_notional=float(terms.min_notional),
        owner=Book(position=float(own), **day),
        net=Book(position=float(net), gross=gross, net=exposure, **day),
    )
    intent = OrderIntent(
        side=side,
        quantity=float(quantity),
        price=float(price),
        kind="spot" if instrument.kind == "spot" else "linear",
        adds_risk=not (is_spot_sale or takes_net),
    )
    return checks(intent, state, limits.owner("manual", instrument.pk), limits.net(instrument.pk))


def _last_close(account: Account, instrument: Instrument) -> Decimal:
    bars = bars_read(account.epoch_id, instrument.pk, MINUTE_S, limit=1)
    return Decimal(repr(float(bars["close"][-1]))) if len(bars) else ZERO
